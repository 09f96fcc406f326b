"""What counts as an optimiser: an optax transformation, or a rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from svijax.base import ArgumentError, message

from ._peers import Adam
from ._rate import check_rate, is_rate


def as_transformation(optim: Any) -> optax.GradientTransformationExtraArgs:
    """The optimiser as an optax transformation that takes ``value=, grad=, value_fn=``.

    A float, or an array without axes, is the step size of Adam. Equal optimisers give equal transformations.

    :raises ArgumentError: neither a number nor an optax transformation; a rate of zero, or none that can be used.
    """
    if isinstance(optim, optax.GradientTransformationExtraArgs):
        return optim
    if isinstance(optim, optax.GradientTransformation):
        return optax.GradientTransformationExtraArgs(optim.init, _WithoutExtras(optim))
    if is_rate(optim):
        return Adam(check_rate(optim))
    raise ArgumentError(
        message(
            "optim is no optimiser.",
            expected="an optax transformation such as optax.adam(1e-2), or a float: the step size of Adam",
            got=_describe(optim),
            fix=_remedy(optim),
        )
    )


@dataclass(frozen=True)
class _WithoutExtras:
    """The update of a transformation that knows no extra arguments; equal for equal transformations."""

    transformation: optax.GradientTransformation

    def __call__(self, updates: Any, state: Any, params: Any = None, **extras: Any) -> tuple[Any, Any]:
        return self.transformation.update(updates, state, params)


def is_schedule(value: Any) -> bool:
    """Whether the value is a function from the step number to a rate."""
    if not callable(value) or isinstance(value, type):
        return False
    try:
        rate = jax.eval_shape(value, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception:
        # Whatever it is that cannot be called with a step number, it is no schedule; the caller says so.
        return False
    return isinstance(rate, jax.ShapeDtypeStruct) and rate.shape == ()


def _describe(optim: Any) -> str:
    if isinstance(optim, np.ndarray | jax.Array):
        return f"an array of shape {optim.shape}, dtype {optim.dtype}"
    module = getattr(optim, "__module__", None) or type(optim).__module__
    if callable(optim) and hasattr(optim, "__qualname__"):
        kind = "class" if isinstance(optim, type) else "function"
        return f"the {kind} {module}.{optim.__qualname__}"
    text = repr(optim)
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{short}, a {type(optim).__module__}.{type(optim).__qualname__}"


def _remedy(optim: Any) -> str:
    module = getattr(optim, "__module__", None) or ""
    origin = (module if isinstance(optim, type) else type(optim).__module__).split(".")[0]
    name = getattr(optim, "__name__", type(optim).__name__)
    if origin == "numpyro":
        return (
            f"svijax.optim has NumPyro's names: svijax.optim.{name}(step_size) if it is there, or use optax."
        )
    if origin in ("torch", "pyro"):
        return "svijax.optim has Pyro's names too: svijax.optim.ClippedAdam(step_size), or use optax."
    if callable(optim) and module.split(".")[0] in ("optax", "svijax"):
        room = "optax" if module.startswith("optax") else "svijax.optim"
        return f"call it with its step size: {room}.{name}(1e-2)."
    if is_schedule(optim):
        return "a schedule belongs to an optimiser: optax.adam(schedule)."
    if isinstance(optim, np.ndarray | jax.Array):
        return "one rate for all: pass a float; one per parameter: svijax.optim.per_site({name: rate})."
    if isinstance(optim, dict):
        return "options by parameter are made with svijax.optim.per_site({name: rate or transformation})."
    return "pass optax.adam(1e-2), or 1e-2 for the same."
