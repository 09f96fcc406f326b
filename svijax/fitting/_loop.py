"""The one compiled loop: ``count`` steps, ``count`` an argument, the noise of a block of steps drawn at once.

Step t has the key ``fold_in(key, t)`` for sites drawn by key, and a fixed place in the run's stream of noise for the
others. Blocks begin at multiples of their length, so every step finds its noise at the same place however a run is
split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import is_threefry
from svijax.density import Draws, draw, draw_ahead, epoch_length
from svijax.objectives import Evaluation

from ._state import SVIState, optim_view
from ._step import Problem, all_finite, nan_unless_finite

ROLLED_BACK = ("free", "optim_state", "mutable")
"""What a step that is not taken leaves as it was."""

NOISE_LIMIT = 1 << 17
"""Numbers of noise that are drawn ahead at once, about: they shall stay in the cache."""

LEAST_BLOCK = 16
"""Steps whose noise is drawn ahead at least."""


@partial(jax.tree_util.register_dataclass, data_fields=["state", "alive", "skipped"], meta_fields=[])
@dataclass(frozen=True)
class Carry:
    """A state, whether it still moves, and how many steps it did not take."""

    state: SVIState
    alive: Any
    skipped: Any


def begin(state: SVIState) -> Carry:
    """A carry that moves; one per chain where the state has a leading chain axis."""
    shape = jnp.shape(state.step)
    return Carry(state, np.ones(shape, bool), np.zeros(shape, np.int32))


def run_steps(
    problem: Problem,
    guard: str,
    carry: Carry,
    count: Any,
    capacity: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[Carry, Any]:
    """(carry after ``count`` steps, losses of shape (capacity,) or (capacity, chains), NaN where none was taken).

    ``guard``: "stop" stays before the first step that is not finite, "skip" does not take such steps. "mark" goes on,
    and makes the loss of the step NaN: it costs nothing, and who sees one takes the steps again with "stop".
    """
    chains = jnp.ndim(carry.state.step) == 1
    single = jax.tree.map(lambda x: x[0], carry.state) if chains else carry.state
    problem = problem.on(single, args, kwargs)
    block = _block_length(problem, carry)
    axes = _axes(single) if chains else None
    step = _step_chains(problem, guard, axes) if axes is not None else partial(_step, problem, guard)
    first = jnp.max(carry.state.step)

    def one_block(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        done, moving, losses = state
        start = (first + done) % block
        stop = start + jnp.minimum(block - start, count - done)
        draws = draws_of(problem, carry.state, first + done - start, block)

        def body(i: Any, inner: tuple[Any, Any]) -> tuple[Any, Any]:
            moving, losses = inner
            here = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), draws)
            moving, loss = step(moving, here)
            place = done + i - start
            return moving, jax.lax.dynamic_update_index_in_dim(losses, loss, place, 0)

        moving, losses = jax.lax.fori_loop(start, stop, body, (moving, losses))
        return done + stop - start, moving, losses

    shape = (capacity, *jnp.shape(carry.alive))
    start_losses = jnp.full(shape, jnp.nan, jnp.result_type(float))
    moving = _outward(carry, axes)
    _, moving, losses = jax.lax.while_loop(
        lambda state: state[0] < count, one_block, (jnp.zeros((), jnp.int32), moving, start_losses)
    )
    return _inward(moving, axes, carry), losses


def _block_length(problem: Problem, carry: Carry) -> int:
    """A power of two, so that the noise ahead stays bounded; 1 where drawing ahead would draw other numbers."""
    if not is_threefry(carry.state.key):
        return 1
    layout, chains = problem.noise, jnp.size(carry.alive)
    size = chains * problem.noise_rows * (layout.size("normal") + layout.size("uniform"))
    length = epoch_length(layout, problem.noise_rows)
    while length > LEAST_BLOCK and length * size > NOISE_LIMIT:
        length //= 2
    return length


def draws_of(problem: Problem, state: SVIState, first: Any, count: int) -> Draws:
    """The randomness of steps ``first`` ... ``first + count − 1``: leading axis the step, noise with chains last."""
    if is_threefry(state.key):
        return draw_ahead(state.key, first, count, problem.noise, problem.noise_rows)

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


def _step(problem: Problem, guard: str, moving: Carry, draws: Draws) -> tuple[Carry, Any]:
    """(what moves after one step, its loss)."""
    result, gradient = problem.differentiate(moving.state, draws)
    return _finish(problem, guard, moving, result, gradient, draws)


def _finish(
    problem: Problem, guard: str, moving: Carry, result: Evaluation, gradient: Any, draws: Draws
) -> tuple[Carry, Any]:
    """The rest of a step, once its gradient is known."""
    # Without the barrier the compiler takes the sum in ``mark`` apart, and the gradient with it.
    gradient = jax.lax.optimization_barrier(gradient)
    before = moving.state
    after = problem.apply(before, result, gradient, draws)
    loss = result.loss.astype(jnp.result_type(float))
    mark = nan_unless_finite(gradient)
    if guard == "mark":
        return Carry(after, moving.alive, moving.skipped), loss + mark
    finite = jnp.isfinite(loss + mark) & all_finite(after.free.arrays)
    loss = jnp.where(moving.alive, loss, jnp.nan)
    if guard == "skip":
        kept = {k: select(finite, getattr(after, k), getattr(before, k)) for k in ROLLED_BACK}
        return Carry(after.having(**kept), moving.alive, moving.skipped + ~finite), loss
    taken = moving.alive & finite
    return Carry(select(taken, after, before), taken, moving.skipped), loss


def _step_chains(problem: Problem, guard: str, axes: Carry) -> Callable[[Carry, Draws], tuple[Carry, Any]]:
    """``_step`` over all chains. They do not mix, so the gradient of the sum of their losses holds all gradients.

    Differentiating outside of ``vmap`` keeps the chains where they are, last; inside they would be moved about.
    """

    def step(moving: Carry, draws: Draws) -> tuple[Carry, Any]:
        evaluate = jax.vmap(problem.evaluate, (axes.state, optim_view(axes.state.free), _DRAW_AXES))

        def total(view: Any) -> tuple[Any, Evaluation]:
            results = evaluate(moving.state, view, draws)
            return jnp.sum(results.loss), results

        (_, results), gradient = jax.value_and_grad(total, has_aux=True)(optim_view(moving.state.free))
        finish = jax.vmap(
            partial(_finish, problem, guard),
            (axes, 0, optim_view(axes.state.free), _DRAW_AXES),
            (axes, 0),
        )
        return finish(moving, results, gradient, draws)

    return step


def select(flag: Any, new: Any, old: Any) -> Any:
    """``new`` where the flag is True, ``old`` elsewhere; what did not change is passed on."""
    return jax.tree.map(lambda x, y: x if x is y else jnp.where(flag, x, y), new, old)


def _axes(single: SVIState) -> Carry:
    """Where each leaf keeps its chains while the loop runs: vectors last, so that small ones stay contiguous."""
    return Carry(jax.tree.map(lambda leaf: 1 if jnp.ndim(leaf) == 1 else 0, single), 0, 0)


def _outward(carry: Carry, axes: Any) -> Carry:
    return carry if axes is None else jax.tree.map(lambda x, a: jnp.moveaxis(x, 0, a), carry, axes)


def _inward(carry: Carry, axes: Any, like: Carry) -> Carry:
    return carry if axes is None else jax.tree.map(lambda x, a: jnp.moveaxis(x, a, 0), carry, axes)
