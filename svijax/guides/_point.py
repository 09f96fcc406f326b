"""Point masses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svijax.density import constrain
from svijax.distributions import Delta
from svijax.effects import Param, Sample, perform

from ._auto import AutoGuide
from ._initial import init_to_median
from ._latents import Latent, gather, of_guide, run_model_with, tile


@dataclass(frozen=True)
class AutoDelta(AutoGuide):
    """q(z) = δ(z − ẑ): the posterior mode in the constrained space, without Jacobian (MAP).

    Parameters ``{site}_{prefix}_loc``, constrained to the site's support. A latent in a subsampled plate has a
    table over the whole plate.
    """

    init_loc_fn: Any = init_to_median

    def draw(
        self, latents: tuple[Latent, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        start = self.start(latents, args, kwargs)
        by_name = {latent.name: latent for latent in latents}

        def point(site: Sample) -> Sample:
            latent = by_name[site.name]
            support = site.fn.support

            def init(key: Any) -> Any:
                return constrain(tile(start()[site.name], latent.full), support)

            name = f"{site.name}_{self.prefix}_loc"
            table = perform(Param(name=name, init=init, constraint=support)).value
            event_dim = len(site.fn.event_shape)
            value = gather(table, site.plates, event_dim)
            return of_guide(site, Delta(value, event_dim=event_dim), value=value)

        return run_model_with(self.model, args, kwargs, point)
