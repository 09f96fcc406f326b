"""A whole fit: what it starts from, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, CheckpointError, LoaderError, NonFiniteError, as_key, message
from svijax.optim import check_injected

from ._chains import Chains, as_chains
from ._checkpoint import Keeper, keeping
from ._chunk import Chunk, compile_together, first_carry
from ._feed import Feed, Group, call_at
from ._host import Fit
from ._hosts import Hosts, read
from ._hyperparams import set_hyperparams, settable
from ._init import make_state
from ._loop import begin, first_evaluation, run_steps
from ._meshes import check_counts, handed_back, placed, settled, standing_on
from ._options import Options
from ._result import Origin, SVIRunResult, Timings
from ._sharding import Placement
from ._signature import signature_of
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
    chains = as_chains(options.num_chains, options.chains)
    svi = _settable(svi, chains)
    if svi.is_traced(rng_key, options.init_state, options.start, args, kwargs):
        options.check_traced()
        return _run_traced(svi, rng_key, num_steps, args, kwargs, options, chains)
    clock = time.perf_counter()
    placement = options.placement((args, kwargs))
    hosts = Hosts(None if placement is None else placement.mesh)
    place, shards = partial(placed, placement, svi.model), 1 if placement is None else placement.shards
    with (
        keeping(options.checkpoint, hosts) as keeper,
        standing_on(placement),
        supply_of(options, args, kwargs, place, chains, (_taken(keeper), num_steps), shards) as supply,
    ):
        rng_key, options = _on_devices(svi, placement, rng_key, options, chains)
        options = _with_sites(svi, rng_key, supply.first, options, chains)
        state = _state(svi, rng_key, supply.first, options, chains, placement)
        placement, state = settled(placement, state, options.start if options.init_state is None else None)
        watchers = options.watchers
        chunk = Chunk(svi, state, options.guard, watchers, supply.first, options.donate, placement)
        carry = chunk(supply.first, first_carry(state, watchers, placement), 0)[0]
        if keeper is not None:
            about = signature_of((svi.model, svi.guide), carry.state, supply.first, options.start)
            carry = keeper.start(carry, about, num_steps)
            carry = carry if placement is None else placement.put(carry, state)
        jax.block_until_ready(carry)
        fit = Fit(chunk, carry, supply, options, keeper)
        seconds = time.perf_counter() - clock
        try:
            fit.drive(num_steps)
        except CheckpointError as error:
            error.result = _handed_back(placement, _result(svi, fit, num_steps, seconds, supply))
            raise
        result = _result(svi, fit, num_steps, seconds, supply)
    result = _handed_back(placement, result)
    if fit.error is not None:
        raise LoaderError(str(fit.error), result) from (fit.error.__cause__ or fit.error)
    if options.on_nonfinite == "raise" and np.any(np.asarray(result.status) == Status.NONFINITE):
        raise _nonfinite(result)
    return result


def _taken(keeper: Keeper | None) -> int:
    """Steps that were taken before this process."""
    return 0 if keeper is None else keeper.step


def _settable(svi: SVI, chains: Chains | None) -> SVI:
    """With an optimiser whose hyperparameters may differ by chain, where they do."""
    if chains is None or not chains.hyperparams:
        return svi
    return type(svi)(svi.model, svi.guide, settable(svi.optim), svi.objective)


def _with_sites(svi: SVI, key: jax.Array, feed: Feed, options: Options, chains: Chains | None) -> Options:
    """With metrics that know the sites which the objective reports."""
    if options.metrics is None:
        return options
    feed = feed.of_chain(0)
    start = options.start if chains is None else chains.start_of(options.start, 0)

    def terms(key: jax.Array, start: Mapping[str, Any], feed: Feed) -> tuple[dict[str, Any], dict[str, Any]]:
        state = svi.init_function(key, start, feed)(key, start, feed)[0]
        result = first_evaluation(svi.problem(), feed, state)
        return result.log_p, result.log_q

    def build(static: Any) -> Callable[..., Any]:
        names = jax.eval_shape(terms, as_key(key), start, feed)
        return lambda: names

    function, _ = svi.table_entry("terms", (), {}, build, (start, feed), feed.programs)
    return replace(options, metrics=options.metrics.on(*function()))


def _on_devices(
    svi: SVI, placement: Placement | None, key: jax.Array, options: Options, chains: Chains | None
) -> tuple[jax.Array, Options]:
    """The key, and what the run starts from, on the devices of a mesh, if there is one."""
    if placement is None:
        return key, options
    state = options.init_state
    count = None if chains is None else chains.num
    if isinstance(state, SVIState):
        count = jnp.shape(state.step)[0] if jnp.ndim(state.step) else None
        options = replace(options, init_state=settled(placement, state, None)[1])
    check_counts(placement, count, svi.problem().noise_rows)
    if options.init_params:
        options = replace(options, init_params=placement.start(options.start))
    return placement.key(key), options


def _state(
    svi: SVI,
    rng_key: jax.Array,
    feed: Feed,
    options: Options,
    chains: Chains | None,
    placement: Placement | None,
) -> SVIState:
    """The state that a run starts from, its loop compiled beside."""
    if options.init_state is not None:
        state = _checked(svi, options.init_state, None if chains is None else chains.num, feed)
        state = jax.tree.map(jnp.copy, state) if options.donate else state
    else:
        state = _first(svi, as_key(rng_key), feed, options, chains, placement)
    state = state if chains is None else set_hyperparams(state, chains.hyperparams or {})
    check_injected(state.optim_state)
    return state


def _first(
    svi: SVI,
    key: jax.Array,
    feed: Feed,
    options: Options,
    chains: Chains | None,
    placement: Placement | None,
) -> SVIState:
    """The state of step 0; each of several chains is checked as a single one is."""
    if isinstance(feed, Group):
        # Of a run that is taken up again, what is read first are no batches of step 0; any will do for the shapes.
        feed = replace(feed, first=jnp.zeros_like(feed.first))
    start = options.start
    axes = None if chains is None else chains.start_axes(start)
    key = key if chains is None else jax.random.split(key, chains.num)
    if placement is None:
        compile_together(svi, key, start, axes, options.guard, options.watchers, feed, options.donate)
    else:
        key = placement.spread(key)
    if chains is None:
        return svi.first_state(key, start, feed)
    state, legal, finite = svi.init_function(key, start, feed, axes)(key, start, feed)
    for k in map(int, np.flatnonzero(~(read(legal) & read(finite)))):
        # The single start explains what is wrong, or finds a better place.
        single = svi.first_state(key[k], chains.start_of(start, k), feed.of_chain(k))
        state = jax.tree.map(lambda many, one, k=k: many.at[k].set(one), state, single)
    return state


def _result(svi: SVI, fit: Fit, num_steps: int, compile_seconds: float, supply: Supply) -> SVIRunResult:
    carry, taken = fit.carry, fit.losses()
    status = read(carry.status)
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
        skipped=int(carry.skipped) if single else read(carry.skipped),
        average=fit.chunk.watchers.average(carry.memory, carry.state),
        timings=Timings(compile_seconds, fit.seconds, fit.taken / max(fit.seconds, 1e-9)),
        call=Origin(svi, supply.args, dict(supply.kwargs), fit.feed),
    )


def _handed_back(placement: Placement | None, result: SVIRunResult) -> SVIRunResult:
    """With its data, on the mesh that the caller stands on."""
    call = result.call
    if call is None:
        return result
    args, kwargs, feed = handed_back(placement, (call.args, dict(call.kwargs), call.feed))
    return replace(handed_back(placement, result), call=Origin(call.svi, args, kwargs, feed))


def _run_traced(
    svi: SVI,
    key: jax.Array,
    num_steps: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Options,
    chains: Chains | None,
) -> SVIRunResult:
    """The run as part of a traced program: one loop, no host, a status in place of errors about values."""
    problem, start, watchers = svi.problem(), options.start, options.watchers
    guard = "skip" if options.on_nonfinite == "skip" else "stop"
    feed = traced_feed(options, args, kwargs, chains)
    state, legal = options.init_state, jnp.ones((), bool)
    if state is None:

        def first(key: jax.Array, start: Mapping[str, Any], feed: Feed) -> tuple[SVIState, Any]:
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

        if chains is None:
            state, legal = first(as_key(key), start, feed)
        else:
            keys, axes = jax.random.split(as_key(key), chains.num), chains.start_axes(start)
            state, legal = jax.vmap(first, (0, axes, feed.chain_axes))(keys, start, feed)
    if chains is not None:
        state = set_hyperparams(state, chains.hyperparams or {})
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
