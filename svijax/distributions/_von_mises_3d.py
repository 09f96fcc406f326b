"""The von Mises and Fisher distribution on the sphere of three dimensions."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import NoiseSpec, ShapeError, message
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._projected_normal import direction

_LOG_2PI = math.log(2.0 * math.pi)


class VonMises3D(Distribution):
    """p(x) = k exp(m . x) / (4 pi sinh k) on the unit sphere of R^3; m = concentration (…, 3), k = |m|.

    By the surface measure. ``mean`` is the mean direction m / k, a point of the sphere.
    """

    arg_constraints = parameters(concentration=constraints.real_vector)
    support = constraints.sphere
    _noise_kind = "uniform"
    concentration: jax.Array

    def __init__(self, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration)
        if self.concentration.shape[-1] != 3:
            raise ShapeError(
                message("VonMises3D: the concentration has 3 entries.", got=self.concentration.shape)
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (3,)

    def _noise_spec(self) -> NoiseSpec | None:
        return NoiseSpec("uniform", (*self.batch_shape, 2), self.dtype)

    def _polar(self) -> tuple[Any, Any]:
        """k > 0 and the mean direction."""
        m = jnp.asarray(self.concentration)
        square = jnp.sum(m * m, axis=-1)
        tiny = float(jnp.finfo(m.dtype).tiny)
        return jnp.sqrt(jnp.maximum(square, tiny)), direction(m)

    def from_noise(self, noise: Any) -> Any:
        k, axis = self._polar()
        u = noise[..., 0]
        # Along the axis 1 - v, with P(V > v) = (exp(-k v) - exp(-2 k)) / (1 - exp(-2 k)).
        mass = -(1.0 - u) * jnp.expm1(-2.0 * k)
        small = mass < 0.5
        near = jnp.log1p(-jnp.where(small, mass, 0.0))
        far = jnp.log(jnp.where(small, 1.0, u + (1.0 - u) * jnp.exp(-2.0 * k)))
        v = jnp.clip(-jnp.where(small, near, far) / k, float(jnp.finfo(k.dtype).tiny), 2.0)
        across = jnp.sqrt(jnp.maximum(v * (2.0 - v), float(jnp.finfo(k.dtype).tiny)))
        angle = 2.0 * math.pi * noise[..., 1]
        first, second = _frame(axis)
        return (
            (1.0 - v)[..., None] * axis
            + (across * jnp.cos(angle))[..., None] * first
            + (across * jnp.sin(angle))[..., None] * second
        )

    def log_prob(self, value: Any) -> Any:
        k, axis = self._polar()
        # m . x - k without cancellation where x points along m.
        gap = value - axis
        log_prob = _log_scaled(k) - _LOG_2PI - 0.5 * k * jnp.sum(gap * gap, axis=-1)
        # Near m = 0 there is no direction, and the density is smooth in m itself.
        m = jnp.asarray(self.concentration)
        near = k < 0.3
        square = jnp.sum(jnp.where(near[..., None], m, 0.0) ** 2, axis=-1)
        flat = jnp.sum(m * value, axis=-1) - _log_sinh_ratio(square) - math.log(4.0 * math.pi)
        return jnp.where(near, flat, log_prob)

    @property
    def mean(self) -> Any:
        return self._polar()[1]

    def entropy(self) -> Any:
        k, _ = self._polar()
        # k (1 - coth k + 1 / k), which is 1 + k - k coth k.
        return _LOG_2PI - _log_scaled(k) + 1.0 - 2.0 * k * jnp.exp(-2.0 * k) / -jnp.expm1(-2.0 * k)


def _log_scaled(k: Any) -> Any:
    """log(k / (1 - exp(-2 k)))."""
    return jnp.log(k / -jnp.expm1(-2.0 * k))


def _log_sinh_ratio(square: Any) -> Any:
    """log(sinh(k) / k) for small k^2."""
    total: Any = 1 / 467775
    for coefficient in (-1 / 37800, 1 / 2835, -1 / 180, 1 / 6):
        total = coefficient + square * total
    return square * total


def _frame(axis: Any) -> tuple[Any, Any]:
    """Two unit vectors across ``axis`` (Duff et al., Building an orthonormal basis, revisited, 2017)."""
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    sign = jnp.where(z >= 0, jnp.ones_like(z), -jnp.ones_like(z))
    a = -1.0 / (sign + z)
    b = x * y * a
    first = jnp.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=-1)
    return first, jnp.stack([b, sign + y * y * a, -y], axis=-1)
