"""The evidence lower bound, estimated by draws from the guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, check_names, message
from svijax.density import check_pair, has_pathwise_gradient
from svijax.effects import Sample, Site
from svijax.handlers import Trace

from ._baselines import Baseline, Fitted, LeaveOneOut, NoBaseline
from ._estimators import (
    ClosedFormEntropy,
    Estimators,
    PathDerivative,
    ScoreFunction,
    as_estimators,
    check_independent,
    entropy_site,
    estimator_of,
)
from ._evaluation import Evaluation
from ._particles import (
    ParticleObjective,
    Run,
    first_particle,
    mean_over_particles,
    with_shared_masks,
)
from ._rerun import revised
from ._score import links_by_order
from ._surrogate import downstream, with_scores, without_baselines
from ._terms import Links, Score, Terms, add_up, make_terms, scores_of


@dataclass(frozen=True)
class Trace_ELBO(ParticleObjective):
    """−ELBO = −E_q[log p(x, z) − log q(z)], the mean over ``num_particles`` draws of the guide.

    Right for every guide site: pathwise gradients where its distribution is reparameterised, score-function
    terms elsewhere (discrete, or declared non-reparameterised), the two mixed as they come; second derivatives
    too. Log densities are scaled and masked once, score functions never. All particles share one minibatch.

    :param beta: −E[log p(x | z)] + beta · KL: a number, or a function of the step (an optax schedule) from 0 on.
    :param estimator: one of ``svijax.objectives`` for all sites where it applies, or a dictionary by site name.

    The other parameters are those of ``ParticleObjective``.
    """

    _: KW_ONLY
    beta: float | Callable[[Any], Any] = 1.0
    estimator: Estimators = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # A dictionary has no hash: what is asked for by name is kept as pairs.
        object.__setattr__(self, "estimator", as_estimators(type(self).__name__, self.estimator))
        if not callable(self.beta) and not (_is_number(self.beta) and self.beta >= 0):
            raise ArgumentError(
                message(
                    f"{type(self).__name__}: beta must be a number of at least 0, or a function of the step.",
                    got=repr(self.beta),
                    fix="write beta=0.5, or beta=optax.linear_schedule(0.0, 1.0, 1_000).",
                )
            )

    def pathwise(self, site: Sample) -> bool:
        chosen = estimator_of(site, self.estimator)
        return has_pathwise_gradient(site) if chosen is None else not chosen.cuts(site)

    def one(self, run: Run) -> Terms:
        return revised(run, self.terms, lambda site: estimator_of(site, self.estimator))

    def terms(self, run: Run, model_trace: Trace, guide_trace: Trace) -> Terms:
        """The terms of one pair of traces."""
        self._check_names(guide_trace)
        scores = scores_of(guide_trace, model_trace, self.pathwise, self._baseline)
        links = self.links(run, model_trace, guide_trace, scores) if scores else None
        densities = self.densities(run, guide_trace)
        return make_terms(model_trace, densities, scores, links, self._weight(run.step))

    def links(self, run: Run, model_trace: Trace, guide_trace: Trace, scores: tuple[Score, ...]) -> Links:
        """Which scores multiply which terms."""
        return links_by_order(model_trace, guide_trace, scores)

    def densities(self, run: Run, guide_trace: Trace) -> Trace:
        """The guide's sites with the log q that the estimators of their own density want."""
        chosen = {
            s.name: estimator_of(s, self.estimator) for s in guide_trace.values() if isinstance(s, Sample)
        }
        if not any(isinstance(c, ClosedFormEntropy | PathDerivative) for c in chosen.values()):
            return guide_trace
        detached = guide_trace
        if any(isinstance(c, PathDerivative) for c in chosen.values()):
            detached = run.detached(guide_trace)
        out: Trace = Trace()
        for name, site in guide_trace.items():
            if isinstance(site, Sample) and isinstance(chosen[name], ClosedFormEntropy):
                site = entropy_site(site)
            elif isinstance(site, Sample) and isinstance(chosen[name], PathDerivative):
                if self.fixed_draws is not None:
                    PathDerivative().refuse(site, "with fixed_draws its gradient is not that of the loss")
                twin = detached[name]
                site = site.having(fn=twin.fn, log_prob=twin.log_prob) if isinstance(twin, Sample) else site
            out[name] = site
        return out

    def start(self, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Any]:
        out = {}
        for site in guide_trace.values():
            if isinstance(site, Sample) and site.latent and not self.pathwise(site):
                baseline = self._baseline(site)
                state = None if baseline is None else baseline.start(site)
                if state is not None:
                    out[_state_name(site.name)] = state
        return out

    def combine(self, particles: Terms, mutable: Mapping[str, Any]) -> Evaluation:
        value = particles.plain + particles.extra
        state: dict[str, Any] = {}
        if particles.scores:
            scored, state = _scored(particles, mutable)
            value = value + scored
        log_p, log_q, loss = mean_over_particles((particles.log_p, particles.log_q, value))
        return Evaluation(loss, log_p, log_q, {**first_particle(particles.mutable), **state})

    def _weight(self, step: Any) -> Any:
        if callable(self.beta):
            return self.beta(step)
        return None if self.beta == 1.0 else self.beta

    def _baseline(self, site: Sample) -> Baseline | None:
        """The baseline at a site without pathwise gradient; None where another estimator than the score is used."""
        chosen = estimator_of(site, self.estimator)
        if chosen is not None and not isinstance(chosen, ScoreFunction | ClosedFormEntropy):
            return None
        # Scores need draws that are independent between particles and new at each step.
        check_independent(ScoreFunction(), site, self.noise, self.fixed_draws)
        if isinstance(chosen, ScoreFunction) and chosen.baseline is not None:
            return chosen.baseline
        return LeaveOneOut() if self.count > 1 else NoBaseline()

    def _check_names(self, guide_trace: Mapping[str, Site]) -> None:
        if isinstance(self.estimator, tuple):
            latents = [s.name for s in guide_trace.values() if isinstance(s, Sample)]
            check_names([name for name, _ in self.estimator], latents, "estimator")


