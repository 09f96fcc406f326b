"""Latents that share one vector: each a slice of it, mapped into its support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.distributions import Delta, Independent, Normal, TransformedDistribution
from svijax.effects import Sample, Slice, perform
from svijax.transforms import biject_to

from ._latents import Latent, of_guide


@dataclass(frozen=True)
class Parts:
    """A draw of the shared vector, from ``fn``, and each latent's part of it, unconstrained."""

    vector: str
    fn: Any
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Packed:
    """The latents that share a vector, in their order in it."""

    latents: Mapping[str, Latent]

    @staticmethod
    def of(latents: tuple[Latent, ...]) -> Packed:
        return Packed({latent.name: latent for latent in latents})

    @property
    def size(self) -> int:
        return sum(latent.size for latent in self.latents.values())

    def __contains__(self, name: str) -> bool:
        return name in self.latents

    def join(self, values: Mapping[str, Any]) -> Any:
        """The shared vector of unconstrained values by name."""
        return jnp.concatenate([jnp.ravel(values[name]) for name in self.latents])

    def split(self, vector: Any) -> dict[str, Any]:
        """Each latent's part of the vector, unconstrained.

        Slices: their derivatives are paddings, which the compiler adds up in one loop.
        """
        parts, start = {}, 0
        for name, latent in self.latents.items():
            piece = jax.lax.slice_in_dim(vector, start, start + latent.size)
            # The sum of one entry leaves a batch axis of vmap where it is, last; a reshape would move it in front.
            parts[name] = piece.reshape(latent.shape) if latent.shape else jnp.sum(piece)
            start += latent.size
        return parts

    def draw(self, name: str, fn: Any) -> Parts:
        """State the auxiliary site that draws the vector, and with it carries log q of all the latents."""
        value = perform(Sample(name=name, fn=fn, infer={"is_auxiliary": True})).value
        return Parts(name, fn, self.split(value))

    def site(self, site: Sample, parts: Parts) -> Sample:
        """The guide's record of one latent: a point, given the vector, with log q = −log |det J|."""
        value, log_det = biject_to(site.fn.support).call_with_log_det(parts.values[site.name])
        event_dim = len(site.fn.event_shape)
        density = -log_det
        fn = Delta(value, log_density=density, event_dim=event_dim)
        return of_guide(
            site, fn, value=value, log_prob=density, law=self._law(site, parts), made_of=parts.vector
        )

    def _law(self, site: Sample, parts: Parts) -> Slice | None:
        """Where the latent lies in a vector of independent normals; None for another vector."""
        normal = getattr(parts.fn, "base_dist", None)
        if type(parts.fn) is not Independent or type(normal) is not Normal:
            return None
        names = list(self.latents)
        start = sum(self.latents[name].size for name in names[: names.index(site.name)])
        latent = self.latents[site.name]

        def distribution() -> Any:
            loc, scale = (
                jax.lax.slice_in_dim(x, start, start + latent.size).reshape(latent.shape)
                for x in (normal.loc, normal.scale)
            )
            base = Normal(loc, scale).to_event(latent.event_dim)
            return TransformedDistribution(base, biject_to(site.fn.support))

        return Slice(parts.vector, start, latent.size, distribution)
