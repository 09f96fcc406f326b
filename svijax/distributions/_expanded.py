"""Larger batch shapes for objects whose parameters cannot be broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, ShapeError, broadcast, message

from ._distribution import Distribution
from ._wrapper import SameLaw
from ._wrapper import expand_any as expand_any


class ExpandedDistribution(SameLaw):
    """Independent copies over ``batch_shape`` of ``base_dist``, any object with the distribution protocol."""

    _static = ("_batch_shape", "_detached")
    _batch_shape: tuple[int, ...]

    def __init__(self, base_dist: Any, batch_shape: Sequence[int] = ()) -> None:
        self._assign(base_dist=base_dist, _batch_shape=tuple(base_dist.batch_shape))
        self._assign(_batch_shape=self._expandable(batch_shape))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._batch_shape

    def _grows_left(self) -> bool:
        return False

    def _noise_spec(self) -> NoiseSpec | None:
        return None

    def from_noise(self, noise: Any) -> Any:
        self._lacks("a noise form", "draw it with sample(key)")

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
        return self._in_batch(self.base_dist.log_prob(value))

    def _in_batch(self, value: Any, event_shape: tuple[int, ...] = ()) -> Any:
        return broadcast(value, np.broadcast_shapes(np.shape(value), (*self._batch_shape, *event_shape)))

    def enumerate_support(self, expand: bool = True) -> Any:
        values = self.base_dist.enumerate_support(expand=False)
        lead = len(self._batch_shape) - len(self.base_dist.batch_shape)
        values = values.reshape((len(values), *(1,) * lead, *values.shape[1:]))
        return broadcast(values, (len(values), *self.shape())) if expand else values

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(_batch_shape=self._expandable(batch_shape))


Distribution._wrappers["expanded"] = ExpandedDistribution
