"""The statements of a program, with NumPyro's names and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ModelError, ShapeError, as_key, message
from svijax.transforms import constraints

from ._sites import (
    Deterministic,
    Factor,
    KeyRequest,
    LazyKey,
    MaskQuery,
    Mutable,
    Param,
    ParamGroup,
    Sample,
    Subsample,
    check_distribution,
)
from ._stack import current_stack, perform, where


def sample(
    name: str,
    fn: Any,
    obs: Any = None,
    rng_key: jax.Array | None = None,
    sample_shape: tuple[int, ...] = (),
    infer: Mapping[str, Any] | None = None,
    obs_mask: Any = None,
) -> Any:
    """State a random variable, z ~ fn, and return its value.

    :param fn: a distribution; inside plates it is expanded to their shape.
    :param obs: the observed value, of exactly the site's shape; None for a latent.
    :param obs_mask: boolean over the batch shape. Entries where it is False are latent, under the name
        ``{name}_unobserved``; ``{name}`` is then the completed value.
    :raises ShapeError: the value has not the shape of the site.
    :raises MissingKeyError: a draw is needed and no handler gives a key.
    """
    check_distribution(name, fn, where())
    if obs_mask is not None and obs is not None:
        return _sample_partly_observed(name, fn, obs, obs_mask, rng_key, infer)
    site = Sample(
        name=name,
        fn=fn,
        value=None if obs is None else _as_array(obs),
        observed=obs is not None,
        key=_given(rng_key),
        sample_shape=tuple(sample_shape),
        infer=dict(infer or {}),
    )
    return perform(site).value


def _sample_partly_observed(
    name: str, fn: Any, obs: Any, obs_mask: Any, rng_key: jax.Array | None, infer: Mapping[str, Any] | None
) -> Any:
    # Where an entry is observed its latent twin does not exist: the mask holds for model and guide alike,
    # else the guide's entropy at such entries would be free and the bound would rise above the evidence.
    mask = _as_array(obs_mask)
    if mask.dtype != bool:
        raise ModelError(
            message(f"{where()} site {name!r}: obs_mask must be boolean.", expected="bool", got=mask.dtype)
        )
    options = dict(infer or {})
    seen = perform(
        Sample(name=f"{name}_observed", fn=fn, value=_as_array(obs), observed=True, mask=mask, infer=options)
    )
    unseen = perform(
        Sample(
            name=f"{name}_unobserved",
            fn=fn,
            mask=~mask,
            shared_mask=True,
            key=_given(rng_key),
            infer=options,
        )
    )
    event_dim = len(fn.event_shape)
    full = jnp.reshape(mask, (*mask.shape, *(1,) * event_dim))
    return deterministic(name, jnp.where(full, seen.value, unseen.value))


def param(
    name: str,
    init_value: Any = None,
    *,
    constraint: Any = constraints.real,
    event_dim: int | None = None,
    rng_key: jax.Array | None = None,
) -> Any:
    """State a parameter to optimise and return its constrained value: any pytree of arrays.

    :param init_value: the starting value, or a function of a key that makes it; None if another statement
        of the same name, or ``init_params``, gives it.
    :param constraint: one constraint for every leaf.
    :param event_dim: inside subsampled plates: how many dims on the right belong to one element. The
        parameter then has the plates' full size, and the elements in play are gathered.
    """
    init = init_value if init_value is None or callable(init_value) else jax.tree.map(_as_array, init_value)
    site = Param(name=name, init=init, constraint=constraint, event_dim=event_dim, key=_given(rng_key))
    return perform(site).value


def param_group(names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], init: Any, constraint: Any) -> Any:
    """Several parameters under one constraint, returned as one vector (for guides)."""
    site = ParamGroup(name=",".join(names), names=names, shapes=shapes, init=init, constraint=constraint)
    return perform(site).value


def deterministic(name: str, value: Any) -> Any:
    """Give a computed value a name."""
    return perform(Deterministic(name=name, value=value)).value


def factor(name: str, log_factor: Any) -> None:
    """Add ``log_factor`` to the log density of the program: in a guide it counts as part of log q."""
    perform(Factor(name=name, value=_as_array(log_factor)))


def mutable(name: str, init_value: Any = None) -> Any:
    """State carried from step to step. Write to the dictionary that is returned; its last content is kept.

    With several particles the first one's is kept.
    """
    site = perform(Mutable(name=name, value=init_value))
    if site.value is not None and not isinstance(site.value, dict):
        raise ModelError(
            message(
                f"{where()} mutable {name!r}: the state must be a dictionary, so that it can be written to.",
                expected="dict",
                got=type(site.value).__name__,
                fix='svijax.mutable(name, {"value": init}), then state["value"] = new.',
            )
        )
    return site.value


def prng_key() -> jax.Array | None:
    """A fresh random key from the enclosing ``seed``; None without one."""
    return perform(KeyRequest(name="")).value


def get_mask() -> Any:
    """The product of the enclosing ``mask`` handlers: None, a bool, or a boolean array."""
    return perform(MaskQuery(name="")).value


def subsample(data: Any, event_dim: int = 0) -> Any:
    """Gather the rows of ``data`` that the enclosing subsampled plates have in play.

    :param event_dim: how many dims on the right belong to one element. Plates count to the left of them.
        Data that has the subsample's size already passes through.
    """
    return perform(Subsample(name="subsample", value=data, event_dim=event_dim)).value


def _given(key: jax.Array | None) -> LazyKey | None:
    return None if key is None else lambda: as_key(key)


def _as_array(x: Any) -> Any:
    """numpy stays numpy: nothing runs on a device because a program was stated."""
    if isinstance(x, jax.Array | np.ndarray):
        return x
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return x
    return np.asarray(x, dtype=_default_dtype(x))


def _default_dtype(x: Any) -> Any:
    return jnp.result_type(float) if isinstance(x, float) else jax.dtypes.canonicalize_dtype(np.asarray(x).dtype)


