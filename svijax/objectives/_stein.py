"""Stein variational inference: particles that follow a smoothed gradient and repel each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.density import (
    PlainNoise,
    bind,
    constrain,
    has_pathwise_gradient,
    log_density,
    mutable_state,
    unconstrain,
)
from svijax.effects import Factor, Param, Sample, Site
from svijax.handlers import Trace, supply

from ._evaluation import Evaluation
from ._kernels import Kernel, RBFKernel, as_kernel
from ._particles import ParticleObjective, Run, first_particle, mean_over_particles
from ._terms import add_up

INDEX = "_particle"
"""The guide's auxiliary site that says which particle is run."""

MIXTURE = "_mixture"
"""The guide's factor that makes the density of one particle's draws that of the mixture."""

Temperature = float | Callable[[Any], Any]

RBF = RBFKernel()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ParticleParam(Param):
    """A parameter of which each particle has its own value, along the first axis."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["loss", "free", "drift", "log_p", "log_q", "mutable", "temperatures"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SteinTerms:
    """Of one draw of all particles: their mean loss, their places, −∇ of the loss of each, its weights."""

    loss: Any
    free: dict[str, Any]
    drift: dict[str, Any]
    log_p: dict[str, Any]
    log_q: dict[str, Any]
    mutable: dict[str, Any]
    temperatures: tuple[Any, Any]


@dataclass(frozen=True, init=False)
class SteinELBO(ParticleObjective):
    """−1/K Σ_i E_{q_i}[log p(x, z) − log 1/K Σ_j q_j(z)]: the ELBO of a mixture of K guides, moved by Stein forces.

    For ``svijax.guides.Particles(guide, K)``. The unconstrained parameters x_i of guide i move along

        φ(x_i) = 1/K Σ_j [a · k(x_j, x_i) ∇_{x_j} E_{q_j}[log p − log q] + b · ∇_{x_j} k(x_j, x_i)],

    a = ``loss_temperature``, b = ``repulsion_temperature`` (Wang and Liu 2019; Rønning et al. 2024, eq. 9), the density
    q of the mixture held fixed inside the gradient. Shared parameters and the model's follow the gradient of the loss.
    What the optimiser gets for x_i is −φ(x_i), no derivative of the loss: of use to optimisers that follow a direction,
    not to those that search along a line.

    :param kernel: k, of the vectors of all a particle's unconstrained parameters.
    :param num_elbo_particles: draws of each guide. :param repulsion_temperature, loss_temperature: weights of the two
        forces: numbers, or functions of the step from 0 on.

    The other parameters are those of ``ParticleObjective``. With plain noise each particle has draws of its own; other
    sources give all particles the same.
    """

    kernel: Kernel = RBF
    repulsion_temperature: Temperature = 1.0
    loss_temperature: Temperature = 1.0

    def __init__(
        self,
        kernel: Kernel = RBF,
        num_elbo_particles: int = 10,
        repulsion_temperature: Temperature = 1.0,
        loss_temperature: Temperature = 1.0,
        *,
        vectorize_particles: Any = True,
        **options: Any,
    ) -> None:
        object.__setattr__(self, "kernel", as_kernel(type(self).__name__, kernel))
        object.__setattr__(self, "repulsion_temperature", repulsion_temperature)
        object.__setattr__(self, "loss_temperature", loss_temperature)
        # A copy of a record is made from its fields, of which the number has the name that all objectives give it.
        count = options.pop("num_particles", num_elbo_particles)
        super().__init__(count, vectorize_particles, **options)

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = type(self).__name__
        if self.fixed_draws is not None:
            raise ArgumentError(
                message(
                    f"{owner} takes no fixed_draws: its force is no derivative of a loss, so that nothing could search "
                    "along it.",
                    fix="leave fixed_draws out.",
                )
            )
        for name in ("repulsion_temperature", "loss_temperature"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not callable(value) and not (number and 0.0 <= value < math.inf):
                raise ArgumentError(
                    message(
                        f"{owner}: {name} must be a number of at least 0, or a function of the step.",
                        got=repr(value),
                        fix=f"write {name}=1.0.",
                    )
                )

    def one(self, run: Run) -> SteinTerms:
        sites = self._sites(run)
        free = {name: _free(run, site) for name, site in sites.items()}
        count = jax.tree.leaves(free)[0].shape[0]

        def losses(places: dict[str, Any]) -> tuple[Any, Any]:
            values = {name: constrain(x, sites[name].constraint) for name, x in places.items()}
            here = run.having(guide=supply(run.guide, values))
            found = jax.vmap(lambda i: self._component(here, i, frozenset(sites)))(jnp.arange(count))
            total = jnp.sum(found[0]) - self._volume(places, sites)
            return total, (total / count, *found[1:])

        gradient, (loss, log_p, log_q, mutable) = jax.grad(losses, has_aux=True)(jax.lax.stop_gradient(free))
        drift = jax.tree.map(lambda g: jax.lax.stop_gradient(-g), gradient)
        log_p, log_q = mean_over_particles((log_p, log_q))
        weights = (_at(self.loss_temperature, run.step), _at(self.repulsion_temperature, run.step))
        return SteinTerms(loss, free, drift, log_p, log_q, first_particle(mutable), weights)

    def combine(self, particles: SteinTerms, mutable: Mapping[str, Any]) -> Evaluation:
        free = first_particle(particles.free)
        loss, drift, log_p, log_q = mean_over_particles(
            (particles.loss, particles.drift, particles.log_p, particles.log_q)
        )
        points = _matrix(free)
        fixed = jax.lax.stop_gradient(points)
        pull, push = self.kernel.steer(fixed, _matrix(drift), _parts(free))
        attraction, repulsion = first_particle(particles.temperatures)
        force = jax.lax.stop_gradient(attraction * pull + repulsion * push)
        # Of value 0; its derivative is what the optimiser is to follow.
        steering = -jnp.sum(force * (points - fixed))
        return Evaluation(loss + steering, log_p, log_q, first_particle(particles.mutable))

    def _sites(self, run: Run) -> dict[str, ParticleParam]:
        """The parameters that each particle has for itself."""
        trace = run.guide_trace({INDEX: jnp.zeros((), int)})
        sites = {site.name: site for site in trace.values() if isinstance(site, ParticleParam)}
        if not sites:
            raise ModelError(
                message(
                    f"{type(self).__name__} moves particles, and the guide has none.",
                    expected="a guide with parameters that every particle has for itself",
                    got=f"params {[s.name for s in trace.values() if isinstance(s, Param)]}, shared by all",
                    fix="write svijax.guides.Particles(guide, 10).",
                )
            )
        return sites

    def _component(self, run: Run, index: Any, names: frozenset[str]) -> tuple[Any, ...]:
        """(loss, log p by site, log q by site, mutable state) of one draw of one particle."""
        noise = {} if isinstance(self.noise, PlainNoise) else run.noise
        run = run.having(key=jax.random.fold_in(run.key, index), noise=noise)
        model_trace, guide_trace = run.traces({INDEX: index})
        self._check(model_trace, guide_trace, names)
        log_p, log_q = log_density(model_trace), log_density(_densities(run, guide_trace))
        loss = add_up(log_q.values()) - add_up(log_p.values())
        return loss, log_p, log_q, mutable_state(guide_trace, model_trace)

    def _volume(self, places: Mapping[str, Any], sites: Mapping[str, ParticleParam]) -> Any:
        """What the map into the constraints adds to the log density of all particles."""
        return 0.0

    def _check(self, model_trace: Trace, guide_trace: Trace, names: frozenset[str]) -> None:
        for site in guide_trace.values():
            if isinstance(site, Sample) and site.name != INDEX and not has_pathwise_gradient(site):
                raise ModelError(
                    message(
                        f"guide site {site.name!r}: {type(self).__name__} needs draws with pathwise derivatives.",
                        plates=site.plates,
                        got=type(site.fn).__name__,
                        fix="use a reparameterised distribution, or Trace_ELBO() with this guide.",
                    )
                )
        for site in model_trace.values():
            if isinstance(site, Param) and site.name in names:
                raise ModelError(
                    message(
                        f"model param {site.name!r} is one of the guide's, of which every particle has its own.",
                        fix=f"share it among the particles: Particles(guide, ..., shared=[{site.name!r}]).",
                    )
                )


def _free(run: Run, site: ParticleParam) -> Any:
    """The unconstrained values of a parameter: those that the program was bound to, if it was."""
    if isinstance(run.guide, bind):
        return run.guide.free[site.name]
    return unconstrain(site.value, site.constraint)


def _densities(run: Run, guide_trace: Trace) -> Trace:
    """The guide's sites with log q at parameters held fixed; what a factor of the user's adds stays as it is."""
    fixed = run.detached(guide_trace)
    out: Trace = Trace()
    for name, site in guide_trace.items():
        twin: Site = fixed[name]
        if isinstance(site, Sample) and isinstance(twin, Sample):
            site = site.having(fn=twin.fn, log_prob=twin.log_prob)
        elif isinstance(site, Factor) and name == MIXTURE:
            site = site.having(value=twin.value)
        out[name] = site
    return out


def _at(temperature: Temperature, step: Any) -> Any:
    value = temperature(step) if callable(temperature) else temperature
    return jnp.asarray(value, jnp.result_type(float))


def _matrix(tree: Mapping[str, Any]) -> Any:
    """(particles, numbers of one particle)."""
    leaves = [leaf for name in tree for leaf in jax.tree.leaves(tree[name])]
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _parts(tree: Mapping[str, Any]) -> dict[str, slice]:
    """Which columns of the matrix belong to which name."""
    parts, start = {}, 0
    for name, value in tree.items():
        size = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(value))
        parts[name] = slice(start, start + size)
        start += size
    return parts
