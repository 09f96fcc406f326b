"""The distributions of Distreqx, which know neither batches nor sample shapes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, as_key, message
from svijax.transforms import Constraint

from ._distrax import supported
from ._families import pathwise_by_name
from ._foreign import ForeignDistribution


class DistreqxDistribution(ForeignDistribution):
    """A distribution of Distreqx. The axes over which its log density is not summed are the batch."""

    @property
    def _split(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Batch and event shape."""
        known = self.__dict__.get("_shape_pair")
        if known is None:
            obj = self.object
            value = jax.eval_shape(obj.sample, jax.random.key(0))
            batch = jax.eval_shape(obj.log_prob, value).shape
            if value.shape != tuple(obj.event_shape) or value.shape[: len(batch)] != batch:
                raise ShapeError(
                    message(
                        f"svijax.interop.wrap: the shapes of a Distreqx {type(obj).__name__} do not agree.",
                        expected=f"draws of shape {tuple(obj.event_shape)}",
                        got=f"draws of shape {value.shape} and log densities of shape {batch}",
                        fix="give all parameters the same shape.",
                    )
                )
            known = (batch, value.shape[len(batch) :])
            self._assign(_shape_pair=known)
        return known

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._split[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self._split[1]

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        if not sample_shape:
            return self.object.sample(key)
        keys = jax.random.split(as_key(key), math.prod(sample_shape))
        draws = jax.vmap(self.object.sample)(keys)
        return draws.reshape((*sample_shape, *draws.shape[1:]))

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        value = jnp.broadcast_to(value, np.broadcast_shapes(value.shape, self.shape()))
        log_prob = self.object.log_prob
        for _ in range(value.ndim - len(self.shape())):
            log_prob = jax.vmap(log_prob)
        return log_prob(value)

    def _translated_support(self) -> Constraint:
        return supported(self.object)

    def _is_pathwise(self) -> bool:
        return pathwise_by_name(self.object)
