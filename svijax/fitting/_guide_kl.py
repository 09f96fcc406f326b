"""KL(q_i ‖ q_j) between the guides of the chains, where it has a closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import join_arguments
from svijax.density import abstractly, provenance
from svijax.distributions import Delta, has_kl, kl_divergence
from svijax.effects import Sample
from svijax.posterior import guide_sites

from ._state import SVIState

if TYPE_CHECKING:
    from ._svi import SVI


def kl_between_chains(
    svi: SVI, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> np.ndarray | None:
    """(chains, chains) of KL(q_i ‖ q_j) in nats; None where it is not known in closed form.

    It is where the guide's draws are independent of each other, and of families with a closed form: one vector is one
    draw, and what is made from it by a bijection changes no KL.
    """
    arrays_of_one = jax.tree.map(lambda x: x[0], state)
    if not _is_closed(svi, arrays_of_one, args, kwargs):
        return None

    def build(static: Any) -> Callable[..., Any]:
        def kls(state: SVIState, arrays: tuple[Any, ...]) -> Any:
            call = join_arguments(arrays, static)
            others = jax.vmap(_params)(state)

            def row(one: SVIState) -> Any:
                return jax.vmap(lambda other: _kl(svi, _params(one), other, *call))(others)

            return jax.lax.map(row, state)

        return jax.jit(kls)

    function, arrays = svi.table_entry("kl of chains", args, kwargs, build, state)
    return np.asarray(function(state, arrays), np.float64)


def _params(state: SVIState) -> dict[str, Any]:
    return {**state.params, **state.mutable}


def _kl(
    svi: SVI, p: dict[str, Any], q: dict[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    ours, theirs = (_drawn(svi, params, jax.random.key(0), args, kwargs) for params in (p, q))
    total = jnp.zeros(())
    for name, site in ours.items():
        kl = kl_divergence(site.fn, theirs[name].fn)
        total = total + jnp.sum(kl if site.mask is None else jnp.where(site.mask, kl, 0.0))
    return total


def _drawn(
    svi: SVI, params: Mapping[str, Any], key: jax.Array, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Sample]:
    """The guide's own draws; a latent that is made of another draw is none."""
    sites = guide_sites(svi.guide, params, key, args, kwargs)
    return {s.name: s for s in sites.values() if isinstance(s, Sample) and s.made_of is None}


def _is_closed(svi: SVI, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    params = _params(state)

    def known(key: jax.Array) -> list[bool]:
        drawn = _drawn(svi, params, key, args, kwargs)
        return [type(s.fn) is not Delta and has_kl(s.fn, s.fn) for s in drawn.values()]

    closed = abstractly(known)
    return bool(closed) and all(closed) and not _reads_draws(svi, params, args, kwargs)


def _reads_draws(
    svi: SVI, params: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether a distribution of the guide is computed from a draw: then it depends on the key."""
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))

    def distributions(data: Any) -> Any:
        drawn = _drawn(svi, params, jax.random.wrap_key_data(data), args, kwargs)
        leaves = jax.tree.leaves([(s.fn, s.mask) for s in drawn.values()])
        return [leaf for leaf in leaves if hasattr(leaf, "dtype")]

    return any(
        "key" in names for names in jax.tree.leaves(provenance(distributions, ["key"], key), is_leaf=_is_set)
    )


def _is_set(x: Any) -> bool:
    return isinstance(x, frozenset)
