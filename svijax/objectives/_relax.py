"""The score function with a control variate that is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ShapeError, message
from svijax.effects import Sample

from ._finite import per_element
from ._rebar import check_temperature, not_relaxed, relaxed_costs, with_control
from ._rerun import Place, Surrogate


@dataclass(frozen=True, init=False)
class Relax(Surrogate):
    """[f(b) − c(z̃)] ∇ log q(b) + ∇ c(z) − ∇ c(z̃), z̃ given b: c is a function of yours (Grathwohl et al. 2018, eq. 7).

    :param control: ``control(z, *inputs)``: z in the shape of the draw, b = 1[z > 0] or the unit vector of the largest
        entry. It reads parameters that the guide stated with ``param``; they descend on the variance of the gradient.
    :param inputs: draws made before this one, and data; no derivative goes into them.
    :param temperature: if given, f(soft(z / temperature)) of ``Rebar`` is added to the control.

    Set it in the guide: ``with svijax.handlers.estimator(estimator=Relax(net, x))`` around the draw. The control's
    value is one number, or has the shape of the site's log density; entry i may then read the elements of batch
    element i alone. It has no second derivatives.
    """

    control: Callable[..., Any]
    inputs: tuple[Any, ...]
    temperature: Any

    def __init__(self, control: Callable[..., Any], *inputs: Any, temperature: Any = None) -> None:
        if temperature is not None:
            check_temperature("Relax", temperature)
        object.__setattr__(self, "control", control)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "temperature", temperature)

    def obstacle(self, site: Sample) -> str | None:
        return not_relaxed(site)

    def surrogate(self, place: Place) -> Any:
        site, inputs = place.site, jax.lax.stop_gradient(self.inputs)
        example = jnp.zeros(site.shape, float)
        # Its parameters come as values of the enclosing guide: they are made inputs, to be differentiated in.
        function, read = jax.closure_convert(self.control, example, *inputs)
        relaxed = None if self.temperature is None else relaxed_costs(place)

        def control(z: Any, learnt: Any) -> tuple[Any, Any]:
            value = jnp.asarray(function(z, *inputs, *learnt[1]))
            total, parts = jnp.sum(value), per_element(_checked(value, site), site)
            if relaxed is not None:
                of_costs = relaxed(z, learnt[0])
                total, parts = total + of_costs[0], parts + of_costs[1]
            return total, parts

        return with_control(place, control, (self.temperature, list(read)))


def _checked(value: Any, site: Sample) -> Any:
    """The control's value in the shape of the batch."""
    batch = tuple(site.fn.batch_shape)
    if value.shape not in ((), batch):
        raise ShapeError(
            message(
                f"guide site {site.name!r}: its control has not the shape of its log density.",
                plates=site.plates,
                expected=f"one number, or shape {batch}",
                got=value.shape,
            )
        )
    return jnp.broadcast_to(value, batch)
