"""The energy distance between what the fit predicts and the data: no density of the likelihood is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, message
from svijax.density import PlainNoise, check_pair, has_pathwise_gradient, log_density, mutable_state
from svijax.effects import Sample
from svijax.handlers import Trace, uncondition

from ._evaluation import Evaluation
from ._particles import ParticleObjective, Run, first_particle, mean_over_particles, with_shared_masks
from ._terms import add_up


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["predicted", "squares", "scales", "log_p", "log_q", "mutable"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Prediction:
    """One particle's, by observed site: draws (elements, event), their squared distances to the data, scales."""

    predicted: dict[str, Any]
    squares: dict[str, Any]
    scales: dict[str, Any]
    log_p: dict[str, Any]
    log_q: dict[str, Any]
    mutable: dict[str, Any]


@dataclass(frozen=True, init=False)
class EnergyDistance(ParticleObjective):
    """E‖X − x‖^β − ½ E‖X − X'‖^β − λ E log p(Z), Z ~ q, X ~ p(x | Z) (Gneiting and Raftery 2007, eq. 22).

    Likelihood-free: draws of the likelihood are compared with the data x, so guide and likelihood must be
    reparameterised. X and X' come from the K (K − 1) / 2 pairs of different particles.

    :param beta: β in (0, 2); small for heavy tails: E‖X‖^β must be finite.
    :param prior_scale: λ ≥ 0. With 0 the parameters of the prior get no gradient, but by way of what is predicted.
    :param num_particles: K of at least 2.
    :param joint: all the data are one vector, ‖x‖² = Σ scale · mask · x²: the score is proper for their joint law.
        False scores each element of each site by itself and adds up, Σ scale · mask · (...): proper for the law of
        each, and unbiased where a plate subsamples, which the power of a sum is not.

    The other parameters are those of ``ParticleObjective``; noise that ties particles together is an error.
    """

    beta: float = 1.0
    prior_scale: float = 0.0
    joint: bool = True

    needs_likelihood: ClassVar[bool] = False
    is_bound: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 1.0,
        prior_scale: float = 0.0,
        num_particles: int = 2,
        vectorize_particles: Any = True,
        *,
        joint: bool = True,
        **options: Any,
    ) -> None:
        for name, value in (("beta", beta), ("prior_scale", prior_scale), ("joint", joint)):
            object.__setattr__(self, name, value)
        super().__init__(num_particles, vectorize_particles, **options)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.beta < 2.0:
            raise ArgumentError(
                message("EnergyDistance: beta must be in (0, 2).", got=repr(self.beta), fix="write beta=1.0.")
            )
        if not 0.0 <= self.prior_scale < float("inf"):
            raise ArgumentError(
                message(
                    "EnergyDistance: prior_scale must be a number of at least 0.",
                    got=repr(self.prior_scale),
                    fix="write prior_scale=1.0.",
                )
            )
        if self.num_particles < 2:
            raise ArgumentError(
                message(
                    "EnergyDistance compares particles with each other.",
                    expected="num_particles of 2 or more",
                    got=f"num_particles={self.num_particles}",
                    fix="write EnergyDistance(num_particles=2).",
                )
            )
        if self.fixed_draws is not None or not isinstance(self.noise, PlainNoise):
            raise ArgumentError(
                message(
                    "EnergyDistance needs particles that are independent of each other, and new at each step.",
                    got=f"fixed_draws={self.fixed_draws}"
                    if self.fixed_draws is not None
                    else f"noise={self.noise!r}",
                    fix="leave noise= and fixed_draws= out.",
                )
            )

    def one(self, run: Run) -> Prediction:
        guide_trace, model_trace = self._traces(run)
        observed = [s for s in model_trace.values() if isinstance(s, Sample) and s.observed]
        _check_reparameterised("guide", [s for s in guide_trace.values() if isinstance(s, Sample)])
        _check_reparameterised("model", observed)
        self._check_observed(observed)
        predicted, squares, scales = {}, {}, {}
        for site in observed:
            x, data = _rows(site, site.value), _rows(site, site.infer["obs"])
            predicted[site.name] = x
            squares[site.name] = jnp.sum((x - data) ** 2, axis=-1)
            scale = 1.0 if site.scale is None else site.scale
            scales[site.name] = jnp.broadcast_to(jnp.asarray(scale, x.dtype), _batch(site)).reshape(-1)
        rest = {name: s for name, s in model_trace.items() if not (isinstance(s, Sample) and s.observed)}
        return Prediction(
            predicted,
            squares,
            scales,
            log_density(rest),
            log_density(guide_trace),
            mutable_state(guide_trace, model_trace),
        )

    def combine(self, particles: Prediction, mutable: Mapping[str, Any]) -> Evaluation:
        scales = first_particle(particles.scales)
        first, second = np.tril_indices(self.count, -1)
        between = {n: jnp.sum((x[first] - x[second]) ** 2, axis=-1) for n, x in particles.predicted.items()}
        error, spread = (self._distances(squares, scales) for squares in (particles.squares, between))
        log_p, log_q = mean_over_particles((particles.log_p, particles.log_q))
        loss = jnp.mean(error) - 0.5 * jnp.mean(spread)
        if self.prior_scale > 0:
            loss = loss - self.prior_scale * add_up(log_p.values())
        return Evaluation(loss, log_p, log_q, first_particle(particles.mutable))

    def _distances(self, squares: Mapping[str, Any], scales: Mapping[str, Any]) -> Any:
        """‖·‖^β for each row, from the squares (rows, elements) of each site."""
        if self.joint:
            return _power(add_up([jnp.sum(scales[n] * s, axis=-1) for n, s in squares.items()]), self.beta)
        return add_up([jnp.sum(scales[n] * _power(s, self.beta), axis=-1) for n, s in squares.items()])

    def _traces(self, run: Run) -> tuple[Trace, Trace]:
        """(guide, model), the model's observed sites drawn anew."""
        guide_trace = run.guide_trace()
        drawn = run.having(model=uncondition(run.model)).model_trace(guide_trace)
        model_trace: Trace = Trace()
        for name, site in drawn.items():
            was = isinstance(site, Sample) and site.infer.get("was_observed", False)
            model_trace[name] = site.having(observed=True) if was and isinstance(site, Sample) else site
        guide_trace = with_shared_masks(model_trace, guide_trace)
        check_pair(model_trace, guide_trace)
        return guide_trace, model_trace

    def _check_observed(self, observed: list[Sample]) -> None:
        if not observed:
            raise ModelError(
                message(
                    "EnergyDistance compares predictions with data, and the model observes nothing.",
                    fix="give a site its data with obs=.",
                )
            )
        for site in observed:
            if self.joint and any(frame.subsampled for frame in site.plates):
                raise ModelError(
                    message(
                        f"model site {site.name!r}: the norm of all the data cannot be told from a subsample of them.",
                        plates=site.plates,
                        fix="write EnergyDistance(joint=False), which scores each element by itself, or leave "
                        "subsample_size out.",
                    )
                )


