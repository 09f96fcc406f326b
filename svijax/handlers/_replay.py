"""Run a program with the draws of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from svijax.base import ModelError, ShapeError, message
from svijax.effects import Handler, PlateIndices, Sample, Site, fits_enumerated, where


class replay(Handler):
    """Latents, and the subsamples of plates, take their values from ``trace`` where it has them.

    :raises ModelError: a plate whose size differs from the one in the trace.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, trace: Mapping[str, Site] | None = None) -> None:
        super().__init__(fn)
        self.trace = trace or {}

    def process(self, site: Site) -> Site:
        recorded = self.trace.get(site.name)
        if isinstance(site, Sample) and not site.observed and isinstance(recorded, Sample):
            _check_shapes(site, recorded)
            return site.having(value=recorded.value, log_prob=None)
        if isinstance(site, PlateIndices) and isinstance(recorded, PlateIndices):
            _check_sizes(site, recorded)
            return site.having(value=recorded.value, whole=recorded.whole, padding=recorded.padding)
        return site


def _check_shapes(site: Sample, recorded: Sample) -> None:
    got, want = jnp.shape(recorded.value), site.shape
    own = recorded.enumeration is not None and recorded.enumeration.dim is not None
    if got != want and not fits_enumerated(site, got, own):
        raise ShapeError(
            message(
                f"{where()} site {site.name!r}: its draw, which comes from a guide or another trace, has a "
                "shape that is not the site's.",
                plates=site.plates,
                expected=f"{want} = batch {tuple(site.fn.batch_shape)} + event {tuple(site.fn.event_shape)}",
                got=f"{got}, drawn inside plates [{', '.join(str(p) for p in recorded.plates)}]",
                fix="draw it inside the same plates in the guide, or match the shapes with .expand and .to_event.",
            )
        )


def _check_sizes(site: PlateIndices, recorded: PlateIndices) -> None:
    sizes = (site.size, site.subsample_size)
    before = (recorded.size, recorded.subsample_size)
    if sizes != before:
        raise ModelError(
            message(
                f"{where()}: plate {site.name!r} has one size here and another where its draws come from.",
                expected=f"size {before[0]}, subsample_size {before[1]}",
                got=f"size {sizes[0]}, subsample_size {sizes[1]}",
                fix="give the plate the same sizes in model and guide.",
            )
        )
