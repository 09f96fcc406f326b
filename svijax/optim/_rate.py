"""What counts as a rate, and which values of it move anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, is_concrete, message

_NAMES = ("learning_rate", "step_size")


def is_rate(value: Any) -> bool:
    """Whether the value is one real number, known or traced."""
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, int | float):
        return True
    if not isinstance(value, np.generic | np.ndarray | jax.Array) or np.shape(value) != ():
        return False
    return jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)


def check_rate(rate: Any, *, freezes: bool = False) -> Any:
    """The rate: a Python float where its value is known. ``freezes``: 0 is a way to say that nothing shall move.

    :raises ArgumentError: it is zero, negative, infinite or NaN.
    """
    if not is_concrete(rate):
        return rate
    number = float(rate)
    if math.isfinite(number) and (number > 0.0 or (freezes and number == 0.0)):
        return number
    fix = "try 1e-2, or 1e-3."
    if number == 0.0:
        fix += ' To hold parameters fixed: svijax.optim.per_site({name: "freeze"}, default=1e-2).'
    raise ArgumentError(
        message("a step size must be finite and greater than zero.", got=f"{number:g}", fix=fix)
    )


def step_size(value: Any) -> Any:
    """The step size of an optimiser: a rate that moves something, or a schedule as it is."""
    return check_rate(value) if is_rate(value) else value


def check_injected(optim_state: Any) -> None:
    """Raise where a rate that ``optax.inject_hyperparams`` holds is known and moves nothing, or nothing right.

    One that follows a schedule may begin at zero.

    :raises ArgumentError: a rate that is zero, negative, infinite or NaN.
    """
    for name, rate in _injected(optim_state):
        if not is_concrete(rate):
            continue
        values = np.asarray(rate)
        wrong = values[~(np.isfinite(values) & (values > 0))]
        if wrong.size:
            raise ArgumentError(
                message(
                    f"the optimiser's {name}, in optax.inject_hyperparams, moves no parameter the right way.",
                    expected="a number, finite and greater than zero",
                    got=f"{float(wrong[0]):g}",
                    fix=f"optax.inject_hyperparams(optax.adam)({name}=1e-2), for example.",
                )
            )


def _injected(tree: Any) -> Iterator[tuple[str, Any]]:
    for node in jax.tree.leaves(tree, is_leaf=_holds_hyperparams):
        if _holds_hyperparams(node):
            scheduled = getattr(node, "hyperparams_states", {})
            yield from (
                (n, node.hyperparams[n]) for n in _NAMES if n in node.hyperparams and n not in scheduled
            )
            yield from _injected(node.inner_state)


def _holds_hyperparams(node: Any) -> bool:
    return isinstance(getattr(node, "hyperparams", None), Mapping)
