"""The gamma distribution, and the chi-squared distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    broadcast,
    gamma_quantile_slope,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    log_gamma,
    log_gammainc,
    log_gammaincc,
    product_deviance,
    stirling_error,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import from_zero

_LOG_2PI = math.log(2.0 * math.pi)
# Up to this concentration, what cancels in the textbook form is small.
_SMALL = 8.0


def log_gamma_draw(key: jax.Array, concentration: Any, shape: tuple[int, ...]) -> jax.Array:
    """log of Gamma(concentration, 1) draws, with pathwise derivatives; finite where the draw underflows."""
    dtype = jnp.result_type(concentration)
    wide = jnp.promote_types(dtype, jnp.float32)
    concentration = broadcast(jnp.asarray(concentration, wide), shape)
    still = jax.lax.stop_gradient
    log_draw = jax.random.loggamma(key, still(concentration), shape, wide)
    return _along_quantiles(concentration, still(log_draw)).astype(dtype)


@jax.custom_jvp
def _along_quantiles(concentration: jax.Array, log_draw: jax.Array) -> jax.Array:
    """The draw, whose probability stays when the concentration moves."""
    return log_draw


@_along_quantiles.defjvp
def _along_quantiles_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    log_draw = _along_quantiles(*primals)
    return log_draw, gamma_quantile_slope(primals[0], log_draw) * tangents[0]


def digamma_rest(x: Any) -> tuple[jax.Array, jax.Array]:
    """``stirling_error(x)`` and digamma(x) - log x, without cancellation for large x."""
    x = jnp.asarray(x)
    error, slope = jax.jvp(stirling_error, (x,), (jnp.ones_like(x),))
    return error, slope - 0.5 / x


@jax.jit
def _textbook(value: Any, c: Any, rate: Any) -> jax.Array:
    """The log density for small concentrations c."""
    norm = c * jnp.log(rate) - log_gamma(c)
    return from_zero(lambda x: (c - 1) * _log(x) - rate * x + norm, value, c - 1)


@jax.jit
def _saddle(value: Any, c: Any, rate: Any) -> jax.Array:
    """The log density for any concentration c."""
    head = 0.5 * (jnp.log(c) - _LOG_2PI) - stirling_error(c)

    def log_density(x: Any) -> Any:
        # At x = 0 this stands for its limit at c = 1.
        kept = jnp.where(x == 0, 1.0, x)
        return head - product_deviance(c, rate, kept) - jnp.log(kept) + rate * (kept - x)

    return from_zero(log_density, value, c - 1)


def _log(x: Any) -> jax.Array:
    return jnp.log(jnp.where(x == 0, 1.0, x))


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
        c = self.concentration
        small = isinstance(c, np.ndarray) and np.all(c <= _SMALL)
        return (_textbook if small else _saddle)(value, c, self.rate)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def variance(self) -> Any:
        return self.concentration / self.rate**2

    def _scaled(self, value: Any) -> Any:
        return self.rate * jnp.maximum(value, 0.0)

    def cdf(self, value: Any) -> Any:
        return gammainc(self.concentration, self._scaled(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return log_gammainc(self.concentration, self._scaled(value))

    def survival_function(self, value: Any) -> Any:
        return gammaincc(self.concentration, self._scaled(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return log_gammaincc(self.concentration, self._scaled(value))

    def icdf(self, q: Any) -> Any:
        return gammaincinv(self.concentration, jnp.asarray(q, self.dtype)) / self.rate

    def _isf(self, q: Any) -> Any:
        return gammainccinv(self.concentration, jnp.asarray(q, self.dtype)) / self.rate

    def entropy(self) -> Any:
        c = self.concentration
        error, rest = digamma_rest(c)
        return 0.5 * (_LOG_2PI + jnp.log(c)) - jnp.log(self.rate) + error + (1 - c) * rest


class Chi2(Gamma):
    """p(x) = x^(df/2 - 1) exp(-x / 2) / (2^(df/2) Gamma(df/2)) for x > 0; df > 0: Gamma(df / 2, 1 / 2)."""

    arg_constraints = parameters(df=constraints.positive)
    _kl_as = Gamma
    df: jax.Array

    def __init__(self, df: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, df=df)

    @property
    def concentration(self) -> Any:  # type: ignore[override]
        """df / 2."""
        return 0.5 * self.df

    @property
    def rate(self) -> Any:  # type: ignore[override]
        """1 / 2."""
        return np.full(np.shape(self.df), 0.5, self.dtype)
