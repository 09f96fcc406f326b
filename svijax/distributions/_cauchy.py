"""The Cauchy distribution and its positive half."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import log1p_square
from svijax.transforms import constraints

from ._distribution import Distribution
from ._location_scale import SymmetricLocationScale
from ._parameters import parameters
from ._tails import within

_LOG_PI = math.log(math.pi)


class Cauchy(SymmetricLocationScale):
    """p(x) = 1 / (pi scale (1 + ((x - loc) / scale)^2)); loc and scale > 0 broadcast together.

    Mean and variance are undefined: NaN.
    """

    def _z_log_prob(self, z: Any) -> Any:
        return -log1p_square(z) - _LOG_PI

    def _z_from_noise(self, noise: Any) -> Any:
        return self._z_quantile_from(noise, _nearer_end(noise))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        sine = jnp.sin(math.pi * _nearer_end(noise))
        return self.from_noise(noise), 2.0 * jnp.log(sine) - jnp.log(self.scale) - _LOG_PI

    def _z_tail(self, z: Any) -> Any:
        # arctan2 keeps the lower tail, where 1/2 + arctan(z) / pi would cancel.
        return jnp.arctan2(jnp.ones_like(z), -z) / math.pi

    def _z_cdf(self, z: Any) -> Any:
        return self._z_tail(z)

    def _z_icdf(self, q: Any) -> Any:
        return self._z_quantile_from(q, jnp.minimum(q, 1 - q))

    def _z_quantile_from(self, q: Any, nearer: Any) -> Any:
        # -cot(pi q) from the nearer end: 1 - q is exact there, while tan(pi (q - 1/2)) can change its sign.
        size = 1.0 / jnp.tan(math.pi * nearer)
        return jnp.where(q < 0.5, -size, size)

    @property
    def mean(self) -> Any:
        return jnp.full_like(self.loc, jnp.nan)

    @property
    def variance(self) -> Any:
        return jnp.full_like(self.loc, jnp.nan)

    def _z_entropy(self) -> Any:
        return math.log(4.0 * math.pi)


def _nearer_end(noise: Any) -> Any:
    # A uniform draw stands for an interval of the width of eps: the smallest would else be a draw of 1e37.
    floor = 0.25 * float(jnp.finfo(jnp.result_type(noise)).eps)
    return jnp.maximum(jnp.minimum(noise, 1.0 - noise), floor)


class HalfCauchy(Distribution):
    """|X| of X ~ Cauchy(0, scale): p(x) = 2 / (pi scale (1 + (x / scale)^2)) for x >= 0; scale > 0.

    Mean and variance are infinite.
    """

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.nonnegative
    _noise_kind = "uniform"
    scale: jax.Array

    def __init__(self, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        return self._quantile(noise, 1.0 - noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        sine = jnp.sin(0.5 * math.pi * (1.0 - noise))
        return self.from_noise(noise), 2.0 * jnp.log(sine) - jnp.log(self.scale) + math.log(2 / math.pi)

    def _quantile(self, q: Any, left: Any) -> Any:
        """x with P(X <= x) = q and P(X > x) = left, from the smaller of the two."""
        low = q < 0.5
        slope = jnp.tan(0.5 * math.pi * jnp.where(low, q, left))
        return self.scale * jnp.where(low, slope, 1.0 / jnp.where(low, 1.0, slope))

    def log_prob(self, value: Any) -> Any:
        log_prob = math.log(2 / math.pi) - log1p_square(value / self.scale) - jnp.log(self.scale)
        return jnp.where(value >= 0, log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return jnp.full_like(self.scale, jnp.inf)

    @property
    def variance(self) -> Any:
        return jnp.full_like(self.scale, jnp.inf)

    def _of_z(self, f: Any, value: Any, at_zero: float) -> Any:
        z = jnp.asarray(value) / self.scale
        return within(f, z, z > 0, 1.0, at_zero)

    def cdf(self, value: Any) -> Any:
        return self._of_z(lambda z: 2.0 / math.pi * jnp.arctan(z), value, 0.0)

    def survival_function(self, value: Any) -> Any:
        return self._of_z(lambda z: 2.0 / math.pi * jnp.arctan2(jnp.ones_like(z), z), value, 1.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_z(lambda z: jnp.log(2.0 / math.pi * jnp.arctan(z)), value, -math.inf)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_z(lambda z: jnp.log(2.0 / math.pi * jnp.arctan2(jnp.ones_like(z), z)), value, 0.0)

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return self._quantile(q, 1 - q)

    def _isf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return self._quantile(1 - q, q)

    def entropy(self) -> Any:
        return math.log(2.0 * math.pi) + jnp.log(self.scale)
