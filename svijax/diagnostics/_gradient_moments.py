"""Mean and variance of the gradients of one objective at one state, over many draws in one compiled loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import join_arguments
from svijax.density import bind, draw, mutable_state, run_guide, run_model
from svijax.fitting import SVI, SVIState, from_view, optim_view
from svijax.objectives import Objective

from ._gradient_record import Gradient

SETTLING = 100
"""Evaluations at the state before the first gradient, for baselines that remember."""


@dataclass(frozen=True)
class Moments:
    """Gradients by name of leaf, and the loss under the name ``LOSS``, on the host in double precision.

    ``bad``: how many were not finite. ``seconds``: of one.
    """

    by_name: dict[str, Gradient]
    bad: int
    seconds: float


LOSS = ""
"""Where moments keep those of the loss; no parameter has this name."""


def gradient_moments(
    svi: SVI,
    state: SVIState,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    key: jax.Array,
    stream: int,
    num_samples: int,
    batch_size: int,
) -> Moments:
    """Moments of ``num_samples`` gradients, ``batch_size`` in memory at once; ``stream``: which draws of the key."""
    function, arrays = svi.table_entry(
        ("gradients", batch_size), args, kwargs, lambda static: _sampler(svi, static, batch_size), state
    )

    def call(settling: int, count: int) -> tuple[Any, float]:
        clock = time.perf_counter()
        counts = np.int32(settling), np.int32(count)
        found = jax.block_until_ready(function(key, np.uint32(stream), state, arrays, *counts))
        return found, time.perf_counter() - clock

    call(0, 0)
    (mean, square, bad, own), seconds = call(SETTLING, num_samples)
    if own:
        seconds -= call(SETTLING, 0)[1]
    eps = float(jnp.finfo(mean[LOSS].dtype).eps)
    found = {
        name: Gradient(
            name,
            np.asarray(mean[name], np.float64),
            np.asarray(square[name], np.float64) / max(num_samples - 1, 1),
            num_samples,
            eps,
        )
        for name in mean
    }
    return Moments(found, int(bad), max(seconds, 0.0) / num_samples)


def by_leaf(params: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name: of a parameter that is a tree, one for each leaf, its path behind the name."""
    return {
        name + jax.tree_util.keystr(path): leaf
        for name in params
        for path, leaf in jax.tree_util.tree_leaves_with_path(params[name])
    }


def _sampler(svi: SVI, static: Any, batch_size: int) -> Callable[..., Any]:
    """The compiled (key, stream, state, arrays, settling, count) ↦ (mean, Σ (x − mean)², bad, the objective's state).

    Both counts are arguments, so that a first call compiles and takes no time of the second.
    """

    def sample(
        key: jax.Array, stream: Any, state: SVIState, arrays: tuple[Any, ...], settling: Any, count: Any
    ) -> Any:
        problem = svi.problem().on(state, *join_arguments(arrays, static))
        settle_key, key = jax.random.split(jax.random.fold_in(key, stream))

        def draws(key: jax.Array, index: Any) -> Any:
            return draw(jax.random.fold_in(key, index), problem.noise, problem.noise_rows)

        own = _own_state(svi, state, problem)
        if own:
            own = jax.lax.fori_loop(0, settling, _settled(problem, state, draws, settle_key), own)
        state = state.having(mutable={**state.mutable, **own})

        def one(index: Any) -> Any:
            result, gradient = problem.differentiate(state, draws(key, index))
            return {LOSS: result.loss, **by_leaf(from_view(gradient, state.free))}

        def batch(i: Any, before: Any) -> Any:
            index = i * batch_size + jnp.arange(batch_size)
            return _merged(before, jax.vmap(one)(index), index < count)

        shapes = jax.eval_shape(one, 0)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        start = zeros, zeros, jnp.zeros((), int), jnp.zeros((), zeros[LOSS].dtype)
        batches = (count + batch_size - 1) // batch_size
        mean, square, bad, _ = jax.lax.fori_loop(0, batches, batch, start)
        return mean, square, bad, own

    return jax.jit(sample)


def _own_state(svi: SVI, state: SVIState, problem: Any) -> dict[str, Any]:
    """The mutable state of the objective's own as a fit starts it: that of another objective is not in ``state``."""
    if not isinstance(svi.objective, Objective):
        return {}
    guide_trace = run_guide(
        bind(svi.guide, state.free),
        problem.args,
        problem.kwargs,
        key=state.key,
        noise_values=problem.noise.centre(),
        state=state.mutable,
    )
    mutable = {**state.mutable, **mutable_state(guide_trace)}
    model = bind(svi.model, state.free)
    model_trace = run_model(model, problem.args, problem.kwargs, guide_trace, key=state.key, state=mutable)
    started = svi.objective.start(model_trace, guide_trace)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), started)


def _settled(problem: Any, state: SVIState, draws: Callable[..., Any], key: jax.Array) -> Callable[..., Any]:
    def step(i: Any, own: Any) -> Any:
        now = state.having(mutable={**state.mutable, **own})
        after = problem.evaluate(now, optim_view(state.free), draws(key, i)).mutable
        return {
            n: jax.tree.map(lambda x, y: jax.lax.convert_element_type(x, y.dtype), after[n], own[n])
            for n in own
        }

    return step


def _merged(before: Any, batch: Any, counts: Any) -> Any:
    """Moments with one more batch, of which the entries in ``counts`` count (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    mean, square, bad, n = before
    finite = jnp.ones(counts.shape, bool)
    for leaf in jax.tree.leaves(batch):
        finite = finite & jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
    new = jnp.sum(counts).astype(n.dtype)
    share = new / jnp.maximum(n + new, 1)

    def kept(x: Any) -> Any:
        return jnp.where(counts.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)

    # Sums of what is beyond the first entry: of equal gradients the variance is then 0 and no rounding.
    centre = jax.tree.map(lambda x: x[0] + jnp.sum(kept(x - x[0]), 0) / jnp.maximum(new, 1), batch)
    spread = jax.tree.map(lambda x, c: jnp.sum(kept(x - c) ** 2, 0), batch, centre)
    gap = jax.tree.map(lambda c, m: c - m, centre, mean)
    mean = jax.tree.map(lambda m, d: m + d * share, mean, gap)
    square = jax.tree.map(lambda s, b, d: s + b + d * d * n * share, square, spread, gap)
    return mean, square, bad + jnp.sum(counts & ~finite), n + new
