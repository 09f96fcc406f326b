"""Fisher and Snedecor's F distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import (
    betainc,
    betaincc,
    betaincinv_log_odds,
    log_beta_weight,
    log_betainc,
    log_betaincc,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import digamma_rest, log_gamma_draw
from ._parameters import parameters
from ._tails import finite_exp

_LOG_2PI = math.log(2.0 * math.pi)


class FisherSnedecor(Distribution):
    """The law of (G1 / df1) / (G2 / df2), G_i ~ Chi2(df_i); df1 > 0 and df2 > 0 broadcast together.

    p(x) = r^a (1 + r)^-(a + b) / (x B(a, b)) for x > 0, with r = df1 x / df2, a = df1 / 2 and b = df2 / 2.
    """

    arg_constraints = parameters(df1=constraints.positive, df2=constraints.positive)
    support = constraints.positive
    _pathwise = True
    df1: jax.Array
    df2: jax.Array

    def __init__(self, df1: Any, df2: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, df1=df1, df2=df2)

    @property
    def _halves(self) -> tuple[Any, Any]:
        return 0.5 * jnp.asarray(self.df1), 0.5 * jnp.asarray(self.df2)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key1, key2 = jax.random.split(key)
        a, b = self._halves
        shape = self.shape(sample_shape)
        log_first = log_gamma_draw(key1, a, shape) - jnp.log(a)
        return finite_exp(log_first - log_gamma_draw(key2, b, shape) + jnp.log(b))

    def _shares(self, value: Any) -> tuple[Any, Any]:
        """r / (1 + r) and 1 / (1 + r) of r = df1 value / df2."""
        ratio = jnp.maximum(value, 0.0) * (self.df1 / self.df2)
        far = ratio > 1
        near, inverse = jnp.where(far, 1.0, ratio), 1 / jnp.where(far, ratio, 1.0)
        share, other = near / (1 + near), 1 / (1 + inverse)
        return jnp.where(far, other, share), jnp.where(far, inverse / (1 + inverse), 1 / (1 + near))

    def log_prob(self, value: Any) -> Any:
        a, b = self._halves
        inside = value > 0
        x = jnp.where(inside, value, 1.0)
        share, rest = self._shares(x)
        # a (1 - share) - b share, of which nothing cancels.
        log_prob = log_beta_weight(a, b, share, rest, rest * (a * (1 - x))) - jnp.log(x)
        # At 0 the density is constant, zero or infinite, as df1 is 2, more or less.
        start = jnp.where(a == 1, -(1 + 1 / b) * value, jnp.where(a < 1, jnp.inf, -jnp.inf))
        return jnp.where(inside, log_prob, jnp.where(value == 0, start, -jnp.inf))

    @property
    def mean(self) -> Any:
        finite = self.df2 > 2
        return jnp.where(finite, self.df2 / jnp.where(finite, self.df2 - 2, 1.0), jnp.inf)

    @property
    def variance(self) -> Any:
        finite = self.df2 > 4
        df1, df2 = self.df1, jnp.where(finite, self.df2, 5.0)
        variance = 2 * (df2 / (df2 - 2)) ** 2 * ((df1 + df2 - 2) / df1) / (df2 - 4)
        return jnp.where(finite, variance, jnp.inf)

    def cdf(self, value: Any) -> Any:
        return betainc(*self._halves, *self._shares(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return log_betainc(*self._halves, *self._shares(value))

    def survival_function(self, value: Any) -> Any:
        return betaincc(*self._halves, *self._shares(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return log_betaincc(*self._halves, *self._shares(value))

    def _from_log_odds(self, log_odds: Any) -> Any:
        return self.df2 / self.df1 * jnp.exp(log_odds)

    def icdf(self, q: Any) -> Any:
        return self._from_log_odds(betaincinv_log_odds(*self._halves, jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._from_log_odds(betaincinv_log_odds(*self._halves, jnp.asarray(q, self.dtype), upper=True))

    def entropy(self) -> Any:
        a, b = self._halves
        total = a + b
        (error_a, rest_a), (error_b, rest_b), (error, rest) = map(digamma_rest, (a, b, total))
        powers = 0.5 * (jnp.log(total / a) - jnp.log(b) + _LOG_2PI)
        return powers + error_a + error_b - error + (1 - a) * rest_a - (1 + b) * rest_b + total * rest
