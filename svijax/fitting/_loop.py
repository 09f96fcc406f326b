"""The one compiled loop: ``count`` steps, ``count`` an argument, the noise of a block of steps drawn at once.

Step t has the key ``fold_in(key, t)`` for sites drawn by key, and a fixed place in the run's stream of noise for the
others. Blocks begin at multiples of their length, so every step finds its noise at the same place however a run is
split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import is_threefry
from svijax.density import Draws, draw, draw_ahead, epoch_length
from svijax.objectives import Evaluation

from ._feed import Call, Feed, InMemory, call_at
from ._state import SVIState, optim_view
from ._status import Status
from ._step import Problem, all_finite, nan_unless_finite
from ._watch import Seen, Watchers

ROLLED_BACK = ("free", "optim_state", "mutable")
"""What a step that is not taken leaves as it was."""

NOISE_LIMIT = 1 << 17
"""Numbers of noise that are drawn ahead at once, about: they shall stay in the cache."""

LEAST_BLOCK = 16
"""Steps whose noise is drawn ahead at least."""


@partial(
    jax.tree_util.register_dataclass, data_fields=["state", "status", "skipped", "memory"], meta_fields=[]
)
@dataclass(frozen=True)
class Carry:
    """A state, whether it still moves (``status`` is 0), how many steps it skipped, and its watchers' memory."""

    state: SVIState
    status: Any
    skipped: Any
    memory: tuple[Any, ...] = ()


def begin(state: SVIState, watchers: Watchers = Watchers()) -> Carry:  # noqa: B008
    """A carry that moves; one per chain where the state has a leading chain axis."""
    shape = jnp.shape(state.step)
    memory = jax.vmap(watchers.start)(state) if shape else watchers.start(state)
    return Carry(state, np.zeros(shape, np.int32), np.zeros(shape, np.int32), memory)


def run_steps(
    problem: Problem, guard: str, watchers: Watchers, feed: Feed, carry: Carry, count: Any, capacity: int
) -> tuple[Carry, Any]:
    """(carry after ``count`` steps, losses of shape (capacity,) or (capacity, chains), NaN where none was taken).

    ``guard``: "stop" stays before the first step that is not finite, "skip" does not take such steps. "mark" goes on,
    and makes the loss of the step NaN: it costs nothing, and who sees one takes the steps again with "stop". With
    rules to stop by it ends where no chain moves.
    """
    chains = jnp.ndim(carry.state.step) == 1
    single = jax.tree.map(lambda x: x[0], carry.state) if chains else carry.state
    problem = _laid_out(problem, feed.of_chain(0), single)
    block = _block_length(problem, feed, carry)
    axes = _axes(single) if chains else None
    step = _step if axes is None else partial(_step_chains, axes)
    first = jnp.max(carry.state.step)

    def one_block(loop: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        done, moving, losses = loop
        start = (first + done) % block
        stop = start + jnp.minimum(block - start, count - done)
        base = first + done - start
        ahead = draws_of(problem, carry.state, base, block), _ahead(feed, carry.state, base, block)

        def body(i: Any, inner: tuple[Any, Any]) -> tuple[Any, Any]:
            moving, losses = inner
            draws, rows = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), ahead)
            if problem.placement is not None:
                draws = problem.placement.keep_draws(draws)
            moving, loss = step(problem, guard, watchers, feed, moving, Here(base + i, draws, rows))
            place = done + i - start
            return moving, jax.lax.dynamic_update_index_in_dim(losses, loss, place, 0)

        end, moving, losses = _loop(start, stop, body, (moving, losses), bool(watchers.rules))
        return done + end - start, moving, losses

    shape = (capacity, *jnp.shape(carry.status))
    start_losses = jnp.full(shape, jnp.nan, jnp.result_type(float))
    moving = _outward(_renewed(watchers, carry), axes)
    _, moving, losses = jax.lax.while_loop(
        lambda loop: (loop[0] < count) & _moves(watchers, loop[1]),
        one_block,
        (jnp.zeros((), jnp.int32), moving, start_losses),
    )
    return _inward(moving, axes), losses


def _loop(start: Any, stop: Any, body: Any, moving: Any, may_end: bool) -> tuple[Any, Any, Any]:
    """(where it ended, carry, losses); only a run with rules looks whether anything still moves."""
    if not may_end:
        return (stop, *jax.lax.fori_loop(start, stop, body, moving))
    i, (carry, losses) = jax.lax.while_loop(
        lambda x: (x[0] < stop) & jnp.any(x[1][0].status == 0),
        lambda x: (x[0] + 1, body(*x)),
        (start, moving),
    )
    return i, carry, losses


