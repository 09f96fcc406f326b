"""The sum over the values of one latent of the guide, inside programs that are sampled otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, message
from svijax.effects import Sample

from ._finite import elements, log_table, not_finite, values_of
from ._rerun import Branching, Place
from ._terms import Cost, Link, Score, Terms, reduced


@dataclass(frozen=True)
class Enumerate(Branching):
    """Σ_v q(v) f(v) in the place of f(z): the expectation over this draw given those before it, which are sampled.

    At sites whose values can be listed: Bernoulli, Categorical, OneHotCategorical. The programs run once for each
    value, all elements of a plate together; what is drawn later is drawn in each run anew, and has its score there
    (Titsias and Lázaro-Gredilla 2015, eq. 8). The loss is that expectation, and its derivatives of every order are
    right; log p and log q by site are reported as drawn. Several such sites take a run for each combination of values.
    """

    def obstacle(self, site: Sample) -> str | None:
        why = not_finite(site)
        if why is None and prod(elements(site)) != prod(site.fn.batch_shape):
            return "its event has several elements, whose values combine; DisARM() and MeasureValued() do without a sum"
        return why

    def branched(self, place: Place, terms: Terms, branch: Callable[[Any], Terms]) -> Terms:
        name, site = place.name, place.site
        for cost in place.linked(place.first.terms):
            _check_apart(cost, site)
        log_q = log_table(site)
        weights = jnp.exp(log_q).reshape(len(log_q), *site.fn.batch_shape)
        later = {latent.name for latent in place.later()}

        def one(value: Any, weight: Any) -> tuple[tuple[Cost, ...], tuple[Score, ...]]:
            found = branch(value)
            costs = [_weighed(c, name, weight) for c in place.linked(found)]
            return tuple(costs), _used(found.scores, costs)

        costs, scores = jax.vmap(one)(values_of(site), weights)
        before = {score.name for score in place.first.terms.scores} - later - {name}
        summed, given = _side_by_side(name, before, costs, scores)
        rest = [cost for cost in terms.costs if _link(cost, name) is None]
        # The score of the draw itself stands for all that is summed out: no box takes it.
        wanted = {score.name for score in _used(terms.scores, rest)} | before | {name}
        kept = (score for score in terms.scores if score.name in wanted)
        return replace(terms, costs=(*rest, *summed), scores=(*kept, *given))


def _link(cost: Cost, name: str) -> Link | None:
    """How a cost depends on the draw of this name; None if it does not."""
    return next((link for link in cost.links if link.score == name), None)


def _weighed(cost: Cost, name: str, weight: Any) -> Cost:
    """The cost of one value, times its probability at the element that the cost belongs to."""
    link = _link(cost, name)
    if link is None:
        return cost
    here = reduced(weight, link.plates)
    # Where q is 0 the cost may be infinite, and counts nothing.
    never = here == 0
    return jax.tree.map(lambda x: jnp.where(never, 0.0, here * jnp.where(never, 0.0, x)), cost)


def _used(scores: Sequence[Score], costs: Sequence[Cost]) -> tuple[Score, ...]:
    """The scores that some cost takes."""
    names = {link.score for cost in costs for link in cost.links}
    return tuple(score for score in scores if score.name in names)


def _side_by_side(
    name: str, before: set[str], costs: Sequence[Cost], scores: Sequence[Score]
) -> tuple[list[Cost], list[Score]]:
    """Costs and scores of all values, which lie along the first axis, as of one more plate.

    What was drawn before the site is the same for all values, and so is its score.
    """
    own = [score for score in scores if score.name not in before]
    depth = max([jnp.ndim(x) for x in jax.tree.leaves((list(costs), own))], default=1)
    plate = (f"values of {name}", -depth)

    def lifted(x: Any) -> Any:
        return jnp.reshape(x, (len(x), *(1,) * (depth - jnp.ndim(x)), *x.shape[1:]))

    def linked(link: Link) -> Link:
        if link.score in before:
            return link
        return Link(_given(link.score, name), (*link.plates, plate))

    scored = {score.name for score in own}

    def summed(cost: Cost) -> Cost:
        links = tuple(linked(link) for link in cost.links if link.score != name)
        # log q of a draw is known by the name of its score.
        is_scored = cost.role == "q" and cost.name in scored and cost.name != name
        renamed = _given(cost.name, name) if is_scored else cost.name
        return replace(jax.tree.map(lifted, cost), name=renamed, links=links)

    out = [summed(cost) for cost in costs]
    renamed = [
        replace(jax.tree.map(lifted, score), name=_given(score.name, name), plates=(*score.plates, plate))
        for score in own
        if score.name != name
    ]
    return out, renamed


def _given(score: str, name: str) -> str:
    return f"{score} | {name}"


def _check_apart(cost: Cost, site: Sample) -> None:
    """Raise where a cost depends on several elements of the draw."""
    link = _link(cost, site.name)
    dims = {dim for _, dim in link.plates} if link is not None else set()
    batch = tuple(site.fn.batch_shape)
    if all(n == 1 or axis - len(batch) in dims for axis, n in enumerate(batch)):
        return
    where = f"the log density of {'model' if cost.role == 'p' else 'guide'} site {cost.name!r}"
    raise ModelError(
        message(
            f"guide site {site.name!r}: Enumerate cannot be used here.",
            plates=site.plates,
            expected=f"in {where}, to each element of the {batch} draws its own part",
            got="one number of several elements, so that all combinations of their values count",
            fix="use DisARM() or MeasureValued() at this site.",
        )
    )
