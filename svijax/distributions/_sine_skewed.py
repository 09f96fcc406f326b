"""Skewed copies of symmetric distributions on the torus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, as_array, broadcast, cast, message
from svijax.transforms import constraints

from ._distribution import Distribution
from ._expanded import expand_any
from ._parameters import check, check_axes, parameters


def wrap(angle: Any) -> Any:
    """The angle in [-pi, pi]."""
    return jnp.clip(angle - 2.0 * math.pi * jnp.round(angle / (2.0 * math.pi)), -math.pi, math.pi)


class SineSkewed(Distribution):
    """p(x) = p_0(x) (1 + sum_i s_i sin(x_i - m_i)), p_0 symmetric about its mean m, on the torus of d angles.

    ``base_dist`` = p_0 has event_shape (d,); s = skewness (…, d) with sum |s_i| <= 1. Angles in radians.
    Ameijeiras-Alonso and Ley, Sine-skewed toroidal distributions (2022), equation 2.1.
    """

    arg_constraints = parameters(skewness=constraints.l1_ball)
    support = constraints.independent(constraints.circular, 1)
    _fields = ("base_dist", "skewness")
    base_dist: Any
    skewness: Any

    def __init__(self, base_dist: Any, skewness: Any, *, validate_args: bool | None = None) -> None:
        skewness = cast(as_array(skewness), base_dist.dtype)
        check_axes("SineSkewed", {"skewness": skewness}, {"skewness": 1})
        if validate_args is not False:
            check("SineSkewed", "skewness", skewness, constraints.l1_ball)
        own, event = tuple(base_dist.batch_shape), tuple(base_dist.event_shape)
        shapes = f"base_dist {own} + {event} and skewness {skewness.shape}"
        if event != skewness.shape[-1:]:
            raise ShapeError(message("SineSkewed needs one skewness for each angle of its base.", got=shapes))
        try:
            batch = np.broadcast_shapes(own, skewness.shape[:-1])
        except ValueError as error:
            raise ShapeError(message("SineSkewed: the batches do not broadcast.", got=shapes)) from error
        self._assign(base_dist=expand_any(base_dist, batch), skewness=broadcast(skewness, (*batch, *event)))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(self.base_dist.batch_shape), np.shape(self.skewness)[:-1])

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.skewness)[-1:]

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    def _lean(self, value: Any) -> Any:
        return jnp.sum(self.skewness * jnp.sin(value - self.base_dist.mean), axis=-1)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        # A draw of the base, or its mirror image where the skewness says so.
        first, second = jax.random.split(key)
        draw = self.base_dist.sample(first, sample_shape)
        u = jax.random.uniform(second, (*sample_shape, *self.batch_shape), self.dtype, -1.0, 1.0)
        keep = (u <= self._lean(draw))[..., None]
        return jax.lax.stop_gradient(wrap(jnp.where(keep, draw, 2.0 * self.base_dist.mean - draw)))

    def log_prob(self, value: Any) -> Any:
        lean = self._lean(value)
        # With sum |s| = 1 the density reaches 0, and rounding may go beyond.
        some = lean > -1.0
        log_lean = jnp.where(some, jnp.log1p(jnp.where(some, lean, 0.0)), -jnp.inf)
        return self.base_dist.log_prob(value) + log_lean

    @property
    def mean(self) -> Any:
        """The mean of the base, about which the skewness leans."""
        return self.base_dist.mean

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self._replace(
            base_dist=expand_any(self.base_dist, target),
            skewness=broadcast(self.skewness, (*target, *self.event_shape)),
        )
