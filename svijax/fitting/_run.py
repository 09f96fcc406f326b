"""A whole fit: what it starts from, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, LoaderError, NonFiniteError, as_key, message

from ._chunk import Chunk, compile_together, first_carry
from ._feed import Feed, call_at
from ._host import Fit
from ._init import make_state
from ._loop import begin, run_steps
from ._options import Options
from ._result import Origin, SVIRunResult, Timings
from ._state import SVIState
from ._status import Status
from ._supply import Supply, supply_of, traced_feed

if TYPE_CHECKING:
    from ._svi import SVI


def run(
    svi: SVI,
    rng_key: jax.Array,
    num_steps: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options,
) -> SVIRunResult:
    """See ``SVI.run``."""
    options.check(svi, num_steps)
    if svi.is_traced(rng_key, options.init_state, options.start, args, kwargs):
        options.check_traced()
        return _run_traced(svi, rng_key, num_steps, args, kwargs, options)
    clock = time.perf_counter()
    with supply_of(options, args, kwargs) as supply:
        state = _state(svi, rng_key, supply.first, options)
        watchers = options.watchers
        chunk = Chunk(svi, state, options.guard, watchers, supply.first, options.donate)
        carry = chunk(supply.first, first_carry(state, watchers), 0)[0]
        jax.block_until_ready(carry)
        fit = Fit(chunk, carry, supply, options, None)
        seconds = time.perf_counter() - clock
        fit.drive(num_steps)
    result = _result(svi, fit, num_steps, seconds, supply)
    if fit.error is not None:
        raise LoaderError(str(fit.error), result) from (fit.error.__cause__ or fit.error)
    if options.on_nonfinite == "raise" and np.any(np.asarray(result.status) == Status.NONFINITE):
        raise _nonfinite(result)
    return result


def _state(svi: SVI, rng_key: jax.Array, feed: Feed, options: Options) -> SVIState:
    """The state that a run starts from, its loop compiled beside."""
    if options.init_state is not None:
        state = _checked(svi, options.init_state, options.num_chains, feed)
        return jax.tree.map(jnp.copy, state) if options.donate else state
    chains, start = options.num_chains, options.start
    key = as_key(rng_key) if chains is None else jax.random.split(as_key(rng_key), chains)
    compile_together(svi, key, start, options.guard, options.watchers, feed, options.donate)
    if chains is None:
        return svi.first_state(key, start, feed)
    function = svi.init_function(key, start, feed)
    state, legal, finite = function(key, start, feed)
    for k in np.flatnonzero(~(np.asarray(legal) & np.asarray(finite))):
        # The single start explains what is wrong, or finds a better place.
        single = svi.first_state(key[int(k)], start, feed.of_chain(int(k)))
        state = jax.tree.map(lambda many, one, k=int(k): many.at[k].set(one), state, single)
    return state


def _result(svi: SVI, fit: Fit, num_steps: int, compile_seconds: float, supply: Supply) -> SVIRunResult:
    carry, taken = fit.carry, fit.losses()
    status = np.asarray(carry.status)
    status = np.where(status == Status.MAX_STEPS, fit.ending, status)
    if (status == Status.NONFINITE).any() and len(taken) < num_steps:
        missing = np.full((num_steps - len(taken), *taken.shape[1:]), np.nan, taken.dtype)
        taken = np.concatenate([taken, missing])
    single = not status.ndim
    return SVIRunResult(
        params=_params(carry.state),
        state=carry.state,
        losses=np.moveaxis(taken, 0, -1),
        status=Status(int(status)) if single else status,
        skipped=int(carry.skipped) if single else np.asarray(carry.skipped),
        average=fit.chunk.watchers.average(carry.memory, carry.state),
        timings=Timings(compile_seconds, fit.seconds, fit.taken / max(fit.seconds, 1e-9)),
        call=Origin(svi, supply.args, dict(supply.kwargs), fit.feed),
    )


def _run_traced(
    svi: SVI,
    key: jax.Array,
    num_steps: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options,
) -> SVIRunResult:
    """The run as part of a traced program: one loop, no host, a status in place of errors about values."""
    problem, start, watchers = svi.problem(), options.start, options.watchers
    guard = "skip" if options.on_nonfinite == "skip" else "stop"
    feed = traced_feed(options, args, kwargs)
    state, legal = options.init_state, jnp.ones((), bool)
    if state is None:

        def first(key: jax.Array, feed: Feed) -> tuple[SVIState, Any]:
            call = call_at(feed, key, 0)
            made, values, densities = make_state(
                call.bind(svi.model),
                call.bind(svi.guide),
                problem.optim,
                svi.objective,
                key,
                start,
                call.args,
                call.kwargs,
            )
            return made, values & densities

        if options.num_chains is None:
            state, legal = first(as_key(key), feed)
        else:
            keys = jax.random.split(as_key(key), options.num_chains)
            state, legal = jax.vmap(first, (0, feed.chain_axes))(keys, feed)
    carry, losses = run_steps(problem, guard, watchers, feed, begin(state, watchers), num_steps, num_steps)
    return SVIRunResult(
        params=_traced_params(carry.state),
        state=carry.state,
        losses=jnp.moveaxis(losses, 0, -1),
        status=jnp.where(legal, carry.status, Status.BAD_VALUES),
        skipped=carry.skipped,
        average=watchers.average(carry.memory, carry.state),
    )


def _traced_params(state: SVIState) -> dict[str, Any]:
    return jax.vmap(lambda s: s.params)(state) if jnp.ndim(state.step) else state.params


_params = jax.jit(_traced_params)


def _checked(svi: SVI, state: SVIState, num_chains: int | None, feed: Feed) -> SVIState:
    """A state to continue from, if it is this SVI's and has as many chains as asked for."""
    chains = jnp.shape(state.step) if isinstance(state, SVIState) else ()
    svi.check_feed(jax.tree.map(_of_one_chain, state) if chains else state, feed.of_chain(0))
    if num_chains is not None and chains != (num_chains,):
        raise ArgumentError(
            message(
                "init_state has another number of chains than num_chains.",
                expected=f"{num_chains} chains",
                got=f"{chains[0]} chains" if chains else "a single state",
                fix="leave num_chains out: a state continues with the chains that it has.",
            )
        )
    return state


def _of_one_chain(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _nonfinite(result: SVIRunResult) -> NonFiniteError:
    steps = np.asarray(result.state.step)
    return NonFiniteError(
        message(
            f"the fit met a non-finite loss, gradient or parameter at step {steps.min()}.",
            got=str(result.chain(int(np.argmin(steps))).explain()) if steps.ndim else str(result.explain()),
            fix="lower the rate, clip the gradient, or look at the sites above; "
            "error.result holds the last finite state.",
        ),
        result,
    )
