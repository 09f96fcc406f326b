"""Reweighted wake-sleep: the guide is fitted to weighed particles, or to what the model dreams up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, constant, message
from svijax.density import Draws, NoiseLayout, Program, log_density, mutable_state
from svijax.distributions import Delta
from svijax.effects import Sample, Site

from ._estimators import refuse_all
from ._evaluation import Evaluation
from ._particles import ParticleObjective, Run, check_count, first_particle, mean_over_particles
from ._sleep import Sleep, check_observations
from ._surrogate import along
from ._weights import independent_slices, log_mean_exp, normalised

_NO_SECOND = "ReweightedWakeSleep has no second derivative: its gradient is not that of its value."


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_p", "log_q", "log_p_slices", "log_q_slices", "mutable", "scale"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Woken:
    """One particle, its draws constants: log p and log q by site and by slice. ``scale``: of the slices."""

    log_p: dict[str, Any]
    log_q: dict[str, Any]
    log_p_slices: Any
    log_q_slices: Any
    mutable: dict[str, Any]
    scale: Any


@dataclass(frozen=True, init=False)
class ReweightedWakeSleep(ParticleObjective):
    """Value −E log (1/K) Σ_k w_k, w = p(x, z) / q(z), with one gradient for the model and another for the guide.

    Model: that of the value, −Σ v_k ∂ log p(x, z_k), v the normalised weights. Guide: insomnia · (−Σ v_k ∂ log q(z_k))
    + (1 − insomnia) · (−(1/S) Σ_s ∂ log q(z_s | x_s)), (x_s, z_s) drawn from the model: wake and sleep (Bornschein &
    Bengio 2015; Le et al. 2019). A parameter that both programs read gets the sum of both. Draws may be of every kind:
    nothing is differentiated through them.

    The sleep phase shows the guide the simulated data in the place of the data: model and guide take the data as the
    keyword ``observations``, a dictionary by the names of the observed sites, and the guide is called with simulated
    values there. Rows of a plate that are not in play keep their data. A guide whose sites are not all latents of the
    model (an autoguide's shared vector), or are points, has no log q at the model's draws, and cannot sleep.

    Particles are weighed, and plates may subsample, as in ``RenyiELBO``. The state that programs leave is that of the
    wake phase.

    :param num_particles: K. :param insomnia: from 0, all sleep, to 1, all wake.
    :param model_has_params: False holds the parameters of the model fixed.
    :param num_sleep_particles: S, simulations of the model per step; K if not given.

    The other parameters are those of ``ParticleObjective``.
    """

    insomnia: float = 1.0
    model_has_params: bool = True
    num_sleep_particles: int | None = None

    def __init__(
        self,
        num_particles: int = 2,
        insomnia: float = 1.0,
        model_has_params: bool = True,
        num_sleep_particles: int | None = None,
        vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True,
        **options: Any,
    ) -> None:
        own = {
            "insomnia": _checked(insomnia),
            "model_has_params": bool(model_has_params),
            "num_sleep_particles": num_sleep_particles,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)
        if num_sleep_particles is not None:
            check_count("num_sleep_particles", num_sleep_particles)
        super().__init__(num_particles, vectorize_particles, **options)
        if self.fixed_draws is not None:
            raise ArgumentError(
                message(
                    "ReweightedWakeSleep differentiates through no draw: fixed ones would never move.",
                    got=f"fixed_draws={self.fixed_draws}",
                    fix="use num_particles=.",
                )
            )

    def pathwise(self, site: Sample) -> bool:
        return False

    def one(self, run: Run) -> Woken:
        model_trace, guide_trace = run.traces()
        refuse_all("ReweightedWakeSleep", guide_trace)
        _check_points(guide_trace)
        if self.insomnia < 1:
            _check_dreams(guide_trace)
            check_observations(model_trace, run.kwargs)
        slices = independent_slices("ReweightedWakeSleep", model_trace, guide_trace)
        return Woken(
            log_density(model_trace),
            log_density(guide_trace),
            slices.log_density(model_trace),
            slices.log_density(guide_trace),
            mutable_state(guide_trace, model_trace),
            slices.scale,
        )

    def combine(self, particles: Woken, mutable: Mapping[str, Any]) -> Evaluation:
        log_p, log_q = particles.log_p_slices, particles.log_q_slices
        log_w = log_p - constant(log_q, _NO_SECOND)
        bound = jnp.sum(log_mean_exp(log_w))
        bound = bound if self.model_has_params else constant(bound, _NO_SECOND)
        wake = jnp.sum(along(normalised(log_w), log_q, _NO_SECOND))
        loss = -first_particle(particles.scale) * (bound + self.insomnia * wake)
        p, q = mean_over_particles((particles.log_p, particles.log_q))
        return Evaluation(loss, p, q, first_particle(particles.mutable))

    def from_draws(
        self,
        draws: Draws,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        mutable: Mapping[str, Any],
        layout: NoiseLayout | None = None,
        step: Any = 0,
    ) -> Evaluation:
        wake = super().from_draws(draws, model, guide, args, kwargs, mutable, layout, step)
        if self.insomnia == 1:
            return wake
        count = self.num_sleep_particles or self.num_particles
        sleep = Sleep(count, self.vectorize_particles, particle_batch=self.particle_batch, remat=self.remat)
        dreams = sleep.from_draws(
            Draws(jnp.zeros((count, 0)), jnp.zeros((count, 0)), draws.key),
            model,
            guide,
            args,
            kwargs,
            mutable,
            NoiseLayout((), (), ()),
            step,
        )
        loss = wake.loss + along(1 - self.insomnia, dreams.loss, _NO_SECOND)
        return Evaluation(loss, wake.log_p, wake.log_q, wake.mutable)


def _check_points(guide_trace: Mapping[str, Site]) -> None:
    # A map with parameters would need log q at a latent that is held fixed, not at what it is made of.
    points = [
        s
        for s in guide_trace.values()
        if isinstance(s, Sample) and isinstance(s.fn, Delta) and s.made_of is None
    ]
    if points:
        raise ModelError(
            message(
                f"guide site {points[0].name!r} is a point, which ReweightedWakeSleep cannot fit.",
                plates=points[0].plates,
                expected="a distribution: the gradient is that of log q at draws that are held fixed",
                got=type(points[0].fn).__name__,
                fix="make it a param of the model, state it with dist.TransformedDistribution, or use Trace_ELBO.",
            )
        )


def _check_dreams(guide_trace: Mapping[str, Site]) -> None:
    for site in guide_trace.values():
        if isinstance(site, Sample) and (site.auxiliary or isinstance(site.fn, Delta)):
            raise ModelError(
                message(
                    f"guide site {site.name!r}: ReweightedWakeSleep cannot sleep with this guide.",
                    plates=site.plates,
                    expected="log q at the model's own draws: a guide that draws each of the model's latents from a "
                    "distribution, and nothing else",
                    got="a site that only the guide has" if site.auxiliary else type(site.fn).__name__,
                    fix="use insomnia=1.0, or write the guide without it.",
                )
            )


def _checked(insomnia: Any) -> float:
    number = isinstance(insomnia, int | float | np.number) and not isinstance(insomnia, bool)
    if not number or not math.isfinite(insomnia) or not 0 <= insomnia <= 1:
        raise ArgumentError(
            message(
                "ReweightedWakeSleep: insomnia must be a number from 0 to 1.",
                got=repr(insomnia),
                fix="write insomnia=1.0 for the wake phase alone.",
            )
        )
    return float(insomnia)
