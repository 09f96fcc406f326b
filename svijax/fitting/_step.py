"""One step as five pure functions: draw, replay, estimate, differentiate, apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from svijax.base import FreeParams, as_key, pack, plan
from svijax.density import (
    Draws,
    NoiseLayout,
    Program,
    bind,
    constrain,
    draw,
    mutable_state,
    noise_layout,
    run_guide,
    run_model,
)
from svijax.handlers import Trace
from svijax.objectives import Evaluation, Objective

from ._state import SVIState, from_view, optim_view

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


class StepInfo(NamedTuple):
    """What one step reports and nobody carries.

    ``loss`` = −ELBO estimate in nats. ``mark``: 0, or NaN if an entry of the gradient is not finite.
    """

    loss: Any
    mark: Any


def as_free(free: Mapping[str, Any]) -> FreeParams:
    """Unconstrained parameters by name in the form that programs are bound to."""
    return free if isinstance(free, FreeParams) else pack(free, plan(free, packed=False))


def draw_guide(guide: Program, free: Mapping[str, Any], key: jax.Array, *args: Any, **kwargs: Any) -> Trace:
    """Substep 1: the guide's sites at unconstrained parameters, every draw from ``key``."""
    bound = bind(guide, free)
    layout = noise_layout(bound, args, kwargs)
    noise = draw(as_key(key), layout, 1)
    values = layout.split(noise.normal[0], noise.uniform[0])
    return run_guide(bound, args, kwargs, key=as_key(key), noise_values=values)


def replay_model(
    model: Program, free: Mapping[str, Any], guide_trace: Trace, key: jax.Array, *args: Any, **kwargs: Any
) -> Trace:
    """Substep 2: the model's sites on the guide's draws."""
    return run_model(
        bind(model, free), args, kwargs, guide_trace, key=as_key(key), state=mutable_state(guide_trace)
    )


def loss_at(
    objective: Any,
    model: Program,
    guide: Program,
    free: FreeParams,
    constraints: Mapping[str, Any],
    mutable: Mapping[str, Any],
    draws: Draws,
    args: Args,
    kwargs: Kwargs,
    layout: NoiseLayout | None = None,
) -> Evaluation:
    """Substep 3: the objective at unconstrained parameters and given randomness.

    A loss that is not one of ours, any callable with their signature, gets the step's key and constrained parameters.
    """
    if isinstance(objective, Objective):
        programs = bind(model, free), bind(guide, free)
        return objective.from_draws(draws, *programs, args, kwargs, mutable, layout)
    function = getattr(objective, "loss", objective)
    params = {name: constrain(free[name], constraints[name]) for name in free}
    return Evaluation(function(draws.key, params, model, guide, *args, **kwargs), {}, {}, dict(mutable))


def differentiate(
    objective: Any,
    model: Program,
    guide: Program,
    state: SVIState,
    draws: Draws,
    args: Args,
    kwargs: Kwargs,
    layout: NoiseLayout | None = None,
) -> tuple[Evaluation, Any]:
    """Substep 4: (evaluation, gradient in the optimiser's view of the parameters)."""

    def loss(view: Any) -> tuple[Any, Evaluation]:
        free = from_view(view, state.free)
        result = loss_at(
            objective, model, guide, free, state.constraints, state.mutable, draws, args, kwargs, layout
        )
        return result.loss, result

    (_, result), gradient = jax.value_and_grad(loss, has_aux=True)(optim_view(state.free))
    return result, gradient


def apply_gradient(
    optim: optax.GradientTransformationExtraArgs, state: SVIState, loss: Any, gradient: Any, value_fn: Any
) -> SVIState:
    """Substep 5: the optimiser's update. ``value_fn``: the loss as a function of its view of the parameters."""
    view = optim_view(state.free)
    updates, optim_state = optim.update(
        gradient, state.optim_state, view, value=loss, grad=gradient, value_fn=value_fn
    )
    free = from_view(optax.apply_updates(view, updates), state.free)
    return state.having(free=free, optim_state=_like(optim_state, state.optim_state), step=state.step + 1)


def one_step(
    objective: Any,
    model: Program,
    guide: Program,
    optim: optax.GradientTransformationExtraArgs,
    state: SVIState,
    draws: Draws,
    args: Args,
    kwargs: Kwargs,
    layout: NoiseLayout | None = None,
) -> tuple[SVIState, StepInfo]:
    """The five in one: the next state, and what the step reports."""

    def value(view: Any) -> Any:
        free = from_view(view, state.free)
        return loss_at(
            objective, model, guide, free, state.constraints, state.mutable, draws, args, kwargs, layout
        ).loss

    result, gradient = differentiate(objective, model, guide, state, draws, args, kwargs, layout)
    # Else the compiler takes the sum below apart, down to the single sites, and the gradient with it.
    gradient = jax.lax.optimization_barrier(gradient)
    after = apply_gradient(optim, state, result.loss, gradient, value)
    after = after.having(mutable=_like({**state.mutable, **result.mutable}, state.mutable))
    return after, StepInfo(result.loss, nan_unless_finite(gradient))


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
