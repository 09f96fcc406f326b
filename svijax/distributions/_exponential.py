"""The exponential distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import log1mexp, within


class Exponential(Distribution):
    """p(x) = rate exp(-rate x) for x >= 0; rate > 0."""

    arg_constraints = parameters(rate=constraints.positive)
    support = constraints.nonnegative
    _noise_kind = "uniform"
    rate: jax.Array

    def __init__(self, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, rate=rate)

    def from_noise(self, noise: Any) -> Any:
        return -jnp.log1p(-noise) / self.rate

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        log_left = jnp.log1p(-noise)
        return -log_left / self.rate, jnp.log(self.rate) + log_left

    def log_prob(self, value: Any) -> Any:
        return jnp.where(value >= 0, jnp.log(self.rate) - self.rate * value, -jnp.inf)

    @property
    def mean(self) -> Any:
        return 1 / self.rate

    @property
    def variance(self) -> Any:
        return 1 / self.rate**2

    def cdf(self, value: Any) -> Any:
        return -jnp.expm1(self.log_survival_function(value))

    def log_cdf(self, value: Any) -> Any:
        value = jnp.asarray(value)
        return within(lambda x: log1mexp(-self.rate * x), value, value > 0, 1 / self.rate, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def log_survival_function(self, value: Any) -> Any:
        return -self.rate * jnp.maximum(value, 0.0)

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return -jnp.log(jnp.asarray(q, self.dtype)) / self.rate

    def entropy(self) -> Any:
        return 1 - jnp.log(self.rate)
