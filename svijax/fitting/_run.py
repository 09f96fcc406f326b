"""A whole fit: compiled chunks, and the host's look between them."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ArgumentError,
    NonFiniteError,
    as_key,
    join_arguments,
    message,
    split_arguments,
)
from svijax.objectives import check_count

from ._init import make_state
from ._loop import Carry, begin, run_steps
from ._progress import Pace, progress
from ._result import Call, Status, SVIRunResult, Timings
from ._state import SVIState

if TYPE_CHECKING:
    from ._svi import SVI

CAPACITY = 1 << 16
"""Most losses that one compiled chunk holds, over all chains."""

CHUNK_SECONDS = 0.1
"""How long a chunk shall take, so that a bar moves and an interrupt is heard."""

MODES = ("stop", "skip", "raise")

OPTIONS = frozenset(
    {"progress_bar", "init_params", "init_state", "num_chains", "on_nonfinite", "stable_update", "callback"}
)


def run(
    svi: SVI,
    rng_key: jax.Array,
    num_steps: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    progress_bar: bool | None,
    init_params: Mapping[str, Any] | None,
    init_state: SVIState | None,
    num_chains: int | None,
    on_nonfinite: str,
    callback: Callable[[SVIState, Any], Any] | None,
) -> SVIRunResult:
    """See ``SVI.run``."""
    check_count("num_steps", num_steps)
    if num_chains is not None:
        check_count("num_chains", num_chains)
    _check_options(svi, on_nonfinite, init_params, init_state)
    start = dict(init_params or {})
    if svi.is_traced(rng_key, init_state, start, args, kwargs):
        if progress_bar or callback is not None:
            asked = "progress_bar=True" if progress_bar else "callback="
            raise ArgumentError(
                message(
                    f"{asked} needs the host between chunks, and inside jit or vmap there is none.",
                    fix="leave it out, or call run outside of them; num_chains= makes several fits in one program.",
                )
            )
        return _run_traced(svi, rng_key, num_steps, start, init_state, num_chains, on_nonfinite, args, kwargs)
    clock = time.perf_counter()
    args, kwargs = _on_device(args, kwargs)
    guard = "skip" if on_nonfinite == "skip" else "mark"
    state = init_state
    if state is None:
        key = as_key(rng_key) if num_chains is None else jax.random.split(as_key(rng_key), num_chains)
        _compile_together(svi, key, start, guard, args, kwargs)
        state = _first_state(svi, key, start, args, kwargs)
    else:
        state = _checked(svi, state, num_chains, args, kwargs)
    chunk = _Chunk(svi, state, guard, args, kwargs)
    carry = chunk(begin(state), 0)[0]
    jax.block_until_ready(carry)
    compile_seconds = time.perf_counter() - clock
    return _loop(
        svi, chunk, carry, num_steps, compile_seconds, progress_bar, on_nonfinite, callback, args, kwargs
    )


def _compile_together(
    svi: SVI,
    key: jax.Array,
    start: Mapping[str, Any],
    guard: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Compile the start and the loop at the same time, on two cores, where the start is not compiled yet.

    The loop needs the shapes of the state only, which tracing the start tells.
    """
    chains = _num_chains(key)

    def build(static: Any) -> Callable[..., Any]:
        function, arrays = svi.init_function(start, args, kwargs, chains)
        lowered = function.lower(key, start, arrays)
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(lowered.compile)
            state = lowered.out_info[0]
            chunk = _Chunk(svi, state, guard, args, kwargs)
            chunk.function.lower(begin(state), np.int32(0), chunk.arrays).compile()
            compiling.result()
        # The table holds the two functions; this entry only says that they are compiled.
        return lambda: None

    svi.table_entry(("together", chains, guard), args, kwargs, build, start)


