"""The Poisson distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaincc, gammaln

from svijax.base import is_threefry, xlogy
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import as_float, parameters


class Poisson(Distribution):
    """p(k) = rate^k exp(-rate) / k!, k = 0, 1, 2, …; rate >= 0."""

    arg_constraints = parameters(rate=constraints.nonnegative)
    support = constraints.nonnegative_integer
    rate: jax.Array

    def __init__(self, rate: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, rate=rate)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        if not is_threefry(key):
            # The sampler of JAX knows threefry keys only.
            key = jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")
        return jax.random.poisson(key, self.rate, self.shape(sample_shape), self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = value >= 0
        k = jnp.where(inside, as_float(value, self.rate.dtype), 0.0)
        return jnp.where(inside, xlogy(k, self.rate) - self.rate - gammaln(k + 1), -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.rate

    @property
    def variance(self) -> Any:
        return self.rate

    def cdf(self, value: Any) -> Any:
        # P(X <= k) = Q(k + 1, rate).
        k = jnp.floor(as_float(value, self.rate.dtype))
        return jnp.where(k < 0, 0.0, gammaincc(jnp.maximum(k, 0.0) + 1, self.rate))
