"""Means and variances by chain: of posterior draws, and of iterates. They are all that R̂ needs, at constant memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import join_arguments, site_key
from svijax.posterior import Posterior

from ._chunk import Chunk, first_carry
from ._feed import Feed, Group
from ._rhat import rhat_of_moments
from ._state import SVIState
from ._watch import Seen, Watchers

if TYPE_CHECKING:
    from ._svi import SVI


@dataclass(frozen=True)
class Halves:
    """(chains, 2, ...): mean and variance (divisor count − 1) of the first and last ``count`` draws of each chain."""

    mean: Any
    variance: Any
    count: int

    @property
    def rhat(self) -> Any:
        """Split R̂."""
        mean, variance = (x.reshape((-1, *x.shape[2:])) for x in (self.mean, self.variance))
        return rhat_of_moments(mean, variance, self.count)

    @property
    def whole(self) -> tuple[Any, Any]:
        """(mean, variance) of all draws of each chain."""
        n = self.count
        apart = (self.mean[:, 0] - self.mean[:, 1]) ** 2
        variance = ((n - 1) * self.variance.sum(1) + n * apart / 2) / (2 * n - 1)
        return self.mean.mean(1), variance


Posteriors = Mapping[str, tuple[Halves, Halves]]
"""By latent: of its draws z, and of |z − c|, c their mean over all chains, which tell the spread."""


def posterior_moments(
    svi: SVI,
    state: SVIState,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_samples: int,
    sites: Sequence[str] | None = None,
) -> Posteriors:
    """Moments of the latents' draws from each chain's guide; the chains draw alike, so that less is chance.

    One chain at a time, each twice: memory is that of one chain's draws.
    """
    half = num_samples // 2

    def build(static: Any) -> Callable[..., Any]:
        def moments(state: SVIState, key: jax.Array, arrays: tuple[Any, ...]) -> Any:
            call = join_arguments(arrays, static)

            def draws(one: SVIState) -> OrderedDict[str, Any]:
                q = Posterior(svi.guide, svi.model, one.params, *call, key, one.mutable)
                found = q.sample(2 * half, key, sites=sites)
                return OrderedDict((name, x.astype(_float(x))) for name, x in found.items())

            first = jax.lax.map(lambda one: jax.tree.map(_halves, draws(one)), state)
            centres = jax.tree.map(lambda x: x[0].mean((0, 1)), first, is_leaf=_is_pair)

            def spread(one: SVIState) -> Any:
                return jax.tree.map(lambda x, c: _halves(jnp.abs(x - c)), draws(one), centres)

            return first, jax.lax.map(spread, state)

        return jax.jit(moments)

    names = None if sites is None else tuple(sites)
    kind = ("posterior moments", num_samples, names)
    function, arrays = svi.table_entry(kind, args, kwargs, build, state)
    key = site_key(jax.tree.map(lambda x: x[0], state).key, "agreement")
    place, spread = jax.device_get(function(state, key, arrays))
    return OrderedDict((name, (_wide(place[name], half), _wide(spread[name], half))) for name in place)


@jax.tree_util.register_static
@dataclass(frozen=True)
class IterateHalves:
    """A watcher: mean and Σ (x − mean)² of the first and the last ``half`` iterates, by Welford's recursion."""

    half: int

    def start(self, state: SVIState) -> Any:
        """Nothing seen."""
        zeros = jax.tree.map(lambda x: jnp.zeros((2, *x.shape), x.dtype), state.free)
        return jnp.zeros((), jnp.int32), zeros, zeros

    def step(self, memory: Any, seen: Seen) -> Any:
        """With one more iterate."""
        count, mean, squares = memory
        here = jnp.arange(2) == count // self.half
        number = count % self.half + 1

        def moved(x: Any, m: Any) -> Any:
            return m + _like(here, m) * (x - m) / number.astype(m.dtype)

        after = jax.tree.map(moved, seen.state.free, mean)

        def grown(x: Any, m: Any, new: Any, s: Any) -> Any:
            return s + _like(here, s) * (x - m) * (x - new)

        return count + 1, after, jax.tree.map(grown, seen.state.free, mean, after, squares)


def iterate_moments(svi: SVI, state: SVIState, feed: Feed, num_iterates: int) -> dict[str, Halves] | None:
    """Moments of the unconstrained parameters over as many steps more; the fit itself stays where it is.

    None where there are no data for them, or a step is not finite.
    """
    half = num_iterates // 2
    if isinstance(feed, Group):
        return None
    watchers = Watchers(others=(IterateHalves(half),), fresh=(False,))
    chunk = Chunk(svi, state, "stop", watchers, feed)
    carry, done = first_carry(state, watchers), 0
    while done < 2 * half:
        count = min(chunk.capacity, 2 * half - done)
        carry, _ = chunk(feed, carry, count)
        done += count
    if np.asarray(carry.status).any():
        return None
    _, mean, squares = carry.memory[0]
    pairs = {name: (mean[name], squares[name]) for name in mean}
    return {
        name: Halves(_vector(m), _vector(s) / (half - 1), half)
        for name, (m, s) in jax.device_get(pairs).items()
    }


def _halves(x: Any) -> tuple[Any, Any]:
    """(mean, variance) of the halves of the leading axis."""
    parts = x.reshape((2, -1, *x.shape[1:]))
    return parts.mean(1), parts.var(1, ddof=1)


def _vector(tree: Any) -> np.ndarray:
    """All numbers of a parameter, (chains, 2, numbers)."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape((*x.shape[:2], -1)) for x in leaves], axis=-1)


def _wide(pair: tuple[Any, Any], count: int) -> Halves:
    mean, variance = (np.asarray(x, np.float64) for x in pair)
    return Halves(mean, variance, count)


def _like(here: Any, x: Any) -> Any:
    return here.reshape((2, *(1,) * (x.ndim - 1))).astype(x.dtype)


def _is_pair(x: Any) -> bool:
    return isinstance(x, tuple)


def _float(x: Any) -> Any:
    return x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.result_type(float)
