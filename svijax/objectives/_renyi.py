"""Rényi's bounds and the importance-weighted bound: particles that are weighed against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, check_names, message
from svijax.density import NoiseSource, PlainNoise, has_pathwise_gradient, log_density, mutable_state
from svijax.effects import Sample, Site
from svijax.handlers import Trace

from ._baselines import VIMCO, Baseline, NoBaseline
from ._dreg import Doubly, DReG, correction, doubly
from ._estimators import (
    Estimator,
    Estimators,
    PathDerivative,
    Pathwise,
    ScoreFunction,
    as_estimators,
    check_independent,
    estimator_of,
)
from ._evaluation import Evaluation
from ._particles import ParticleObjective, Run, first_particle, mean_over_particles
from ._surrogate import magic
from ._terms import Plates, Score, add_up, reduced, scores_of
from ._weights import log_mean_exp, weighed_apart


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_p", "log_q", "log_w", "scores", "doubly", "mutable", "scale"],
    meta_fields=["apart"],
)
@dataclass(frozen=True)
class Weighed:
    """One particle: log p and log q by site, log w by slice, and what the gradients of its draws need.

    ``scores``: Σ log q, raw, of the draws without pathwise gradient, those with the baseline and those without one; by
    slice where ``apart``, else of all. ``scale``: of the slices.
    """

    log_p: dict[str, Any]
    log_q: dict[str, Any]
    log_w: Any
    scores: tuple[Any, Any]
    doubly: tuple[Doubly, ...]
    mutable: dict[str, Any]
    scale: Any
    apart: bool


@dataclass(frozen=True, init=False)
class RenyiELBO(ParticleObjective):
    """−L, L = 1/(1 − α) · E log (1/K) Σ_k w_k^(1 − α), w = p(x, z) / q(z): a bound on log p(x) from below for α ≥ 0.

    α = 0 is the importance-weighted bound (``ImportanceWeightedELBO``), α → 1 the ELBO; α < 0 bounds from above as
    K → ∞ (Li & Turner 2016, eq. 14). The gradient is that of the bound of K particles, at draws of every kind.

    Plates that enclose every site of model and guide make independent problems, and each has its own bound of K
    particles, whose sum is L: particles are weighed within each. They may subsample: the sum is then scaled by
    size / subsample_size, and its expectation does not depend on the minibatch's size. A plate that subsamples and does
    not enclose every site is an error. A scale of ``svijax.handlers.scale`` is part of the weights: log w = Σ scale ·
    log p − Σ scale · log q; what is masked is not.

    :param alpha: a number other than 1. :param num_particles: K.
    :param estimator: ``DReG()`` for less variance where draws have a pathwise gradient; ``ScoreFunction(VIMCO())``, the
        default for two particles or more, or ``ScoreFunction(NoBaseline())`` where they have none; or a dictionary of
        them by site name.

    The other parameters are those of ``ParticleObjective``.
    """

    alpha: float = 0.0
    estimator: Estimators = None

    def __init__(
        self,
        alpha: float = 0.0,
        num_particles: int = 2,
        vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True,
        *,
        estimator: Any = None,
        noise: NoiseSource = PlainNoise(),  # noqa: B008
        fixed_draws: int | None = None,
        draws_seed: int = 0,
        particle_batch: int | None = None,
        remat: bool = False,
    ) -> None:
        owner = type(self).__name__
        values = {
            "alpha": _checked(owner, alpha),
            "estimator": as_estimators(owner, estimator),
            "num_particles": num_particles,
            "vectorize_particles": vectorize_particles,
            "noise": noise,
            "fixed_draws": fixed_draws,
            "draws_seed": draws_seed,
            "particle_batch": particle_batch,
            "remat": remat,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def pathwise(self, site: Sample) -> bool:
        chosen = self._chosen(site)
        return has_pathwise_gradient(site) if chosen is None else not chosen.cuts(site)

    def one(self, run: Run) -> Weighed:
        model_trace, guide_trace = run.traces()
        self._check_names(guide_trace)
        slices, parts = weighed_apart(type(self).__name__, model_trace, guide_trace)

        def scores(model_trace: Trace, guide_trace: Trace) -> tuple[Score, ...]:
            return scores_of(guide_trace, model_trace, self.pathwise, self._baseline)

        def weight(model_trace: Trace, guide_trace: Trace) -> Any:
            return slices.log_density(model_trace) - slices.log_density(parts(guide_trace))

        found = scores(model_trace, guide_trace)
        apart = all(set(slices.plates) <= set(score.plates) for score in found)
        names = [s.name for s in guide_trace.values() if isinstance(s, Sample) and self._is_doubly(s)]
        twice, densities = doubly(run, model_trace, guide_trace, names, slices, weight, scores)
        return Weighed(
            log_density(model_trace),
            log_density(guide_trace),
            weight(model_trace, densities),
            _by_baseline(found, slices.plates if apart else ()),
            twice,
            mutable_state(guide_trace, model_trace),
            slices.scale,
            apart,
        )

    def combine(self, particles: Weighed, mutable: Mapping[str, Any]) -> Evaluation:
        power = 1.0 - self.alpha
        bound = log_mean_exp(power * particles.log_w) / power
        loss = -first_particle(particles.scale) * (
            jnp.sum(self._scored(particles, bound)) + correction(particles.doubly, particles.log_w, power)
        )
        log_p, log_q = mean_over_particles((particles.log_p, particles.log_q))
        return Evaluation(loss, log_p, log_q, first_particle(particles.mutable))

    def _scored(self, particles: Weighed, bound: Any) -> Any:
        """The bound by slice, with the scores of the draws of all particles and their baselines."""
        scores = [score for score in particles.scores if score is not None]
        if not scores:
            return bound
        bound = bound if particles.apart else jnp.sum(bound)
        value = bound * magic(jnp.sum(add_up(scores), axis=0))
        against = particles.scores[0]
        if against is None:
            return value
        power = 1.0 - self.alpha
        others = VIMCO().value(jax.lax.stop_gradient(power * particles.log_w), None, None) / power
        if not particles.apart:
            others = jnp.sum(others, axis=tuple(range(1, others.ndim)))
        return value + jnp.sum(others * (1 - magic(against)), axis=0)

    def _chosen(self, site: Sample) -> Estimator | None:
        return estimator_of(site, self.estimator, _unfit)

    def _is_doubly(self, site: Sample) -> bool:
        if not site.latent or not isinstance(self._chosen(site), DReG):
            return False
        check_independent(DReG(), site, self.noise, self.fixed_draws)
        return True

    def _baseline(self, site: Sample) -> Baseline:
        chosen = self._chosen(site)
        check_independent(ScoreFunction(), site, self.noise, self.fixed_draws)
        if isinstance(chosen, ScoreFunction) and chosen.baseline is not None:
            return chosen.baseline
        return VIMCO() if self.count > 1 else NoBaseline()

    def _check_names(self, guide_trace: Mapping[str, Site]) -> None:
        if isinstance(self.estimator, tuple):
            latents = [s.name for s in guide_trace.values() if isinstance(s, Sample)]
            check_names([name for name, _ in self.estimator], latents, "estimator")


@dataclass(frozen=True, init=False)
class ImportanceWeightedELBO(RenyiELBO):
    """−E log (1/K) Σ_k w_k, w = p(x, z) / q(z): the importance-weighted bound, IWAE (Burda et al. 2016, eq. 8).

    It rises from the ELBO at K = 1 to log p(x). ``RenyiELBO`` at α = 0, and all that is said there holds.
    """

    alpha: float = field(default=0.0, init=False)

    def __init__(
        self,
        num_particles: int = 2,
        vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True,
        **options: Any,
    ) -> None:
        super().__init__(0.0, num_particles, vectorize_particles, **options)


def _by_baseline(scores: tuple[Score, ...], kept: Plates) -> tuple[Any, Any]:
    """(Σ log q of the draws with a baseline, of those without one); None for no draws."""
    out = []
    for plain in (False, True):
        found = [reduced(s.log_q, kept) for s in scores if isinstance(s.baseline, NoBaseline) == plain]
        out.append(add_up(found) if found else None)
    return out[0], out[1]


def _unfit(estimator: Estimator) -> str | None:
    """Why particles that are weighed against each other cannot use it."""
    if isinstance(estimator, ScoreFunction):
        if isinstance(estimator.baseline, VIMCO | NoBaseline | None):
            return None
        name = type(estimator.baseline).__name__
        return f"{name} compares the costs of single particles, and here all share one bound; use VIMCO()"
    if isinstance(estimator, PathDerivative):
        return "in a bound of weighed particles the score that it leaves out has an expectation; use DReG()"
    if isinstance(estimator, Pathwise | DReG):
        return None
    return "it is made for objectives that are means over particles"


def _checked(owner: str, alpha: Any) -> float:
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not number or not math.isfinite(alpha) or alpha == 1:
        at_one = number and alpha == 1
        raise ArgumentError(
            message(
                f"{owner}: alpha must be a number other than 1.",
                got=repr(alpha),
                fix="use Trace_ELBO, which is the bound as alpha goes to 1."
                if at_one
                else "write alpha=0.5.",
            )
        )
    return float(alpha)
