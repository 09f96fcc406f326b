"""Mean-field normals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from svijax.distributions import Normal, TransformedDistribution
from svijax.effects import Param, Sample, param_group, perform
from svijax.transforms import biject_to, constraints

from ._auto import AutoGuide
from ._latents import Latent, gather, of_guide, run_model_with, tile
from ._packed import Packed


@dataclass(frozen=True)
class AutoNormal(AutoGuide):
    """q(z) = Π_i T_i(N(loc_i, scale_i²)), T_i the bijection from the reals to the support of site i.

    Parameters ``{site}_{prefix}_loc`` and ``{site}_{prefix}_scale``, of the unconstrained site's shape. Global
    latents share one draw, the auxiliary site ``_{prefix}_latent``, which carries their log q; a latent in a
    subsampled plate has tables over the whole plate.
    """

    init_scale: Any = 0.1
    scale_constraint: Any = constraints.softplus_positive

    def draw(
        self, latents: tuple[Latent, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        start = self.start(latents, args, kwargs)
        together = tuple(latent for latent in latents if not (latent.local or latent.masked))
        packed = Packed.of(together)
        if together:
            shapes = tuple(latent.shape for latent in together)
            loc = param_group(
                self._names(together, "loc"), shapes, lambda key: packed.join(start()), constraints.real
            )
            scale = param_group(
                self._names(together, "scale"),
                shapes,
                lambda key: jnp.full(packed.size, self.init_scale, loc.dtype),
                self.scale_constraint,
            )
            parts = packed.draw(f"_{self.prefix}_latent", Normal(loc, scale).to_event(1))
        by_name = {latent.name: latent for latent in latents}

        def draw(site: Sample) -> Sample:
            if site.name in packed:
                return packed.site(site, parts)
            return of_guide(site, self._alone(site, by_name[site.name], start))

        return run_model_with(self.model, args, kwargs, draw)

    def _names(self, latents: tuple[Latent, ...], what: str) -> tuple[str, ...]:
        return tuple(f"{latent.name}_{self.prefix}_{what}" for latent in latents)

    def _alone(self, site: Sample, latent: Latent, start: Any) -> Any:
        """The distribution of a latent that has rows in play or entries left out."""
        loc_name, scale_name = (f"{site.name}_{self.prefix}_{what}" for what in ("loc", "scale"))

        def init_loc(key: Any) -> Any:
            return tile(start()[site.name], latent.full)

        def init_scale(key: Any) -> Any:
            return jnp.full(latent.full, self.init_scale, jnp.result_type(float))

        loc = perform(Param(name=loc_name, init=init_loc, constraint=constraints.real)).value
        scale = perform(Param(name=scale_name, init=init_scale, constraint=self.scale_constraint)).value
        loc, scale = (gather(table, site.plates, latent.event_dim) for table in (loc, scale))
        base = Normal(loc, scale).to_event(latent.event_dim)
        return TransformedDistribution(base, biject_to(site.fn.support))
