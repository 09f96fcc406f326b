"""One run of the programs for each value that an element can take."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from svijax.effects import Sample

from ._finite import elements, log_table, not_finite, over_values, per_element, values_of
from ._first_order import first_order
from ._rerun import Place, Surrogate


@dataclass(frozen=True)
class MeasureValued(Surrogate):
    """Σ_v ∇ q(z_i = v) (f(z with z_i = v) − f(z with z_i = last)) for every element i, the others as they were drawn.

    At sites whose values can be listed: Bernoulli, Categorical, OneHotCategorical. Along plates that keep the costs
    apart all elements change at once, one run for each value; other elements (of an event, or of a plate that a later
    term adds up) one after the other, by ``lax.map``. Mohamed et al. (2020), section 6, with the weak derivative of a
    table. It has no second derivatives.
    """

    def obstacle(self, site: Sample) -> str | None:
        return not_finite(site)

    def surrogate(self, place: Place) -> Any:
        site, log_q = place.site, log_table(place.site)
        at_once = _kept_apart(place)
        turns = tuple(1 if axis in at_once else n for axis, n in enumerate(elements(site)))
        found = _costs_by_turn(place, turns)
        found = jnp.broadcast_to(_joined(found, turns), log_q.shape)
        # What cannot be drawn may cost infinitely much, and counts nothing.
        never = jnp.isneginf(log_q)
        found = jnp.where(never, 0.0, found)
        gap = jnp.where(never, 0.0, found - found[-1:])
        return first_order(place.reason, gap, jnp.exp(log_q))


def _kept_apart(place: Place) -> set[int]:
    """The axes of the draw along which every cost that depends on it belongs to one element."""
    dims = set(range(-len(place.site.fn.batch_shape), 0))
    for cost in place.linked(place.first.terms):
        for link in cost.links:
            if link.score == place.name:
                dims &= {dim for _, dim in link.plates}
    return {len(place.site.fn.batch_shape) + dim for dim in dims}


def _costs_by_turn(place: Place, turns: tuple[int, ...]) -> Any:
    """(turns, values, *elements, but 1 for the axes that take turns): the costs of the elements that change."""
    site, values = place.site, values_of(place.site)
    axes = tuple(axis for axis, n in enumerate(turns) if n > 1)

    def one(turn: Any, value: Any) -> Any:
        here = jnp.reshape(jnp.arange(prod(turns)) == turn, turns)
        terms = place.again(jnp.where(over_values(here, site), value, site.value))
        found = jnp.where(here, per_element(place.costs(terms), site), 0.0)
        return jnp.sum(found, axis=axes, keepdims=True)

    def every(turn: Any) -> Any:
        return jax.vmap(lambda value: one(turn, value))(values)

    if not axes:
        return every(0)[None]
    return jax.lax.map(every, jnp.arange(prod(turns)))


def _joined(found: Any, turns: tuple[int, ...]) -> Any:
    """(values, *elements), the axis of turns split into the axes that it stands for."""
    count, rest = found.shape[1], found.shape[2:]
    n = len(turns)
    split = jnp.moveaxis(found.reshape(*turns, count, *rest), n, 0)
    pairs = [axis for i in range(n) for axis in (1 + i, 1 + n + i)]
    shape = tuple(a * b for a, b in zip(turns, rest, strict=True))
    return split.transpose(0, *pairs).reshape(count, *shape)
