"""The one compiled loop: ``count`` steps, ``count`` an argument, the noise of a block of steps drawn at once.

Step t draws with ``fold_in(key, t)`` and blocks begin at multiples of their length, so every step finds its noise at
the same place however a run is split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from svijax.base import is_threefry
from svijax.density import Draws, NoiseLayout, Program, bind, draw, draw_ahead, epoch_length, noise_layout
from svijax.objectives import Objective

from ._state import SVIState
from ._step import all_finite, one_step

ROLLED_BACK = ("free", "optim_state", "mutable")
"""What a step that is not taken leaves as it was."""

NOISE_LIMIT = 1 << 17
"""Numbers of noise that are drawn ahead at once, about: they shall stay in the cache."""

LEAST_BLOCK = 16
"""Steps whose noise is drawn ahead at least."""


@dataclass(frozen=True)
class Problem:
    """What the loop needs of an SVI: two programs, an objective, an optimiser, and what to do about non-finite steps.

    ``guard``: "stop" stays before the first step that is not finite, "skip" does not take such steps. "mark" goes on,
    and makes the loss of the step NaN: it costs nothing, and who sees one takes the steps again with "stop".
    """

    objective: Any
    model: Program
    guide: Program
    optim: optax.GradientTransformationExtraArgs
    guard: str = "mark"

    @property
    def num_particles(self) -> int:
        return int(self.objective.num_particles) if isinstance(self.objective, Objective) else 1


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
    carry: Carry,
    count: Any,
    capacity: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[Carry, Any]:
    """(carry after ``count`` steps, losses of shape (capacity,) or (capacity, chains), NaN where none was taken).

    A carry that met a non-finite step stays at the state before it, unless non-finite steps are skipped.
    """
    chains = jnp.ndim(carry.state.step) == 1
    single = jax.tree.map(lambda x: x[0], carry.state) if chains else carry.state
    layout = layout_of(problem, single, args, kwargs)
    block = _block_length(problem, layout, single, chains, carry)
    axes = _axes(carry, single) if chains else None
    step = _stepper(problem, layout, carry.state, axes, args, kwargs)
    first = jnp.max(carry.state.step)

    def one_block(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        done, moving, losses = state
        start = (first + done) % block
        stop = start + jnp.minimum(block - start, count - done)
        draws = draws_of(problem, layout, carry.state, first + done - start, block)

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


def layout_of(problem: Problem, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NoiseLayout:
    """Where the guide's noise lies; a foreign objective draws for itself."""
    if not isinstance(problem.objective, Objective):
        return NoiseLayout((), (), ())
    return noise_layout(bind(problem.guide, state.free), args, kwargs)


def _block_length(
    problem: Problem, layout: NoiseLayout, state: SVIState, chains: bool, carry: Carry
) -> int:
    """A power of two, so that the noise ahead stays bounded; 1 where drawing ahead would draw other numbers."""
    if not is_threefry(state.key):
        return 1
    size = problem.num_particles * (layout.size("normal") + layout.size("uniform"))
    size *= jnp.shape(carry.alive)[0] if chains else 1
    length = epoch_length(layout, problem.num_particles)
    while length > LEAST_BLOCK and length * size > NOISE_LIMIT:
        length //= 2
    return length


def draws_of(problem: Problem, layout: NoiseLayout, state: SVIState, first: Any, count: int) -> Draws:
    """The randomness of steps ``first`` ... ``first + count − 1``: leading axis the step, noise with chains last."""
    if is_threefry(state.key):
        return draw_ahead(state.key, first, count, layout, problem.num_particles)

    def one(key: jax.Array, t: Any) -> Draws:
        return draw(jax.random.fold_in(key, t), layout, problem.num_particles)

    steps = jnp.arange(count, dtype=jnp.int32) + first
    over_steps = jax.vmap(one, (None, 0))
    if jnp.ndim(state.step) == 0:
        return over_steps(state.key, steps)
    return jax.vmap(over_steps, (0, None), _CHAINS_SECOND)(state.key, steps)


def next_draws(problem: Problem, layout: NoiseLayout, state: SVIState) -> Draws:
    """The randomness of the state's next step: what a run would use for it."""
    return jax.tree.map(lambda x: x[0], draws_of(problem, layout, state, state.step, 1))


_DRAW_AXES = Draws(-1, -1, 0)  # type: ignore[arg-type]
_CHAINS_SECOND = Draws(-1, -1, 1)  # type: ignore[arg-type]


def _stepper(
    problem: Problem,
    layout: NoiseLayout,
    like: SVIState,
    axes: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Callable[[Any, Draws], tuple[Any, Any]]:
    """(what moves, randomness) ↦ (what moves after one step, its loss), over all chains where there are chains."""

    def step(moving: Carry, draws: Draws) -> tuple[Carry, Any]:
        before = moving.state
        after, info = one_step(
            problem.objective,
            problem.model,
            problem.guide,
            problem.optim,
            before,
            draws,
            args,
            kwargs,
            layout,
        )
        loss = info.loss.astype(jnp.result_type(float))
        if problem.guard == "mark":
            return Carry(after, moving.alive, moving.skipped), loss + info.mark
        finite = jnp.isfinite(loss + info.mark) & all_finite(after.free.arrays)
        loss = jnp.where(moving.alive, loss, jnp.nan)
        if problem.guard == "skip":
            kept = {k: select(finite, getattr(after, k), getattr(before, k)) for k in ROLLED_BACK}
            return Carry(after.having(**kept), moving.alive, moving.skipped + ~finite), loss
        taken = moving.alive & finite
        return Carry(select(taken, after, before), taken, moving.skipped), loss

    return step if axes is None else jax.vmap(step, in_axes=(axes, _DRAW_AXES), out_axes=(axes, 0))


def select(flag: Any, new: Any, old: Any) -> Any:
    """``new`` where the flag is True, ``old`` elsewhere; what did not change is passed on."""
    return jax.tree.map(lambda x, y: x if x is y else jnp.where(flag, x, y), new, old)


def _axes(carry: Carry, single: SVIState) -> Any:
    """Where each leaf keeps its chains while the loop runs: vectors last, so that small ones stay contiguous."""

    def axis(leaf: Any) -> int:
        return 1 if jnp.ndim(leaf) == 1 else 0

    return Carry(jax.tree.map(axis, single), 0, 0)


def _outward(carry: Carry, axes: Any) -> Carry:
    return carry if axes is None else jax.tree.map(lambda x, a: jnp.moveaxis(x, 0, a), carry, axes)


def _inward(carry: Carry, axes: Any, like: Carry) -> Carry:
    return carry if axes is None else jax.tree.map(lambda x, a: jnp.moveaxis(x, a, 0), carry, axes)
