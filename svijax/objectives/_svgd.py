"""Stein variational gradient descent: points in the place of guides, and the schedule that anneals it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.effects import Sample
from svijax.handlers import Trace
from svijax.transforms import biject_to, constraints

from ._kernels import Kernel
from ._stein import INDEX, RBF, ParticleParam, SteinELBO, Temperature
from ._terms import add_up


@dataclass(frozen=True, init=False)
class SVGD(SteinELBO):
    """Stein variational gradient descent: K points that come to lie like draws of the posterior (Liu and Wang 2016).

    For ``svijax.guides.Particles(AutoDelta(model), K)``. The points move in the unconstrained space, where the density
    to be matched is p(x, T(u)) |det T'(u)|; the loss is −1/K Σ_i of its logarithm. One point alone climbs to the mode.

    :param kernel: k, of the vectors of all a point's unconstrained latents.
    :param jacobian: False leaves |det T'(u)| out, as the peers do: one point is then ``AutoDelta``, and many are draws
        of no posterior where a latent is constrained. It takes the parameters to be the latents.

    The other parameters are those of ``SteinELBO``.
    """

    jacobian: bool = True

    def __init__(
        self,
        kernel: Kernel = RBF,
        repulsion_temperature: Temperature = 1.0,
        loss_temperature: Temperature = 1.0,
        *,
        jacobian: bool = True,
        **options: Any,
    ) -> None:
        object.__setattr__(self, "jacobian", jacobian)
        count = options.pop("num_particles", 1)
        super().__init__(kernel, count, repulsion_temperature, loss_temperature, **options)

    def _volume(self, places: Mapping[str, Any], sites: Mapping[str, ParticleParam]) -> Any:
        if not self.jacobian:
            return 0.0
        leaves = [(x, sites[n].constraint) for n, tree in places.items() for x in jax.tree.leaves(tree)]
        return add_up([jnp.sum(biject_to(c).call_with_log_det(x)[1]) for x, c in leaves if not _is_real(c)])

    def _check(self, model_trace: Trace, guide_trace: Trace, names: frozenset[str]) -> None:
        super()._check(model_trace, guide_trace, names)
        latents = [s for s in guide_trace.values() if isinstance(s, Sample) and s.name != INDEX]
        for site in latents:
            spec = getattr(site.fn, "noise_spec", None)
            if spec is None or spec.size:
                raise ModelError(
                    message(
                        f"guide site {site.name!r}: SVGD moves points, and this site is drawn.",
                        plates=site.plates,
                        got=type(site.fn).__name__,
                        fix="write Particles(AutoDelta(model), 50), or use SteinELBO() for mixtures of guides.",
                    )
                )
        bounded = [
            s for s in guide_trace.values() if isinstance(s, ParticleParam) and not _is_real(s.constraint)
        ]
        masked = [s for s in latents if s.mask is not None]
        if self.jacobian and bounded and masked:
            raise ModelError(
                message(
                    f"guide site {masked[0].name!r} is masked, and nothing would hold its constrained points where the "
                    "mask is False.",
                    plates=masked[0].plates,
                    fix="leave the masked entries out of the model, or write SVGD(jacobian=False).",
                )
            )


@dataclass(frozen=True)
class CyclicalAnnealing:
    """((t mod L + 1) / L)^transition_speed, L = num_steps / num_cycles, and 1 in the last cycle.

    As ``loss_temperature=`` it makes SVGD explore and then settle, again and again (D'Angelo and Fortuin 2021, eq. 4).
    """

    num_steps: int
    num_cycles: int = 10
    transition_speed: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.num_cycles <= self.num_steps or not self.transition_speed > 0:
            raise ArgumentError(
                message(
                    "CyclicalAnnealing needs at least one step in each cycle, and a positive transition_speed.",
                    got=repr(self),
                )
            )

    def __call__(self, step: Any) -> Any:
        length = self.num_steps // self.num_cycles
        part = jnp.asarray(step % length + 1, jnp.result_type(float)) / length
        return jnp.where(step >= (self.num_cycles - 1) * length, 1.0, part**self.transition_speed)


def _is_real(constraint: Any) -> bool:
    return constraint is None or constraint is constraints.real
