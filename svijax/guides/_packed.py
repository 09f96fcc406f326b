"""Latents that share one vector: each a slice of it, mapped into its support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.distributions import Delta
from svijax.effects import Sample, perform
from svijax.transforms import biject_to

from ._latents import Latent, of_guide


@dataclass(frozen=True)
class Packed:
    """Where each latent lies in the shared unconstrained vector."""

    offsets: Mapping[str, int]
    latents: Mapping[str, Latent]
    size: int

    @staticmethod
    def of(latents: tuple[Latent, ...]) -> Packed:
        offsets, start = {}, 0
        for latent in latents:
            offsets[latent.name] = start
            start += latent.size
        return Packed(offsets, {latent.name: latent for latent in latents}, start)

    def __contains__(self, name: str) -> bool:
        return name in self.offsets

    def join(self, values: Mapping[str, Any]) -> Any:
        """The shared vector of unconstrained values by name."""
        return jnp.concatenate([jnp.ravel(values[name]) for name in self.offsets])

    def slice(self, vector: Any, name: str) -> Any:
        latent, start = self.latents[name], self.offsets[name]
        return jax.lax.slice_in_dim(vector, start, start + latent.size).reshape(latent.shape)

    def draw(self, name: str, fn: Any) -> Any:
        """State the auxiliary site that draws the vector, and with it carries log q of all the latents."""
        return perform(Sample(name=name, fn=fn, infer={"is_auxiliary": True})).value

    def site(self, site: Sample, vector: Any) -> Sample:
        """The guide's record of one latent: a point, given the vector, with log q = −log |det J|."""
        x = self.slice(vector, site.name)
        value, log_det = biject_to(site.fn.support).call_with_log_det(x)
        event_dim = len(site.fn.event_shape)
        density = -log_det
        fn = Delta(value, log_density=density, event_dim=event_dim)
        return of_guide(site, fn, value=value, log_prob=density)
