"""The terms of an ELBO, from one pair of traces: log p and log q by site, and what scores they take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.density import cost, log_density, mutable_state, raw_log_prob, scored_sites
from svijax.effects import Factor, Mutable, Sample, Site

from ._baselines import Baseline

Plates = tuple[tuple[str, int], ...]
"""Plates by (name, dim)."""


@dataclass(frozen=True)
class Link:
    """That a term depends on the draw with this score, element by element along ``plates``."""

    score: str
    plates: Plates


Links = dict[tuple[str, str], tuple[Link, ...]]
"""The links of each term, by ("p" or "q", site name)."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_q", "learned"],
    meta_fields=["name", "plates", "baseline"],
)
@dataclass(frozen=True)
class Score:
    """log q of a draw without pathwise gradient, per batch element, neither scaled nor masked.

    ``plates``: along which its elements may be kept apart. ``baseline``: None where another estimator has the place
    of the score function. ``learned``: the value of a learned baseline.
    """

    name: str
    log_q: Any
    plates: Plates
    baseline: Baseline | None = None
    learned: Any = None


@partial(
    jax.tree_util.register_dataclass, data_fields=["value", "slope"], meta_fields=["role", "name", "links"]
)
@dataclass(frozen=True)
class Cost:
    """A term of the loss that depends on draws with scores: −log p or log q per batch element, masked, scaled.

    ``slope``: of log q of a draw with a score, its derivative in the raw log q: what scale, mask and beta make of 1.
    """

    role: str
    name: str
    value: Any
    links: tuple[Link, ...]
    slope: Any = None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_p", "log_q", "plain", "costs", "scores", "mutable", "extra"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Terms:
    """One particle's: log p and log q by site; the loss as ``plain``, which takes no score, and ``costs``, which do.

    ``extra``: what estimators add that ran the programs again.
    """

    log_p: dict[str, Any]
    log_q: dict[str, Any]
    plain: Any
    costs: tuple[Cost, ...]
    scores: tuple[Score, ...]
    mutable: dict[str, Any]
    extra: Any = 0.0


def plates_of(site: Sample | Factor) -> Plates:
    """The plates around a site."""
    return tuple((frame.name, frame.dim) for frame in site.plates)


def scores_of(
    guide_trace: Mapping[str, Site],
    model_trace: Mapping[str, Site],
    pathwise: Callable[[Sample], bool],
    baseline: Callable[[Sample], Baseline | None],
) -> tuple[Score, ...]:
    """Scores of the latents that have no pathwise gradient; empty for a reparameterised guide.

    Where a program has a mutable state (a batch norm, say) nothing is kept apart: the state can carry the draw of one
    element to another.
    """
    stateful = any(
        isinstance(site, Mutable) for sites in (guide_trace, model_trace) for site in sites.values()
    )
    out = []
    for site in guide_trace.values():
        if isinstance(site, Sample) and site.latent and not pathwise(site):
            raw = raw_log_prob(site.fn, site.value) if site.log_prob is None else site.log_prob
            chosen = baseline(site)
            learned = None if chosen is None else chosen.at(site)
            kind = None if chosen is None else chosen.kind()
            out.append(Score(site.name, raw, () if stateful else plates_of(site), kind, learned))
    return tuple(out)


def make_terms(
    model_trace: Mapping[str, Site],
    guide_trace: Mapping[str, Site],
    scores: tuple[Score, ...] = (),
    links: Links | None = None,
    beta: Any = None,
) -> Terms:
    """The terms of a pair of traces. ``beta`` weighs the latents' log p and all of log q against the likelihood."""
    log_p, log_q = log_density(model_trace), log_density(guide_trace)
    observed = _likelihood(model_trace)
    plain, costs = [], []
    for role, sites, totals, sign in (("q", guide_trace, log_q, 1), ("p", model_trace, log_p, -1)):
        for site in scored_sites(sites):
            weight = None if role == "p" and site.name in observed else beta
            found = (links or {}).get((role, site.name), ())
            if found:
                slope = _own_slope(site, scores, weight) if role == "q" else None
                costs.append(Cost(role, site.name, sign * _weighed(cost(site), weight), found, slope))
            else:
                plain.append(sign * _weighed(totals[site.name], weight))
    return Terms(log_p, log_q, add_up(plain), tuple(costs), scores, mutable_state(guide_trace, model_trace))


def _own_slope(site: Sample | Factor, scores: tuple[Score, ...], weight: Any) -> Any:
    """d (weighed log q) / d log q of a draw with a score; None where something else has the place of its log q."""
    if not isinstance(site, Sample) or site.log_prob is not None:
        return None
    for score in scores:
        if score.name == site.name:
            return _weighed(cost(site.having(log_prob=jnp.ones_like(score.log_q))), weight)
    return None


def add_up(terms: Collection[Any]) -> Any:
    """The sum of some terms, 0 of none."""
    result = None
    for term in terms:
        result = term if result is None else result + term
    return jnp.zeros(()) if result is None else result


def reduced(value: Any, kept: Plates) -> Any:
    """Summed over all dims but those of the plates, without leading dims of one element."""
    ndim = jnp.ndim(value)
    dims = {dim for _, dim in kept}
    axes = tuple(axis for axis in range(-ndim, 0) if axis not in dims)
    summed = jnp.sum(value, axis=axes, keepdims=True) if axes else value
    return summed.reshape(summed.shape[ndim + min(dims, default=0) :])


def _likelihood(model_trace: Mapping[str, Site]) -> set[str]:
    """Names of the model's observations and factors."""
    return {s.name for s in scored_sites(model_trace) if isinstance(s, Factor) or s.observed}


def _weighed(value: Any, weight: Any) -> Any:
    return value if weight is None else weight * value