def estimate(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> Evaluation:
    """−(Σ log p − Σ log q) of one pair of traces, with score terms where the guide needs them.

    The traces are all it sees: estimators, also those set by ``handlers.estimator``, are ignored, and a score has no
    baseline.

    :raises ModelError: guide and model do not fit each other.
    """
    guide_trace = with_shared_masks(model_trace, guide_trace)
    check_pair(model_trace, guide_trace)
    scores = scores_of(guide_trace, model_trace, has_pathwise_gradient, lambda site: NoBaseline())
    links = links_by_order(model_trace, guide_trace, scores) if scores else None
    terms = make_terms(model_trace, guide_trace, scores, links)
    loss = terms.plain + with_scores(terms.costs, terms.scores) if scores else terms.plain
    return Evaluation(loss, terms.log_p, terms.log_q, terms.mutable)


def _scored(particles: Terms, mutable: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(the loss of the terms that take scores, for each particle; the state of their baselines after it)."""
    scores = [score for score in particles.scores if score.baseline is not None]
    baselines, state, misfits = {}, {}, []
    for score in scores:
        kind, kept = score.baseline, mutable.get(_state_name(score.name))
        costs = jax.vmap(downstream)(particles.costs, score)
        value = None if kind is None else kind.value(costs, kept, score.learned)
        if value is not None:
            baselines[score.name] = value
        if kind is not None and kept is not None:
            state[_state_name(score.name)] = kind.after(costs, kept)
        if isinstance(kind, Fitted):
            misfits.append(jnp.sum((costs - score.learned) ** 2, axis=tuple(range(1, costs.ndim))))

    def loss(costs: Any, scores: Any, baselines: Mapping[str, Any]) -> Any:
        return with_scores(costs, scores) + without_baselines(scores, baselines)

    value = jax.vmap(loss)(particles.costs, scores, baselines)
    misfit = add_up(misfits)
    return value + misfit - jax.lax.stop_gradient(misfit), state


def _state_name(site: str) -> str:
    return f"{site}_baseline"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
