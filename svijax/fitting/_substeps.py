"""The five parts of a step as pure functions, for loops of one's own.

``draw_guide``, ``replay_model``, ``svijax.objectives.estimate`` on their two traces, ``differentiate``,
``apply_gradient``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from svijax.base import FreeParams, as_jax, as_key, pack, plan
from svijax.density import Program, bind, draw, mutable_state, noise_layout, run_guide, run_model
from svijax.handlers import Trace
from svijax.objectives import Evaluation

from ._loop import next_draws
from ._state import SVIState

if TYPE_CHECKING:
    from ._svi import SVI


def as_free(free: Mapping[str, Any]) -> FreeParams:
    """Unconstrained parameters by name in the form that programs are bound to."""
    return free if isinstance(free, FreeParams) else pack(free, plan(free, packed=False))


def draw_guide(guide: Program, free: Mapping[str, Any], key: jax.Array, *args: Any, **kwargs: Any) -> Trace:
    """Substep 1: the guide's sites at unconstrained parameters, every draw from ``key``."""
    bound = bind(guide, free)
    args, kwargs = as_jax(args, kwargs)
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


def differentiate(svi: SVI, state: SVIState, *args: Any, **kwargs: Any) -> tuple[Evaluation, Any]:
    """Substep 4, of the state's next step: (evaluation, gradient in the optimiser's view of the parameters)."""
    problem = svi.problem().on(state, *as_jax(args, kwargs))
    return problem.differentiate(state, next_draws(problem, state))


def apply_gradient(
    svi: SVI, state: SVIState, result: Evaluation, gradient: Any, *args: Any, **kwargs: Any
) -> SVIState:
    """Substep 5: the next state, by the optimiser's update with what ``differentiate`` gave."""
    problem = svi.problem().on(state, *as_jax(args, kwargs))
    return problem.apply(state, result, gradient, next_draws(problem, state))[0]
