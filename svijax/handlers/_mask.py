"""Leave entries out of the log density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.effects import Factor, Handler, MaskQuery, Sample, Site, where
from svijax.effects import both as both


class mask(Handler):
    """Log densities count only where ``mask`` is True: a bool, or a boolean array over the batch shape.

    Nested masks multiply. A masked latent is still drawn.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, mask: Any = True) -> None:
        super().__init__(fn)
        if not jnp.issubdtype(jnp.result_type(mask), jnp.bool_):
            raise ArgumentError(
                message(
                    f"{where()}: mask must be boolean.",
                    got=jnp.result_type(mask),
                    fix="pass mask.astype(bool).",
                )
            )
        self.mask = mask

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample | Factor):
            return site.having(mask=both(site.mask, self.mask))
        if isinstance(site, MaskQuery):
            return site.having(value=both(site.value, self.mask))
        return site