def _check_reparameterised(role: str, sites: list[Sample]) -> None:
    for site in sites:
        if not has_pathwise_gradient(site):
            raise ModelError(
                message(
                    f"{role} site {site.name!r}: EnergyDistance needs draws with pathwise derivatives.",
                    plates=site.plates,
                    got=type(site.fn).__name__,
                    fix="use a reparameterised distribution, or Trace_ELBO().",
                )
            )


def _rows(site: Sample, value: Any) -> Any:
    """The value as (elements, numbers of one event), 0 where a mask takes the element out."""
    batch = _batch(site)
    rows = jnp.reshape(jnp.asarray(value), (math.prod(batch), math.prod(site.fn.event_shape)))
    if site.mask is None:
        return rows
    kept = jnp.broadcast_to(jnp.asarray(site.mask, bool), batch).reshape(-1, 1)
    return jnp.where(kept, rows, jnp.zeros((), rows.dtype))


def _batch(site: Sample) -> tuple[int, ...]:
    return (*site.sample_shape, *site.fn.batch_shape)


def _power(squares: Any, beta: float) -> Any:
    """squares^(β/2), whose derivative at 0 is taken to be 0."""
    apart = squares > 0
    safe = jnp.where(apart, squares, 1.0)
    return jnp.where(apart, jnp.sqrt(safe) if beta == 1 else safe ** (beta / 2), 0.0)
