"""Draw latents from given standard noise instead of keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from svijax.effects import Handler, Sample, Site


class noise(Handler):
    """Each latent named in ``data`` becomes ``fn.from_noise(data[name])``; the others are left alone.

    ``z = T(e; parameters)`` with e given: a program run under it is a deterministic function.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        self.data = dict(data or {})

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.value is None and site.name in self.data:
            noise = self.data[site.name]
            if site.ahead:
                return site.having(noise=noise)
            if site.enumeration is not None:
                # The same noise at each of the values that are enumerated.
                noise = jnp.broadcast_to(noise, site.fn.noise_spec.shape)
            value, log_prob = site.fn.from_noise_with_log_prob(noise)
            return site.having(value=value, log_prob=log_prob)
        return site
