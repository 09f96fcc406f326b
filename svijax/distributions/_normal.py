"""The normal distribution and its images under exp and the absolute value."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import constraints

from ._distribution import Distribution
from ._location_scale import SymmetricLocationScale
from ._parameters import parameters
from ._tails import HALF_LOG_2PI, LOG_2, log_erf, log_ndtr, ndtr, ndtri, within

_HALF_LOG_HALF_PI = 0.5 * math.log(0.5 * math.pi)


class Normal(SymmetricLocationScale):
    """p(x) = exp(-((x - loc) / scale)^2 / 2) / (scale sqrt(2 pi)); loc and scale > 0 broadcast together."""

    _noise_kind = "normal"

    def _z_log_prob(self, z: Any) -> Any:
        return -0.5 * z * z - HALF_LOG_2PI

    def _z_from_noise(self, noise: Any) -> Any:
        return noise

    def _z_cdf(self, z: Any) -> Any:
        return ndtr(z)

    def _z_log_cdf(self, z: Any) -> Any:
        return log_ndtr(z)

    def _z_icdf(self, q: Any) -> Any:
        return ndtri(q)

    @property
    def variance(self) -> Any:
        return self.scale**2

    def _z_entropy(self) -> Any:
        return 0.5 + HALF_LOG_2PI


class LogNormal(Distribution):
    """p(x) = N(log x; loc, scale) / x for x > 0, exp of a normal; loc and scale > 0 broadcast together."""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.positive
    _noise_kind = "normal"
    loc: jax.Array
    scale: jax.Array

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        return jnp.exp(self.loc + self.scale * noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        log_value = self.loc + self.scale * noise
        return jnp.exp(log_value), -0.5 * noise * noise - jnp.log(self.scale) - HALF_LOG_2PI - log_value

    def log_prob(self, value: Any) -> Any:
        inside = value > 0
        log_value = jnp.log(jnp.where(inside, value, 1.0))
        z = (log_value - self.loc) / self.scale
        log_prob = -0.5 * z * z - jnp.log(self.scale) - HALF_LOG_2PI - log_value
        return jnp.where(inside, log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return jnp.exp(self.loc + 0.5 * self.scale**2)

    @property
    def variance(self) -> Any:
        return jnp.expm1(self.scale**2) * jnp.exp(2.0 * self.loc + self.scale**2)

    def _of_z(self, f: Any, value: Any, sign: int, at_zero: float) -> Any:
        value = jnp.asarray(value)
        z = within(lambda x: sign * (jnp.log(x) - self.loc) / self.scale, value, value > 0, 1.0, 0.0)
        return jnp.where(value > 0, f(z), at_zero)

    def cdf(self, value: Any) -> Any:
        return self._of_z(ndtr, value, 1, 0.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_z(log_ndtr, value, 1, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return self._of_z(ndtr, value, -1, 1.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_z(log_ndtr, value, -1, 0.0)

    def icdf(self, q: Any) -> Any:
        return self.from_noise(ndtri(jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self.from_noise(-ndtri(jnp.asarray(q, self.dtype)))

    def entropy(self) -> Any:
        return 0.5 + HALF_LOG_2PI + jnp.log(self.scale) + self.loc


class HalfNormal(Distribution):
    """|X| of X ~ N(0, scale): p(x) = sqrt(2 / pi) exp(-(x / scale)^2 / 2) / scale for x >= 0; scale > 0."""

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.nonnegative
    _noise_kind = "normal"
    scale: jax.Array

    def __init__(self, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale)

    def _log_density(self, z: Any) -> Any:
        return -0.5 * z * z - jnp.log(self.scale) - _HALF_LOG_HALF_PI

    def from_noise(self, noise: Any) -> Any:
        return self.scale * jnp.abs(noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), self._log_density(noise)

    def log_prob(self, value: Any) -> Any:
        return jnp.where(value >= 0, self._log_density(value / self.scale), -jnp.inf)

    @property
    def mean(self) -> Any:
        return math.sqrt(2.0 / math.pi) * self.scale

    @property
    def variance(self) -> Any:
        return (1.0 - 2.0 / math.pi) * self.scale**2

    def _of_z(self, f: Any, value: Any, at_zero: float) -> Any:
        z = jnp.asarray(value) / self.scale
        return within(f, z, z > 0, 1.0, at_zero)

    def cdf(self, value: Any) -> Any:
        return jax.lax.erf(math.sqrt(0.5) * jnp.maximum(jnp.asarray(value) / self.scale, 0.0))

    def log_cdf(self, value: Any) -> Any:
        return self._of_z(lambda z: log_erf(math.sqrt(0.5) * z), value, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return 2.0 * ndtr(-jnp.maximum(jnp.asarray(value) / self.scale, 0.0))

    def log_survival_function(self, value: Any) -> Any:
        return self._of_z(lambda z: LOG_2 + log_ndtr(-z), value, 0.0)

    def icdf(self, q: Any) -> Any:
        return self.scale * (math.sqrt(2.0) * jax.lax.erf_inv(jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return -self.scale * ndtri(0.5 * jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        return 0.5 + _HALF_LOG_HALF_PI + jnp.log(self.scale)
