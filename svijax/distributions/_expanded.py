"""Larger batch shapes for objects whose parameters cannot be broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, broadcast, message
from svijax.transforms import Constraint

from ._distribution import Distribution


def expand_any(dist: Any, batch_shape: Sequence[int]) -> Any:
    """``dist`` in another batch shape: by its parameters where it is one of ours, else wrapped."""
    if isinstance(dist, Distribution):
        return dist.expand(batch_shape)
    return ExpandedDistribution(dist, batch_shape)


class ExpandedDistribution(Distribution):
    """Independent copies over ``batch_shape`` of ``base_dist``, any object with the distribution protocol."""

    _fields = ("base_dist",)
    _static = ("_batch_shape", "_detached")
    base_dist: Any
    _batch_shape: tuple[int, ...]

    def __init__(self, base_dist: Any, batch_shape: Sequence[int] = ()) -> None:
        self._assign(base_dist=base_dist, _batch_shape=tuple(base_dist.batch_shape))
        self._assign(_batch_shape=self._expandable(batch_shape))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.base_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self.base_dist.support
        return support

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    @property
    def has_enumerate_support(self) -> bool:
        return bool(getattr(self.base_dist, "has_enumerate_support", False))

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        base = tuple(self.base_dist.batch_shape)
        lead = len(self._batch_shape) - len(base)
        grown = [i for i, size in enumerate(base) if size != self._batch_shape[lead + i]]
        sizes = tuple(self._batch_shape[lead + i] for i in grown)
        value = self.base_dist.sample(key, (*sample_shape, *self._batch_shape[:lead], *sizes))
        # The copies of a grown axis were drawn in front; each takes the place of the axis of size 1.
        front = len(sample_shape) + lead
        for done, i in enumerate(grown):
            place = front + len(grown) - done + i
            value = jnp.moveaxis(jnp.squeeze(value, place), front, place - 1)
        if value.shape != self.shape(sample_shape):
            raise ShapeError(
                message(
                    f"{type(self.base_dist).__name__}.sample gave a wrong shape.",
                    expected=self.shape(sample_shape),
                    got=value.shape,
                )
            )
        return value

    def log_prob(self, value: Any) -> Any:
        log_prob = self.base_dist.log_prob(value)
        return broadcast(log_prob, np.broadcast_shapes(np.shape(log_prob), self._batch_shape))

    @property
    def mean(self) -> Any:
        return broadcast(self.base_dist.mean, self.shape())

    @property
    def variance(self) -> Any:
        return broadcast(self.base_dist.variance, self.shape())

    def entropy(self) -> Any:
        return broadcast(self.base_dist.entropy(), self._batch_shape)

    def enumerate_support(self, expand: bool = True) -> Any:
        values = self.base_dist.enumerate_support(expand=False)
        lead = len(self._batch_shape) - len(self.base_dist.batch_shape)
        values = values.reshape((len(values), *(1,) * lead, *values.shape[1:]))
        return broadcast(values, (len(values), *self.shape())) if expand else values

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(_batch_shape=self._expandable(batch_shape))
