"""The likelihood, with the maximum mean discrepancy of guide and prior in the place of their divergence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, check_names, message, site_key
from svijax.density import has_pathwise_gradient, log_density, mutable_state, scored_sites
from svijax.effects import Sample, Site

from ._evaluation import Evaluation
from ._kernels import Kernel, as_kernel
from ._particles import ParticleObjective, Run, first_particle, mean_over_particles
from ._terms import add_up

PerSite = Any
"""One value for all latents, or a dictionary by name; kept as pairs, since a dictionary has no hash."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["guide", "prior", "weights", "likelihood", "log_p", "log_q", "mutable"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Sampled:
    """One particle's points by latent, (rows, size), from guide and prior; their weights; the log densities."""

    guide: dict[str, Any]
    prior: dict[str, Any]
    weights: dict[str, Any]
    likelihood: Any
    log_p: dict[str, Any]
    log_q: dict[str, Any]
    mutable: dict[str, Any]


@dataclass(frozen=True, init=False)
class Trace_MMD(ParticleObjective):
    """−E_q log p(x | z) + Σ_z λ_z MMD²(q(z), p(z)), MMD² = E k(z, z') + E k(y, y') − 2 E k(z, y), z ~ q, y ~ p.

    The objective of InfoVAE (Zhao et al. 2019), MMD² by the V-statistic (Gretton et al. 2012, eq. 5): means over all
    pairs of draws, a draw with itself too, so at least 0 and too large by O(1 / draws). Each latent is compared by its
    marginal; the model runs once more for draws of the prior. Scale and mask weigh the likelihood; of a latent, masked
    entries are left out. Guide and model must be reparameterised at every latent.

    :param kernel: one for all latents or a dictionary by name; a median bandwidth is of both sets of draws together.
    :param mmd_scale: λ, one for all latents or a dictionary by name.
    :param num_particles: draws.
    :param batch_plates: names of plates whose elements are further draws of one distribution: the prior is then
        compared with the guide's mean over the elements in play. Elements of other plates are parts of one vector,
        for which many particles are needed.

    The other parameters are those of ``ParticleObjective``.
    """

    is_bound: ClassVar[bool] = False

    kernel: PerSite = None
    mmd_scale: PerSite = 1.0
    batch_plates: tuple[str, ...] = ()

    def __init__(
        self,
        kernel: Kernel | Mapping[str, Kernel],
        mmd_scale: float | Mapping[str, float] = 1.0,
        num_particles: int = 10,
        vectorize_particles: Any = True,
        *,
        batch_plates: Iterable[str] = (),
        **options: Any,
    ) -> None:
        object.__setattr__(self, "kernel", _each(kernel, _scalar_kernel))
        object.__setattr__(self, "mmd_scale", _each(mmd_scale, _scale))
        names = (batch_plates,) if isinstance(batch_plates, str) else tuple(batch_plates)
        object.__setattr__(self, "batch_plates", names)
        super().__init__(num_particles, vectorize_particles, **options)

    def one(self, run: Run) -> Sampled:
        model_trace, guide_trace = run.traces()
        prior_trace = run.having(key=site_key(run.key, "prior")).model_trace({})
        latents = [s for s in model_trace.values() if isinstance(s, Sample) and s.latent]
        self._check(latents, guide_trace, model_trace)
        guide, prior, weights = {}, {}, {}
        for site in latents:
            guide[site.name], weights[site.name] = self._rows(site, site.value)
            prior[site.name], _ = self._rows(site, prior_trace[site.name].value)
        log_p = log_density(model_trace)
        names = {site.name for site in latents}
        likelihood = add_up([log_p[s.name] for s in scored_sites(model_trace) if s.name not in names])
        state = mutable_state(guide_trace, model_trace)
        return Sampled(guide, prior, weights, likelihood, log_p, log_density(guide_trace), state)

    def combine(self, particles: Sampled, mutable: Mapping[str, Any]) -> Evaluation:
        penalties = []
        for name, guide in particles.guide.items():
            q, p = (points.reshape(-1, points.shape[-1]) for points in (guide, particles.prior[name]))
            weights = particles.weights[name].reshape(-1)
            penalties.append(_of(self.mmd_scale, name) * squared_mmd(_of(self.kernel, name), q, p, weights))
        log_p, log_q, likelihood = mean_over_particles(
            (particles.log_p, particles.log_q, particles.likelihood)
        )
        return Evaluation(add_up(penalties) - likelihood, log_p, log_q, first_particle(particles.mutable))

    def _rows(self, site: Sample, value: Any) -> tuple[Any, Any]:
        """(the value as (elements of the batch plates, all other numbers), 1 for elements that no mask takes out)."""
        value = jnp.asarray(value)
        event = len(site.fn.event_shape)
        kept = jnp.ones(jnp.shape(value), bool)
        if site.mask is not None:
            mask = jnp.asarray(site.mask, bool)
            kept = jnp.broadcast_to(mask.reshape(*mask.shape, *(1,) * event), value.shape)
            value = jnp.where(kept, value, jnp.zeros((), value.dtype))
        axes = [f.dim - event + value.ndim for f in site.plates if f.name in self.batch_plates]
        count = math.prod(value.shape[axis] for axis in axes)

        def rows(x: Any) -> Any:
            return jnp.moveaxis(x, axes, range(len(axes))).reshape(count, -1)

        return rows(value), jnp.any(rows(kept), axis=1).astype(value.dtype)

    def _check(
        self, latents: list[Sample], guide_trace: Mapping[str, Site], model_trace: Mapping[str, Site]
    ) -> None:
        names = [site.name for site in latents]
        for what, chosen in (("kernel", self.kernel), ("mmd_scale", self.mmd_scale)):
            if isinstance(chosen, tuple):
                check_names([name for name, _ in chosen], names, what)
                _check_complete(what, [name for name, _ in chosen], names)
        check_names(self.batch_plates, [f.name for site in latents for f in site.plates], "batch_plates")
        drawn = [s for s in guide_trace.values() if isinstance(s, Sample) and s.latent]
        for role, sites in (("guide", drawn), ("model", latents)):
            for site in sites:
                if not has_pathwise_gradient(site):
                    raise ModelError(
                        message(
                            f"{role} site {site.name!r}: Trace_MMD needs draws with pathwise derivatives.",
                            plates=site.plates,
                            got=type(site.fn).__name__,
                            fix="use a reparameterised distribution, or Trace_ELBO().",
                        )
                    )


