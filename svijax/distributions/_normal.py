"""The normal distribution and its images under exp and the absolute value."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erfinv, log_ndtr, ndtr, ndtri

from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Normal(Distribution):
    """p(x) = exp(-((x - loc) / scale)^2 / 2) / (scale sqrt(2 pi)); loc and scale > 0 broadcast together."""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    _noise_kind = "normal"
    loc: jax.Array
    scale: jax.Array

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self.scale * noise

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * noise * noise - jnp.log(self.scale) - _HALF_LOG_2PI

    def log_prob(self, value: Any) -> Any:
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - jnp.log(self.scale) - _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return self.scale**2

    def cdf(self, value: Any) -> Any:
        return ndtr((value - self.loc) / self.scale)

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return log_ndtr((value - self.loc) / self.scale)

    def icdf(self, q: Any) -> Any:
        return self.loc + self.scale * ndtri(jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        return 0.5 + _HALF_LOG_2PI + jnp.log(self.scale)


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
        return jnp.exp(log_value), -0.5 * noise * noise - jnp.log(self.scale) - _HALF_LOG_2PI - log_value

    def log_prob(self, value: Any) -> Any:
        inside = value > 0
        log_value = jnp.log(jnp.where(inside, value, 1.0))
        z = (log_value - self.loc) / self.scale
        log_prob = -0.5 * z * z - jnp.log(self.scale) - _HALF_LOG_2PI - log_value
        return jnp.where(inside, log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return jnp.exp(self.loc + 0.5 * self.scale**2)

    @property
    def variance(self) -> Any:
        return jnp.expm1(self.scale**2) * jnp.exp(2.0 * self.loc + self.scale**2)

    def cdf(self, value: Any) -> Any:
        return ndtr((jnp.log(jnp.maximum(value, 0.0)) - self.loc) / self.scale)

    def icdf(self, q: Any) -> Any:
        return jnp.exp(self.loc + self.scale * ndtri(jnp.asarray(q, self.dtype)))

    def entropy(self) -> Any:
        return 0.5 + _HALF_LOG_2PI + jnp.log(self.scale) + self.loc


class HalfNormal(Distribution):
    """|X| of X ~ N(0, scale): p(x) = sqrt(2 / pi) exp(-(x / scale)^2 / 2) / scale for x >= 0; scale > 0."""

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.nonnegative
    _noise_kind = "normal"
    scale: jax.Array

    def __init__(self, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale)

    def _log_density(self, z: Any) -> Any:
        return -0.5 * z * z - jnp.log(self.scale) - 0.5 * math.log(0.5 * math.pi)

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

    def cdf(self, value: Any) -> Any:
        return jnp.maximum(jax.lax.erf(jnp.asarray(value / (math.sqrt(2.0) * self.scale))), 0.0)

    def icdf(self, q: Any) -> Any:
        return math.sqrt(2.0) * self.scale * erfinv(jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        return 0.5 + 0.5 * math.log(0.5 * math.pi) + jnp.log(self.scale)
