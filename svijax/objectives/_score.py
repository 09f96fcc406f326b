"""Score-function terms for draws without pathwise gradients, kept per plate element.

A cost c that depends on such a draw z enters the objective as c · exp(s − sg(s)), s = log q(z) neither scaled nor
masked (DiCE, Foerster et al. 2018, eq. 5): its value is c, and all its derivatives are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.density import cost, has_pathwise_gradient, scored_sites, total
from svijax.effects import Factor, Sample, Site


@dataclass(frozen=True)
class Score:
    """log q of one draw, its place in the guide, and the plates along which it is kept apart."""

    order: int
    log_q: Any
    plates: Mapping[str, int]


def scores_of(guide_trace: Mapping[str, Site]) -> list[Score]:
    """Scores of the latents that have no pathwise gradient; empty for a reparameterised guide."""
    out = []
    for order, site in enumerate(guide_trace.values()):
        if isinstance(site, Sample) and site.latent and not has_pathwise_gradient(site):
            raw = site.fn.log_prob(site.value) if site.log_prob is None else site.log_prob
            out.append(Score(order, raw, {frame.name: frame.dim for frame in site.plates}))
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

    What the model reads at a latent may depend on every draw that the guide made up to it.
    """
    order = {name: i for i, name in enumerate(guide_trace)}
    # A draw that only the guide has can act through any latent drawn after it, so it is never left out.
    own = [s for s in guide_trace.values() if isinstance(s, Sample) and s.name not in model_trace]
    reach = max((order[site.name] for site in own), default=-1)
    terms = {}
    for site in model_trace.values():
        if site.name in order and isinstance(site, Sample):
            reach = max(reach, order[site.name])
        if isinstance(site, Sample | Factor):
            terms[site.name] = with_scores(site, _upstream(scores, guide_trace, reach))
    return terms


def with_scores(site: Sample | Factor, upstream: list[Score]) -> Any:
    """The site's term, scaled and masked once, times exp(s − sg(s)) of its upstream scores."""
    if not upstream:
        return total(site)
    costs = cost(site)
    names = {frame.name for frame in site.plates}
    log_q = 0.0
    for score in upstream:
        log_q = log_q + _summed_to(score, names)
    return jnp.sum(costs * jnp.exp(log_q - jax.lax.stop_gradient(log_q)))


def _upstream(scores: list[Score], guide_trace: Mapping[str, Site], reach: int) -> list[Score]:
    """The scores up to ``reach`` in the guide, kept apart only along plates that every later draw is in too.

    A draw outside a plate may depend on all its elements, and carries that to whatever reads it.
    """
    out = []
    sites = list(guide_trace.values())
    for score in scores:
        if score.order > reach:
            continue
        kept = dict(score.plates)
        for later in sites[score.order + 1 : reach + 1]:
            if isinstance(later, Sample):
                inside = {frame.name for frame in later.plates}
                kept = {name: dim for name, dim in kept.items() if name in inside}
        out.append(Score(score.order, score.log_q, kept))
    return out


def _summed_to(score: Score, plates: set[str]) -> Any:
    ndim = jnp.ndim(score.log_q)
    kept = {dim for name, dim in score.plates.items() if name in plates}
    axes = tuple(axis for axis in range(-ndim, 0) if axis not in kept)
    summed = jnp.sum(score.log_q, axis=axes, keepdims=True) if axes else score.log_q
    # Leading dims of one element are dropped, so that the cost's shape is what broadcasting gives.
    lead = ndim + min(kept, default=0)
    return summed.reshape(summed.shape[lead:])