def squared_mmd(kernel: Kernel, x: Any, y: Any, weights: Any) -> Any:
    """Σ_ij w_i w_j [k(x_i, x_j) + k(y_i, y_j) − 2 k(x_i, y_j)] / (Σ_i w_i)²."""
    points = jnp.concatenate([x, y])
    grams = kernel.gram(x, x, points) + kernel.gram(y, y, points) - 2 * kernel.gram(x, y, points)
    total = jnp.sum(weights)
    share = weights / jnp.where(total > 0, total, 1.0)
    return jnp.einsum("i,ij,j->", share, grams, share, precision=jax.lax.Precision.HIGHEST)


def _each(chosen: Any, check: Any) -> PerSite:
    if isinstance(chosen, Mapping):
        return tuple((name, check(value)) for name, value in chosen.items())
    return check(chosen)


def _of(chosen: PerSite, name: str) -> Any:
    return dict(chosen)[name] if isinstance(chosen, tuple) else chosen


def _scalar_kernel(kernel: Any) -> Kernel:
    made = as_kernel("Trace_MMD", kernel)
    if not made.is_scalar:
        raise ArgumentError(
            message(
                "Trace_MMD compares whole vectors, and this kernel compares their entries one by one.",
                got=repr(made),
                fix="use mode='norm', and a dictionary of kernels by site name.",
            )
        )
    return made


def _scale(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise ArgumentError(
            message("Trace_MMD: mmd_scale must be a number of at least 0.", got=repr(value), fix="write 1.0.")
        )
    return float(value)


def _check_complete(what: str, given: list[str], names: list[str]) -> None:
    missing = [name for name in names if name not in given]
    if missing:
        raise ArgumentError(
            message(f"Trace_MMD: {what} by name has none for {missing}.", expected=names, got=given)
        )
