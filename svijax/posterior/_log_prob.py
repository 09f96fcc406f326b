"""log q of given latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, check_names, message
from svijax.density import Program, log_density
from svijax.distributions import Delta
from svijax.effects import Sample, label
from svijax.guides import AutoGuide
from svijax.handlers import Trace, seed, trace
from svijax.transforms import biject_to

from ._programs import after_fit, given, guide_sites


@dataclass(frozen=True)
class LogProb:
    """log q(z) for each draw z."""

    model: Program = field(compare=False)
    guide: Program = field(compare=False)

    def __call__(
        self,
        key: jax.Array,
        params: dict[str, Any],
        draws: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        free = guide_sites(self.guide, params, key, args, kwargs)
        latents = [s.name for s in free.values() if isinstance(s, Sample) and not s.auxiliary]
        check_names(draws, latents, "draws")
        missing = [name for name in latents if name not in draws]
        if missing:
            raise ArgumentError(
                message("log_prob needs all the latents.", expected=latents, got=f"no {missing}")
            )
        auxiliary = [s.name for s in free.values() if isinstance(s, Sample) and s.auxiliary]
        if auxiliary and not isinstance(self.guide, AutoGuide):
            raise ArgumentError(
                message(
                    "the guide has no density over the latents alone: it has auxiliary variables.",
                    got=auxiliary,
                    fix="use log_weights, which need the joint density only.",
                )
            )

        def one(values: dict[str, Any]) -> Any:
            pinned = self._pinned(free, values, params, key, args, kwargs)
            sites = guide_sites(self.guide, params, key, args, kwargs, pinned)
            return sum(log_density(sites).values(), jnp.zeros(()))

        return jax.vmap(one)(draws)

    def _pinned(
        self,
        free: Trace,
        values: Mapping[str, Any],
        params: dict[str, Any],
        key: jax.Array,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        """The values; in place of those that an autoguide makes from one vector, the vector."""
        names = [s.name for s in free.values() if isinstance(s, Sample) and s.auxiliary]
        if not names:
            return dict(values)
        with (
            after_fit(params),
            trace() as sites,
            seed(rng_seed=key),
            given(values, "draws"),
            label(role="model"),
        ):
            self.model(*args, **kwargs)
        pinned = dict(values)
        parts = []
        for name, site in free.items():
            model_site = sites.get(name)
            shared = isinstance(site, Sample) and not site.auxiliary and isinstance(site.fn, Delta)
            if shared and isinstance(model_site, Sample):
                parts.append(jnp.ravel(biject_to(model_site.fn.support).inv(pinned.pop(name))))
        return {**pinned, names[0]: jnp.concatenate(parts)}
