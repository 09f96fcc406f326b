"""Score-function terms for draws without pathwise gradients, kept per plate element.

A cost c that depends on such a draw z enters the objective as c · exp(s − sg(s)), s = log q(z) neither scaled nor
masked (DiCE, Foerster et al. 2018, eq. 5): its value is c, and all its derivatives are right.

Which draws a cost depends on follows from the order of statements: those before it. The score of one more draw costs
variance and no bias, so every doubt is settled that way. Element i of a cost takes element i of a score where cost and
draw stand in one plate and all draws between them too: by what a plate says, nothing can then have carried the draw
of one element to another. Elsewhere it takes the sum of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.density import cost, has_pathwise_gradient, scored_sites, total
from svijax.effects import Factor, Mutable, Sample, Site


@dataclass(frozen=True)
class Score:
    """log q of one draw, its place in the guide, and the plates along which it is kept apart."""

    order: int
    log_q: Any
    plates: Mapping[str, int]


def scores_of(guide_trace: Mapping[str, Site], model_trace: Mapping[str, Site]) -> list[Score]:
    """Scores of the latents that have no pathwise gradient; empty for a reparameterised guide.

    Where a program has a mutable state (a batch norm, say) nothing is kept apart: the state can carry the draw of one
    element to another.
    """
    stateful = any(
        isinstance(site, Mutable) for sites in (guide_trace, model_trace) for site in sites.values()
    )
    out = []
    for order, site in enumerate(guide_trace.values()):
        if isinstance(site, Sample) and site.latent and not has_pathwise_gradient(site):
            raw = site.fn.log_prob(site.value) if site.log_prob is None else site.log_prob
            plates = {} if stateful else {frame.name: frame.dim for frame in site.plates}
            out.append(Score(order, raw, plates))
    return out


def guide_terms(guide_trace: Mapping[str, Site], scores: list[Score]) -> dict[str, Any]:
    """log q by site, each times the scores of the draws before it and of its own."""
    order = {name: i for i, name in enumerate(guide_trace)}
    return {
        site.name: with_scores(site, _upstream(scores, guide_trace, order[site.name]))
        for site in scored_sites(guide_trace)
    }


def model_terms(
    model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], scores: list[Score]
) -> dict[str, Any]:
    """log p by site, each times the scores of the draws that the model had read by then.

    What the model reads at a latent may depend on every draw that the guide made up to it, draws of variables that
    only the guide has among them; what it reads of a mutable state, on every draw of all elements.
    """
    order = {name: i for i, name in enumerate(guide_trace)}
    written = {site.name for site in guide_trace.values() if isinstance(site, Mutable)}
    reach, upstream = -1, list[Score]()
    terms = {}
    for site in model_trace.values():
        if isinstance(site, Mutable) and site.name in written:
            reach, upstream = len(order), scores
        elif isinstance(site, Sample) and order.get(site.name, -1) > reach:
            reach = order[site.name]
            upstream = _upstream(scores, guide_trace, reach)
        if isinstance(site, Sample | Factor):
            terms[site.name] = with_scores(site, upstream)
    return terms


def with_scores(site: Sample | Factor, upstream: list[Score]) -> Any:
    """The site's term, scaled and masked once, times exp(s − sg(s)) of its upstream scores."""
    if not upstream:
        return total(site)
    plates = {(frame.name, frame.dim) for frame in site.plates}
    log_q = _summed_to(upstream[0], plates)
    for score in upstream[1:]:
        log_q = log_q + _summed_to(score, plates)
    return jnp.sum(cost(site) * jnp.exp(log_q - jax.lax.stop_gradient(log_q)))


def _upstream(scores: list[Score], guide_trace: Mapping[str, Site], reach: int) -> list[Score]:
    """The scores up to ``reach`` in the guide, kept apart only along plates that every later draw is in too.

    A draw outside a plate may depend on all its elements, and carries that to whatever reads it.
    """
    by_order = {score.order: score for score in scores if score.order <= reach}
    out: list[Score] = []
    common: set[str] | None = None  # plates that every draw after this one is in, up to reach
    for order, site in reversed(list(enumerate(guide_trace.values()))[: reach + 1]):
        if order in by_order:
            score = by_order[order]
            kept = {name: dim for name, dim in score.plates.items() if common is None or name in common}
            out.append(Score(order, score.log_q, kept))
        if isinstance(site, Sample):
            inside = {frame.name for frame in site.plates}
            common = inside if common is None else common & inside
    return out[::-1]


def _summed_to(score: Score, plates: set[tuple[str, int]]) -> Any:
    """The score summed over all its dims but those of the given plates (by name and dim)."""
    ndim = jnp.ndim(score.log_q)
    kept = {dim for name, dim in score.plates.items() if (name, dim) in plates}
    axes = tuple(axis for axis in range(-ndim, 0) if axis not in kept)
    summed = jnp.sum(score.log_q, axis=axes, keepdims=True) if axes else score.log_q
    # Leading dims of one element are dropped, so that the cost's shape is what broadcasting gives.
    lead = ndim + min(kept, default=0)
    return summed.reshape(summed.shape[lead:])
