"""The tail-adaptive divergence: particles weighed by the rank of p/q."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, constant, message
from svijax.density import has_pathwise_gradient, log_density, mutable_state, scored_sites
from svijax.effects import Sample, Site

from ._dreg import with_constants
from ._estimators import Pathwise, refuse_all
from ._evaluation import Evaluation
from ._particles import ParticleObjective, Run, first_particle, mean_over_particles
from ._surrogate import along
from ._terms import add_up

_NO_SECOND = "TraceTailAdaptive_ELBO has no second derivative: its gradient is not that of its value."


@partial(jax.tree_util.register_dataclass, data_fields=["log_p", "log_q", "log_w", "mutable"], meta_fields=[])
@dataclass(frozen=True)
class Ranked:
    """One particle: log p and log q by site, and log p/q whose parameters in log q are constants."""

    log_p: dict[str, Any]
    log_q: dict[str, Any]
    log_w: Any
    mutable: dict[str, Any]


@dataclass(frozen=True)
class TraceTailAdaptive_ELBO(ParticleObjective):
    """∇ = −Σ_k γ_k ∇ log p(x, z_k)/q(z_k), γ_k ∝ (how many j have w_j ≥ w_k)^β (Wang et al. 2018, algorithm 1).

    Of an f-divergence whose weights keep a finite mean however heavy the tails of w = p/q are: with β = −1 the largest
    of K ratios weighs 1, the next 1/2, the smallest 1/K, over their sum. The derivative in the guide's parameters goes
    through the draws alone; the model's parameters get −Σ γ_k ∂ log p. No loss has this gradient: what is reported as
    the loss is −ELBO, the mean of log q − log p over the particles.

    :param num_particles: K, 2 or more. :param tail_adaptive_beta: β; 0 weighs all alike, as the ELBO does.

    All latents must have pathwise gradients, and no plate may subsample. The other parameters are those of
    ``ParticleObjective``.
    """

    num_particles: int = 2
    vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True
    _: KW_ONLY
    tail_adaptive_beta: float = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 2:
            raise ArgumentError(
                message(
                    "TraceTailAdaptive_ELBO ranks particles.",
                    expected="num_particles of 2 or more",
                    got=f"num_particles={self.count}",
                    fix="raise num_particles, or use Trace_ELBO.",
                )
            )
        beta = self.tail_adaptive_beta
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not math.isfinite(beta):
            raise ArgumentError(
                message(
                    "TraceTailAdaptive_ELBO: tail_adaptive_beta must be a number.",
                    got=repr(beta),
                    fix="write tail_adaptive_beta=-1.0.",
                )
            )

    def one(self, run: Run) -> Ranked:
        model_trace, guide_trace = run.traces()
        _check(model_trace, guide_trace)
        refuse_all("TraceTailAdaptive_ELBO", guide_trace)
        log_p, log_q = log_density(model_trace), log_density(guide_trace)
        constants = log_density(with_constants(run, guide_trace, guide_trace.keys()))
        log_w = add_up(log_p.values()) - add_up(constants.values())
        return Ranked(log_p, log_q, log_w, mutable_state(guide_trace, model_trace))

    def combine(self, particles: Ranked, mutable: Mapping[str, Any]) -> Evaluation:
        gamma = tail_weights(particles.log_w, self.tail_adaptive_beta)
        value = -jnp.mean(constant(particles.log_w, _NO_SECOND))
        loss = value + jnp.sum(along(-gamma, particles.log_w, _NO_SECOND))
        log_p, log_q = mean_over_particles((particles.log_p, particles.log_q))
        return Evaluation(loss, log_p, log_q, first_particle(particles.mutable))


def tail_weights(log_w: Any, beta: float) -> Any:
    """(number of j with w_j ≥ w_k)^beta over their sum."""
    rank = jnp.sum(log_w[None, :] >= log_w[:, None], axis=1)
    gamma = rank.astype(log_w.dtype) ** beta
    return gamma / jnp.sum(gamma)


def _check(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> None:
    for site in guide_trace.values():
        if isinstance(site, Sample) and site.latent and not has_pathwise_gradient(site):
            Pathwise().refuse(
                site, "its draws have no pathwise derivative, and TraceTailAdaptive_ELBO has no other way"
            )
    for site in (*scored_sites(model_trace), *scored_sites(guide_trace)):
        for frame in site.plates:
            if frame.size != frame.subsample_size:
                raise ModelError(
                    message(
                        f"TraceTailAdaptive_ELBO: plate {frame.name!r} subsamples: ranks of the ratios of a "
                        "minibatch are not those of all the data.",
                        plates=site.plates,
                        fix="leave subsample_size out, or use Trace_ELBO.",
                    )
                )
