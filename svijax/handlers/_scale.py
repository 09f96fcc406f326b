"""Weigh log densities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from svijax.base import ArgumentError, message
from svijax.effects import Factor, Handler, Sample, Site, where


class scale(Handler):
    """Multiplies log densities by a positive ``scale``; nested scales multiply. Score functions are not scaled.

    :param scale: a number, or an array that broadcasts to the batch shape.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, scale: Any = 1.0) -> None:
        super().__init__(fn)
        if not isinstance(scale, jax.core.Tracer) and not np.all(np.asarray(scale) > 0):
            raise ArgumentError(
                message(
                    f"{where()}: scale must be positive.",
                    expected="> 0",
                    got=scale,
                    fix="use svijax.handlers.mask to leave sites out.",
                )
            )
        self.scale = scale

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample | Factor):
            return site.having(scale=self.scale if site.scale is None else site.scale * self.scale)
        return site
