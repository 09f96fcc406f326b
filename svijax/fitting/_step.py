"""One step: evaluate, differentiate, apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from svijax.density import (
    Draws,
    NoiseLayout,
    Program,
    bind,
    constrain,
    draw,
    noise_layout,
)
from svijax.objectives import Evaluation, Objective, ParticleObjective

from ._feed import Call
from ._sharding import Placement
from ._state import SVIState, from_view, optim_view


@dataclass(frozen=True)
class Problem:
    """Two programs, an objective and an optimiser, on the arguments of one call.

    ``layout``: the guide's noise. ``placement``: where arrays lie, on several devices.
    """

    objective: Any
    model: Program
    guide: Program
    optim: optax.GradientTransformationExtraArgs
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    layout: NoiseLayout | None = None
    placement: Placement | None = None

    @property
    def noise_rows(self) -> int:
        return self.objective.noise_rows if isinstance(self.objective, Objective) else 1

    @property
    def noise(self) -> NoiseLayout:
        """Where the guide's noise lies; a foreign objective draws for itself."""
        return NoiseLayout((), (), ()) if self.layout is None else self.layout

    def on(self, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Problem:
        """The problem on these arguments, with the noise layout of a single state's guide."""
        return self.at(Call(args, kwargs)).laid_out(state)

    def at(self, call: Call) -> Problem:
        """The problem on the arguments of a step, of the same shapes as before."""
        model, guide = call.bind(self.model), call.bind(self.guide)
        return replace(self, model=model, guide=guide, args=call.args, kwargs=call.kwargs)

    def laid_out(self, state: SVIState) -> Problem:
        """With the noise layout of a single state's guide."""
        if not isinstance(self.objective, Objective):
            return replace(self, layout=None)
        return replace(self, layout=noise_layout(bind(self.guide, state.free), self.args, self.kwargs))

    def kept(self, view: Any, chained: bool = False) -> Any:
        """The parameters, and by transposition their gradient, where they lie on the devices of a run."""
        return view if self.placement is None else self.placement.keep_view(view, chained)

    def evaluate(self, state: SVIState, view: Any, draws: Draws) -> Evaluation:
        """The objective at an optimiser's view of the parameters and given randomness.

        A loss that is not one of ours, any callable with their signature, gets the step's key and constrained
        parameters.
        """
        free = from_view(view, state.free)
        if isinstance(self.objective, Objective):
            programs = bind(self.model, free), bind(self.guide, free)
            return self.objective.from_draws(
                draws, *programs, self.args, self.kwargs, state.mutable, self.layout, state.step
            )
        function = getattr(self.objective, "loss", self.objective)
        params = {name: constrain(free[name], state.constraints[name]) for name in free}
        loss = function(draws.key, params, self.model, self.guide, *self.args, **self.kwargs)
        return Evaluation(loss, {}, {}, dict(state.mutable))

    def differentiate(self, state: SVIState, draws: Draws) -> tuple[Evaluation, Any]:
        """(evaluation, gradient in the optimiser's view of the parameters)."""

        def loss(view: Any) -> tuple[Any, Evaluation]:
            result = self.evaluate(state, self.kept(view), draws)
            return result.loss, result

        (_, result), gradient = jax.value_and_grad(loss, has_aux=True)(optim_view(state.free))
        return result, gradient

    def apply(
        self, state: SVIState, result: Evaluation, gradient: Any, draws: Draws, watched: bool = False
    ) -> tuple[SVIState, Any]:
        """(the state after the optimiser's update, that update). ``watched``: somebody reads the update.

        Optimisers that search see the loss as a function at the same randomness.
        """
        view = optim_view(state.free)
        updates, optim_state = self.optim.update(
            gradient,
            state.optim_state,
            view,
            value=result.loss,
            grad=gradient,
            value_fn=lambda v: self.evaluate(state, v, draws).loss,
        )
        if watched:
            # Else the compiler computes it once for the parameters, and once for who reads it.
            updates = jax.lax.optimization_barrier(updates)
        after = state.having(
            free=from_view(optax.apply_updates(view, updates), state.free),
            optim_state=_like(optim_state, state.optim_state),
            mutable=_like({**state.mutable, **result.mutable}, state.mutable),
            step=state.step + 1,
        )
        return after, updates

    def evaluations(self, state: SVIState, key: jax.Array, count: int, batch_size: int) -> Any:
        """The loss at a state with ``count`` independent draws, ``batch_size`` of them in memory at once."""

        def one(index: jax.Array) -> Any:
            draws = draw(jax.random.fold_in(key, index), self.noise, self.noise_rows)
            return self.evaluate(state, optim_view(state.free), draws).loss

        return jax.lax.map(one, jnp.arange(count), batch_size=min(count, batch_size))

    def loss_on(
        self,
        state: SVIState,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        key: jax.Array,
        num_particles: int | None = None,
    ) -> Any:
        """The loss at a state on other data, with other draws, and particles if so many are wanted."""
        problem = self
        if num_particles is not None and isinstance(self.objective, ParticleObjective):
            problem = replace(self, objective=replace(self.objective, num_particles=num_particles))
        problem = problem.on(state, args, kwargs)
        return problem.evaluate(
            state, optim_view(state.free), draw(key, problem.noise, problem.noise_rows)
        ).loss


def nan_unless_finite(tree: Any) -> Any:
    """0 · Σ entries: 0 if all entries are finite, NaN otherwise."""
    return sum((0.0 * jnp.sum(leaf) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def all_finite(tree: Any) -> Any:
    """Whether every entry of every leaf is finite."""
    flags = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    result = jnp.ones((), bool)
    for flag in flags:
        result = result & flag
    return result


def _like(new: Any, old: Any) -> Any:
    """``new`` in the dtypes of ``old``: an optimiser may not widen what the loop carries."""
    return jax.tree.map(lambda x, y: jax.lax.convert_element_type(x, y.dtype), new, old)
