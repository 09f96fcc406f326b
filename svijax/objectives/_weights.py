"""Importance weights of particles, w = p(x, z) / q(z): one for each element of the plates around every site.

Such plates make problems that have nothing to do with each other, and particles are weighed against each other in each
by itself. The factor size / subsample_size of a plate is no part of the weights: it multiplies the sum of the problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, is_concrete, message
from svijax.density import log_prob, scored_sites
from svijax.effects import Factor, Frame, Sample, Site
from svijax.handlers import Trace

from ._terms import Plates, add_up, reduced


@dataclass(frozen=True)
class Slices:
    """The plates around every site; ``scale``: the product of their size / number of elements in play."""

    plates: Plates
    scale: Any

    def log_density(self, trace: Mapping[str, Site]) -> Any:
        """log p of the sites of a trace, masked, and scaled but for the slices' own scale; by slice."""
        return add_up([reduced(self.cost(site), self.plates) for site in scored_sites(trace)])

    def cost(self, site: Sample | Factor) -> Any:
        """Per batch element."""
        weight = self.weight(site)
        return log_prob(site) if weight is None else weight * log_prob(site)

    def weight(self, site: Sample | Factor) -> Any:
        """The site's scale without that of the slices; None for 1."""
        if site.scale is None or (is_concrete(self.scale) and self.scale == 1.0):
            return site.scale
        if site.scale is self.scale:
            return None
        return site.scale / self.scale


def independent_slices(
    objective: str, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]
) -> Slices:
    """The slices of a pair of programs.

    :raises ModelError: a plate that subsamples and does not enclose every site.
    """
    sites = [("model", site) for site in scored_sites(model_trace)]
    sites += [("guide", site) for site in scored_sites(guide_trace)]
    frames = {(f.name, f.dim): f for _, site in sites for f in site.plates}
    scale: Any = 1.0
    plates = []
    for place, frame in frames.items():
        outside = [pair for pair in sites if place not in {(f.name, f.dim) for f in pair[1].plates}]
        if not outside:
            plates.append(place)
            scale = frame.ratio if is_concrete(scale) and scale == 1.0 else scale * frame.ratio
        elif not frame.is_whole:
            raise ModelError(_not_enclosed(objective, frame, *outside[0]))
    return Slices(tuple(plates), scale)


def weighed_apart(
    objective: str, model_trace: Trace, guide_trace: Trace
) -> tuple[Slices, Callable[[Trace], Trace]]:
    """(slices, what to do to the guide's sites to tell log q by slice).

    Latents that a guide takes from a vector of independent entries are weighed by their own densities where that makes
    slices, and the vector is not.
    """
    apart = by_latent(guide_trace)
    if apart is not guide_trace:
        slices = independent_slices(objective, model_trace, apart)
        if slices.plates:
            return slices, by_latent
    return independent_slices(objective, model_trace, guide_trace), lambda trace: trace


def by_latent(guide_trace: Trace) -> Trace:
    """The sites with the density of each latent in the place of that of the vector that it is a slice of."""
    out = Trace(guide_trace)
    for name, site in guide_trace.items():
        latents = slices_of(name, guide_trace)
        if not latents or not isinstance(site, Sample) or site.mask is not None:
            continue
        if sum(latent.law.size for latent in latents) == math.prod(site.fn.event_shape):
            del out[name]
            for latent in latents:
                out[latent.name] = latent.having(fn=latent.law.distribution(), log_prob=None)
    return guide_trace if len(out) == len(guide_trace) else out


def slices_of(vector: str, trace: Mapping[str, Site]) -> list[Any]:
    """The latents that a guide takes from this vector, if it says which entries."""
    return [s for s in trace.values() if isinstance(s, Sample) and s.law and s.law.vector == vector]


def normalised(log_weights: Any) -> Any:
    """softmax over the particles."""
    return jax.nn.softmax(log_weights, axis=0)


def log_mean_exp(values: Any) -> Any:
    """Over the particles."""
    return jax.nn.logsumexp(values, axis=0) - jnp.log(values.shape[0])


def _not_enclosed(objective: str, frame: Frame, role: str, site: Sample | Factor) -> str:
    return message(
        f"{objective}: plate {frame.name!r} subsamples, and {role} site {site.name!r} does not stand in it.",
        plates=site.plates,
        expected="every site of model and guide inside a plate that subsamples: a weight of a minibatch is no estimate "
        "of the weight of all the data",
        got=str(frame),
        fix=f"leave subsample_size of {frame.name!r} out, or use Trace_ELBO.",
    )