def _moves(watchers: Watchers, carry: Carry) -> Any:
    return jnp.any(carry.status == 0) if watchers.rules else True


def _renewed(watchers: Watchers, carry: Carry) -> Carry:
    if not any(watchers.fresh):
        return carry
    renew = jax.vmap(watchers.begin_chunk) if jnp.ndim(carry.status) else watchers.begin_chunk
    return replace(carry, memory=renew(carry.memory, carry.state))


def _laid_out(problem: Problem, feed: Feed, single: SVIState) -> Problem:
    """The problem with the layout of the guide's noise on the feed's batches."""
    call = call_at(feed, single.key, single.step)
    return replace(problem, layout=problem.at(call).laid_out(single).layout)


def first_evaluation(problem: Problem, feed: Feed, state: SVIState) -> Evaluation:
    """The objective at a single state, as its next step would see it."""
    problem = _laid_out(problem, feed, state)
    draws = next_draws(problem, state)
    call = call_at(feed, state.key, state.step)
    return problem.at(call).evaluate(state, optim_view(state.free), draws)


def _block_length(problem: Problem, feed: Feed, carry: Carry) -> int:
    """A power of two, so that what is known ahead stays bounded; 1 where drawing ahead would draw other numbers."""
    if not is_threefry(carry.state.key):
        return 1
    layout, chains = problem.noise, jnp.size(carry.status)
    # A row number costs as much as several numbers of noise.
    rows = 4 * feed.spec.size if isinstance(feed, InMemory) else 0
    size = chains * (problem.noise_rows * (layout.size("normal") + layout.size("uniform")) + rows)
    length = epoch_length(layout, problem.noise_rows)
    while length > LEAST_BLOCK and length * size > NOISE_LIMIT:
        length //= 2
    return length


def _ahead(feed: Feed, state: SVIState, first: Any, count: int) -> Any:
    """What the feed knows of the steps ahead: leading axis the step, then the chains."""
    if jnp.ndim(state.step) == 0:
        return feed.ahead(state.key, first, count)
    return jax.vmap(lambda key: feed.ahead(key, first, count), out_axes=1)(state.key)


def draws_of(problem: Problem, state: SVIState, first: Any, count: int) -> Draws:
    """The randomness of steps ``first`` ... ``first + count − 1``: leading axis the step, noise with chains last."""
    if is_threefry(state.key):
        ahead = partial(draw_ahead, count=count, layout=problem.noise, num_particles=problem.noise_rows)
        return (
            ahead(state.key, first)
            if problem.placement is None
            else problem.placement.draws(ahead, state.key, first)
        )

    def one(key: jax.Array, t: Any) -> Draws:
        return draw(jax.random.fold_in(key, t), problem.noise, problem.noise_rows)

    steps = jnp.arange(count, dtype=jnp.int32) + first
    over_steps = jax.vmap(one, (None, 0))
    if jnp.ndim(state.step) == 0:
        return over_steps(state.key, steps)
    return jax.vmap(over_steps, (0, None), _CHAINS_SECOND)(state.key, steps)


def next_draws(problem: Problem, state: SVIState) -> Draws:
    """The randomness of the state's next step: what a run would use for it."""
    return jax.tree.map(lambda x: x[0], draws_of(problem, state, state.step, 1))


_DRAW_AXES = Draws(-1, -1, 0)  # type: ignore[arg-type]
_CHAINS_SECOND = Draws(-1, -1, 1)  # type: ignore[arg-type]


@partial(jax.tree_util.register_dataclass, data_fields=["step", "draws", "rows"], meta_fields=[])
@dataclass(frozen=True)
class Here:
    """What one step has to itself: its number, its randomness, and what its feed knew ahead."""

    step: Any
    draws: Draws
    rows: Any

    def call(self, feed: Feed) -> Call:
        """The arguments of the step."""
        return feed.call(self.rows, self.step, self.draws.key)


def _step(
    problem: Problem, guard: str, watchers: Watchers, feed: Feed, moving: Carry, here: Here
) -> tuple[Carry, Any]:
    """(what moves after one step, its loss)."""
    result, gradient = problem.at(here.call(feed)).differentiate(moving.state, here.draws)
    return _finish(problem, guard, watchers, feed, moving, here, result, gradient)


