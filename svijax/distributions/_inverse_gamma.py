"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import (
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    log_gammainc,
    log_gammaincc,
    product_deviance,
    product_gap,
    stirling_error,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import digamma_rest, log_gamma_draw
from ._parameters import parameters
from ._tails import finite_exp, within

_LOG_2PI = math.log(2.0 * math.pi)


class InverseGamma(Distribution):
    """p(x) = rate^c x^(-c-1) exp(-rate / x) / Gamma(c) for x > 0, the law of 1 / Y with Y ~ Gamma(c, rate).

    c = concentration > 0 and rate > 0 broadcast together; rate is what the literature on it calls the scale.
    """

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    support = constraints.positive
    _pathwise = True
    concentration: jax.Array
    rate: jax.Array

    def __init__(self, concentration: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration, rate=rate)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        log_draw = log_gamma_draw(key, self.concentration, self.shape(sample_shape))
        return finite_exp(jnp.log(self.rate) - log_draw)

    def log_prob(self, value: Any) -> Any:
        c, rate = self.concentration, self.rate
        head = 0.5 * (jnp.log(c) - _LOG_2PI) - stirling_error(c)

        def log_density(x: Any) -> Any:
            # 16 / x does not underflow, and the division's own rounding is put back.
            inverse = 16 / x
            lost = inverse * product_gap(1.0, inverse, x / 16)
            return head - product_deviance(c, rate / 16, inverse, lost) - jnp.log(x)

        return within(log_density, value, value > 0, 1.0, -jnp.inf)

    @property
    def mean(self) -> Any:
        c = self.concentration
        return jnp.where(c > 1, self.rate / jnp.where(c > 1, c - 1, 1.0), jnp.inf)

    @property
    def variance(self) -> Any:
        c = self.concentration
        finite = c > 2
        c = jnp.where(finite, c, 3.0)
        return jnp.where(finite, (self.rate / (c - 1)) ** 2 / (c - 2), jnp.inf)

    def _scaled(self, value: Any) -> Any:
        # At 0 and below, inf, which is no place for a derivative.
        return within(lambda x: self.rate / x, value, value > 0, 1.0, jnp.inf)

    def cdf(self, value: Any) -> Any:
        return gammaincc(self.concentration, self._scaled(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return log_gammaincc(self.concentration, self._scaled(value))

    def survival_function(self, value: Any) -> Any:
        return gammainc(self.concentration, self._scaled(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return log_gammainc(self.concentration, self._scaled(value))

    def icdf(self, q: Any) -> Any:
        return self.rate / gammainccinv(self.concentration, jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return self.rate / gammaincinv(self.concentration, jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        c = self.concentration
        error, rest = digamma_rest(c)
        return jnp.log(self.rate) - 1.5 * jnp.log(c) + 0.5 * _LOG_2PI + error - (1 + c) * rest