def _first_state(
    svi: SVI, key: jax.Array, start: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> SVIState:
    """The first state, or one per key; each of several is checked as a single one is."""
    chains = _num_chains(key)
    if chains is None:
        return svi.init(key, *args, init_params=start, **kwargs)
    function, arrays = svi.init_function(start, args, kwargs, chains)
    state, legal, finite = function(key, start, arrays)
    for k in np.flatnonzero(~(np.asarray(legal) & np.asarray(finite))):
        # The single start explains what is wrong, or finds a better place.
        single = svi.init(key[int(k)], *args, init_params=start, **kwargs)
        state = _with_chain(state, int(k), single)
    return state


def _num_chains(key: jax.Array) -> int | None:
    return key.shape[0] if key.ndim else None


def _with_chain(state: SVIState, index: int, single: SVIState) -> SVIState:
    return jax.tree.map(lambda many, one: many.at[index].set(one), state, single)


class _Chunk:
    """The compiled ``count`` steps of one run."""

    def __init__(
        self, svi: SVI, state: SVIState, guard: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.guard = guard
        chains = int(np.prod(jnp.shape(state.step), dtype=int))
        self.capacity = max(64, CAPACITY // chains)
        problem = svi.problem()

        def build(static: Any) -> Callable[..., Any]:
            def steps(carry: Carry, count: Any, arrays: tuple[Any, ...]) -> Any:
                return run_steps(problem, guard, carry, count, self.capacity, *join_arguments(arrays, static))

            return jax.jit(steps)

        self.function, self.arrays = svi.table_entry(("run", guard), args, kwargs, build, state)

    def __call__(self, carry: Carry, count: int) -> tuple[Carry, Any]:
        return self.function(carry, np.int32(count), self.arrays)


def _advance(chunk: _Chunk, carry: Carry, count: int) -> tuple[Carry, np.ndarray]:
    after, buffer = chunk(carry, count)
    return after, np.asarray(buffer)[:count]


def _sound(carry: Carry, losses: np.ndarray) -> bool:
    """Whether every step of the chunk was finite, as losses and parameters tell."""
    return bool(np.isfinite(losses).all()) and all(
        bool(np.isfinite(np.asarray(x)).all()) for x in carry.state.free.arrays
    )


def _loop(
    svi: SVI,
    chunk: _Chunk,
    carry: Carry,
    num_steps: int,
    compile_seconds: float,
    progress_bar: bool | None,
    on_nonfinite: str,
    callback: Callable[[SVIState, Any], Any] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> SVIRunResult:
    pace = Pace(chunk.capacity, CHUNK_SECONDS)
    parts: list[np.ndarray] = []
    done, interrupted, clock = 0, False, time.perf_counter()
    with progress(num_steps, progress_bar is not False) as report:
        try:
            while done < num_steps and bool(np.asarray(carry.alive).any()):
                count = pace.next(num_steps - done)
                with pace.timing(count):
                    after, losses = _advance(chunk, carry, count)
                    if chunk.guard == "mark" and not _sound(after, losses):
                        # Once more from where the chunk began, stopping before the step that went wrong.
                        chunk = _Chunk(svi, carry.state, "stop", args, kwargs)
                        after, losses = _advance(chunk, carry, count)
                carry, done = after, done + count
                parts.append(losses)
                report(count, losses)
                if callback is not None:
                    callback(carry.state, losses)
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - clock
    shape = (0, *jnp.shape(carry.alive))
    taken = np.concatenate(parts) if parts else np.zeros(shape, np.float32)
    if not interrupted and done < num_steps:
        missing = np.full((num_steps - done, *shape[1:]), np.nan, taken.dtype)
        taken = np.concatenate([taken, missing])
    status = np.where(np.asarray(carry.alive), Status.MAX_STEPS, Status.NONFINITE)
    if interrupted:
        status = np.where(status == Status.MAX_STEPS, Status.STOPPED_BY_USER, status)
    single = not shape[1:]
    result = SVIRunResult(
        params=_params(carry.state),
        state=carry.state,
        losses=np.moveaxis(taken, 0, -1),
        status=Status(int(status)) if single else status,
        skipped=int(carry.skipped) if single else np.asarray(carry.skipped),
        timings=Timings(compile_seconds, seconds, done / max(seconds, 1e-9)),
        call=Call(svi, args, dict(kwargs)),
    )
    if on_nonfinite == "raise" and np.any(status == Status.NONFINITE):
        raise _nonfinite(result)
    return result


def _run_traced(
    svi: SVI,
    key: jax.Array,
    num_steps: int,
    start: Mapping[str, Any],
    state: SVIState | None,
    num_chains: int | None,
    on_nonfinite: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> SVIRunResult:
    """The run as part of a traced program: one loop, no host, a status in place of errors about values."""
    if on_nonfinite == "raise":
        raise ArgumentError(
            "on_nonfinite='raise' needs the host; inside jit or vmap read the status of the result."
        )
    problem = svi.problem()
    guard = "skip" if on_nonfinite == "skip" else "stop"
    legal = jnp.ones((), bool)
    if state is None:
        make = partial(make_state, svi.model, svi.guide, problem.optim, svi.objective)

        def first(k: jax.Array) -> tuple[SVIState, Any]:
            made, values, densities = make(k, start, args, kwargs)
            return made, values & densities

        if num_chains is None:
            state, legal = first(as_key(key))
        else:
            state, legal = jax.vmap(first)(jax.random.split(as_key(key), num_chains))
    carry, losses = run_steps(problem, guard, begin(state), num_steps, num_steps, args, kwargs)
    status = jnp.where(legal, jnp.where(carry.alive, Status.MAX_STEPS, Status.NONFINITE), Status.BAD_VALUES)
    return SVIRunResult(
        params=_traced_params(carry.state),
        state=carry.state,
        losses=jnp.moveaxis(losses, 0, -1),
        status=status,
        skipped=carry.skipped,
    )


def _traced_params(state: SVIState) -> dict[str, Any]:
    return jax.vmap(lambda s: s.params)(state) if jnp.ndim(state.step) else state.params


_params = jax.jit(_traced_params)


def _checked(
    svi: SVI, state: SVIState, num_chains: int | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> SVIState:
    """A state to continue from, if it is this SVI's and has as many chains as asked for."""
    chains = jnp.shape(state.step) if isinstance(state, SVIState) else ()
    svi.check_state(jax.tree.map(_of_one_chain, state) if chains else state, args, kwargs)
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


def _check_options(
    svi: SVI, on_nonfinite: str, init_params: Mapping[str, Any] | None, init_state: SVIState | None
) -> None:
    if on_nonfinite not in MODES:
        raise ArgumentError(
            message("on_nonfinite is none of its choices.", expected=MODES, got=repr(on_nonfinite))
        )
    if init_params and init_state is not None:
        raise ArgumentError("init_params and init_state are two different starts: give one of them.")
    try:
        names = set(inspect.signature(svi.model).parameters)
    except (TypeError, ValueError):  # a callable without a signature has no keywords to shadow
        return
    shadowed = sorted(names & OPTIONS)
    if shadowed:
        raise ArgumentError(
            message(
                f"the model has an argument that is an option of run too: {shadowed}.",
                fix="rename it in the model, or bind it with functools.partial.",
            )
        )


def _on_device(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arrays are moved once, not at every chunk."""
    arrays, static = split_arguments(args, kwargs)
    return join_arguments(tuple(jax.device_put(x) for x in arrays), static)


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
