"""Batch axes made part of the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from svijax.base import NoiseSpec, ShapeError, message, sum_rightmost
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._expanded import expand_any


class Independent(Distribution):
    """p(x) = prod_i p_i(x_i) over the last ``reinterpreted_batch_ndims`` batch axes of ``base_dist``."""

    _fields = ("base_dist",)
    _static = ("reinterpreted_batch_ndims", "_detached")
    base_dist: Any
    reinterpreted_batch_ndims: int

    def __init__(self, base_dist: Any, reinterpreted_batch_ndims: int) -> None:
        n, batch = int(reinterpreted_batch_ndims), tuple(base_dist.batch_shape)
        if not 0 <= n <= len(batch):
            raise ShapeError(
                message(
                    f"{type(base_dist).__name__}.to_event({n}): there are {len(batch)} batch axes.",
                    got=f"batch_shape {batch}, event_shape {tuple(base_dist.event_shape)}",
                )
            )
        self._assign(base_dist=base_dist, reinterpreted_batch_ndims=n)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        batch = tuple(self.base_dist.batch_shape)
        return batch[: len(batch) - self.reinterpreted_batch_ndims]

    @property
    def event_shape(self) -> tuple[int, ...]:
        batch = tuple(self.base_dist.batch_shape)
        cut = len(batch) - self.reinterpreted_batch_ndims
        return (*batch[cut:], *self.base_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec | None:
        spec: NoiseSpec | None = getattr(self.base_dist, "noise_spec", None)
        return spec

    def from_noise(self, noise: Any) -> Any:
        return self.base_dist.from_noise(noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        value, log_prob = self.base_dist.from_noise_with_log_prob(noise)
        return value, sum_rightmost(log_prob, self.reinterpreted_batch_ndims)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.base_dist.sample(key, sample_shape)

    def log_prob(self, value: Any) -> Any:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    @property
    def variance(self) -> Any:
        return self.base_dist.variance

    def entropy(self) -> Any:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        own = tuple(self.base_dist.batch_shape)[len(self.batch_shape) :]
        return self._replace(base_dist=expand_any(self.base_dist, (*self._expandable(batch_shape), *own)))

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


Distribution._wrappers["independent"] = Independent
