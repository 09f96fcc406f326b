"""The gamma distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammainc, gammaln

from svijax.base import xlogy
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters


def log_gamma_draw(key: jax.Array, concentration: Any, shape: tuple[int, ...]) -> jax.Array:
    """log of Gamma(concentration, 1) draws, with pathwise derivatives; finite where the draw underflows."""
    dtype = jnp.result_type(concentration)
    wide = jnp.promote_types(dtype, jnp.float32)
    return jax.random.loggamma(key, jnp.asarray(concentration, wide), shape, wide).astype(dtype)


class Gamma(Distribution):
    """p(x) = rate^c x^(c-1) exp(-rate x) / Gamma(c) for x > 0; c = concentration > 0 and rate > 0."""

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    support = constraints.positive
    _pathwise = True
    concentration: jax.Array
    rate: jax.Array

    def __init__(self, concentration: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration, rate=rate)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        log_draw = log_gamma_draw(key, self.concentration, self.shape(sample_shape))
        return jnp.maximum(jnp.exp(log_draw) / self.rate, jnp.finfo(self.dtype).tiny)

    def log_prob(self, value: Any) -> Any:
        inside = value >= 0
        x = jnp.where(inside, value, 1.0)
        c, rate = self.concentration, self.rate
        log_prob = xlogy(c - 1, x) - rate * x + c * jnp.log(rate) - gammaln(c)
        return jnp.where(inside, log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def variance(self) -> Any:
        return self.concentration / self.rate**2

    def cdf(self, value: Any) -> Any:
        return gammainc(self.concentration, jnp.maximum(self.rate * value, 0.0))

    def entropy(self) -> Any:
        c = self.concentration
        return c - jnp.log(self.rate) + gammaln(c) + (1 - c) * digamma(c)
