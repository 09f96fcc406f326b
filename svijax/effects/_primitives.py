"""The statements of a program, with NumPyro's names and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, as_key, message
from svijax.transforms import constraints

from ._checks import check_distribution
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
    as_value,
    makes_value,
)
from ._stack import perform, where


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
    :param rng_key: a key for this draw; without one the enclosing ``seed`` gives it.
    :param sample_shape: independent draws, along axes in front of the batch shape.
    :param infer: options for inference; ``{"is_auxiliary": True}`` for a variable that only the guide has.
    :param obs_mask: boolean over the batch shape. Entries where it is False are latent, under the name
        ``{name}_unobserved``; ``{name}`` is then the completed value. Without ``obs`` all of it is latent.
    :raises ShapeError: the value has not the shape of the site.
    :raises MissingKeyError: a draw is needed and no handler gives a key.
    """
    check_distribution(name, fn, where())
    site = Sample(
        name=name,
        fn=fn,
        value=None if obs is None else as_value(obs),
        observed=obs is not None,
        key=_given(rng_key),
        sample_shape=tuple(sample_shape),
        infer=dict(infer or {}),
    )
    if obs_mask is not None and obs is not None:
        return _partly_observed(site, obs_mask)
    return perform(site).value


def _partly_observed(site: Sample, obs_mask: Any) -> Any:
    # Where an entry is observed its latent twin does not exist: the mask holds for model and guide alike,
    # else the guide's entropy at such entries would be free and the bound would rise above the evidence.
    mask = as_value(obs_mask)
    if mask.dtype != bool:
        raise ModelError(
            message(
                f"{where()} site {site.name!r}: obs_mask must be boolean.",
                expected="bool",
                got=mask.dtype,
                fix="pass obs_mask.astype(bool): True where the entry is observed.",
            )
        )
    seen = perform(site.having(name=f"{site.name}_observed", mask=mask))
    unseen = perform(
        site.having(name=f"{site.name}_unobserved", value=None, observed=False, mask=~mask, shared_mask=True)
    )
    full = jnp.reshape(mask, (*mask.shape, *(1,) * len(site.fn.event_shape)))
    return deterministic(site.name, jnp.where(full, seen.value, unseen.value))


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
    :param rng_key: a key for ``init_value``; without one the enclosing ``seed`` gives it.
    :param event_dim: inside subsampled plates: how many dims on the right belong to one element. The
        parameter then has the plates' full size, and the elements in play are gathered.
    """
    init = init_value if makes_value(init_value) else jax.tree.map(as_value, init_value)
    site = Param(name=name, init=init, constraint=constraint, event_dim=event_dim, key=_given(rng_key))
    return perform(site).value


def param_group(
    names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], init: Any, constraint: Any
) -> Any:
    """Several parameters under one constraint, returned as one vector (for guides)."""
    site = ParamGroup(name=",".join(names), names=names, shapes=shapes, init=init, constraint=constraint)
    return perform(site).value


def deterministic(name: str, value: Any) -> Any:
    """Give a computed value a name."""
    return perform(Deterministic(name=name, value=value)).value


def factor(name: str, log_factor: Any) -> None:
    """Add ``log_factor`` to the log density of the program: in a guide it counts as part of log q."""
    perform(Factor(name=name, value=as_value(log_factor)))


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