def _finish(
    problem: Problem,
    guard: str,
    watchers: Watchers,
    feed: Feed,
    moving: Carry,
    here: Here,
    result: Evaluation,
    gradient: Any,
    freeze: bool = False,
) -> tuple[Carry, Any]:
    """The rest of a step, once its gradient is known. ``freeze``: chains may have stopped beside others."""
    # Without the barrier the compiler takes the sum in ``mark`` apart, and the gradient with it.
    gradient = jax.lax.optimization_barrier(gradient)
    before = moving.state
    watched = bool(watchers.others)
    after, updates = problem.at(here.call(feed)).apply(before, result, gradient, here.draws, watched)
    loss = result.loss.astype(jnp.result_type(float))
    mark = nan_unless_finite(gradient)
    seen = Seen(
        here.step,
        loss,
        result.log_p,
        result.log_q,
        gradient,
        updates,
        before,
        after,
        partial(problem.loss_on, after),
    )
    memory = watchers.step(moving.memory, seen)
    stepped = Carry(after, _status(watchers, moving, memory), moving.skipped, memory)
    if guard == "mark":
        return _frozen(freeze, moving, stepped), _taken(freeze, moving, loss + mark)
    moves = moving.status == 0
    finite = jnp.isfinite(loss + mark) & all_finite(after.free.arrays)
    loss = jnp.where(moves, loss, jnp.nan)
    if guard == "skip":
        kept = {k: select(finite, getattr(after, k), getattr(before, k)) for k in ROLLED_BACK}
        skipped = Carry(
            after.having(**kept),
            select(finite, stepped.status, moving.status),
            moving.skipped + ~finite,
            select(finite, memory, moving.memory),
        )
        return _frozen(freeze, moving, skipped), loss
    taken = select(moves & finite, stepped, moving)
    failed = jnp.where(moves & ~finite, jnp.int32(Status.NONFINITE), taken.status)
    return replace(taken, status=failed), loss


def _status(watchers: Watchers, moving: Carry, memory: Any) -> Any:
    if not watchers.rules:
        return moving.status
    return jnp.where(watchers.done(memory), jnp.int32(Status.CONVERGED), moving.status)


def _frozen(freeze: bool, moving: Carry, after: Carry) -> Carry:
    """A chain that has stopped stays where it is; a single one ends the loop, and needs no choice."""
    return select(moving.status == 0, after, moving) if freeze else after


def _taken(freeze: bool, moving: Carry, loss: Any) -> Any:
    return jnp.where(moving.status == 0, loss, jnp.nan) if freeze else loss


def _step_chains(
    axes: Carry,
    problem: Problem,
    guard: str,
    watchers: Watchers,
    feed: Feed,
    moving: Carry,
    here: Here,
) -> tuple[Carry, Any]:
    """``_step`` over all chains. They do not mix, so the gradient of the sum of their losses holds all gradients.

    Differentiating outside of ``vmap`` keeps the chains where they are, last; inside they would be moved about.
    """
    views = optim_view(axes.state.free)
    parts = Here(None, _DRAW_AXES, 0)

    def one(feed: Feed, state: SVIState, view: Any, here: Here) -> Evaluation:
        return problem.at(here.call(feed)).evaluate(state, view, here.draws)

    evaluate = jax.vmap(one, (feed.chain_axes, axes.state, views, parts))

    def total(view: Any) -> tuple[Any, Evaluation]:
        results = evaluate(feed, moving.state, problem.kept(view, chained=True), here)
        return jnp.sum(results.loss), results

    (_, results), gradient = jax.value_and_grad(total, has_aux=True)(optim_view(moving.state.free))
    finish = jax.vmap(
        partial(_finish, problem, guard, watchers, freeze=bool(watchers.rules)),
        (feed.chain_axes, axes, parts, 0, views),
        (axes, 0),
    )
    return finish(feed, moving, here, results, gradient)


def select(flag: Any, new: Any, old: Any) -> Any:
    """``new`` where the flag is True, ``old`` elsewhere; what did not change is passed on."""
    return jax.tree.map(lambda x, y: x if x is y else jnp.where(flag, x, y), new, old)


def _axes(single: SVIState) -> Carry:
    """Where each leaf keeps its chains while the loop runs: vectors last, so that small ones stay contiguous."""
    return Carry(jax.tree.map(lambda leaf: 1 if jnp.ndim(leaf) == 1 else 0, single), 0, 0, 0)  # type: ignore[arg-type]


def _outward(carry: Carry, axes: Carry | None) -> Carry:
    if axes is None:
        return carry
    state = jax.tree.map(lambda x, a: jnp.moveaxis(x, 0, a), carry.state, axes.state)
    return replace(carry, state=state)


def _inward(carry: Carry, axes: Carry | None) -> Carry:
    if axes is None:
        return carry
    state = jax.tree.map(lambda x, a: jnp.moveaxis(x, a, 0), carry.state, axes.state)
    return replace(carry, state=state)
