"""Student's t distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import at_least_single, betaincinv_log_odds, float_dtype, log1p_square, log_beta, log_betainc
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import digamma_rest, log_gamma_draw
from ._parameters import parameters
from ._tails import log1mexp

_LOG_2 = math.log(2.0)


@jax.jit
def _log_density(df: Any, z: Any) -> Any:
    log_norm = 0.5 * jnp.log(df) + log_beta(0.5 * df, 0.5)
    return -0.5 * (df + 1) * log1p_square(z / jnp.sqrt(df)) - log_norm


@at_least_single
@jax.jit
def _log_tail(df: Any, z: Any) -> jax.Array:
    """log P(T > z) of the standard distribution, for z >= 0."""
    dtype = float_dtype(df, z)
    return _tail(*jnp.broadcast_arrays(jnp.asarray(df, dtype), jnp.asarray(z, dtype)))


@jax.custom_jvp
def _tail(df: jax.Array, z: jax.Array) -> jax.Array:
    # P(|T| > z) = I_w(df / 2, 1 / 2), w = df / (df + z^2); it is a power of w where w would underflow.
    half, t = 0.5 * df, z / jnp.sqrt(df)
    least = 1e4 * float(jnp.finfo(z.dtype).tiny)
    kept = jnp.minimum(t, least**-0.5)
    square = kept * kept
    w, rest = 1 / (1 + square), square / (1 + square)
    beyond = jnp.maximum(log1p_square(t) + math.log(least), 0.0)
    return log_betainc(half, 0.5, w, rest) - half * beyond - _LOG_2


@_tail.defjvp
def _tail_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    df, z = primals
    log_tail = _tail(df, z)
    safe = jnp.where(z > 0, z, 1.0)
    in_df = jax.jvp(lambda df: _tail.fun(df, safe), (df,), (jnp.ones_like(df),))[1]
    in_z = -jnp.exp(_log_density(df, z) - log_tail)
    return log_tail, jnp.where(z > 0, in_df, 0.0) * tangents[0] + in_z * tangents[1]


@at_least_single
@jax.jit
def _quantile(df: Any, q: Any) -> jax.Array:
    """The z with P(T <= z) = q."""
    dtype = float_dtype(df, q)
    return _standard_quantile(*jnp.broadcast_arrays(jnp.asarray(df, dtype), jnp.asarray(q, dtype)))


@jax.custom_jvp
def _standard_quantile(df: jax.Array, q: jax.Array) -> jax.Array:
    tail = 2 * jnp.minimum(q, 1 - q)
    size = jnp.sqrt(df) * jnp.exp(-0.5 * betaincinv_log_odds(0.5 * df, 0.5, tail))
    return jnp.where(q < 0.5, -size, size)


@_standard_quantile.defjvp
def _standard_quantile_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    df, q = primals
    z = _standard_quantile(df, q)
    finite = jnp.isfinite(z)
    safe = jnp.where(finite, z, 0.0)
    log_tail, slope = jax.jvp(lambda df: _tail(df, jnp.abs(safe)), (df,), (jnp.ones_like(df),))
    log_density = _log_density(df, safe)
    in_df = jnp.sign(safe) * slope * jnp.exp(log_tail - log_density)
    in_q = jnp.exp(-log_density)
    return z, jnp.where(finite, in_df, 0.0) * tangents[0] + jnp.where(finite, in_q, 0.0) * tangents[1]


class StudentT(Distribution):
    """p(x) = (1 + z^2 / df)^(-(df + 1) / 2) / (scale sqrt(df) B(df / 2, 1 / 2)), z = (x - loc) / scale.

    df > 0, loc and scale > 0 broadcast together.
    """

    arg_constraints = parameters(df=constraints.positive, loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    _pathwise = True
    df: jax.Array
    loc: jax.Array
    scale: jax.Array

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, df=df, loc=loc, scale=scale)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_normal, key_gamma = jax.random.split(key)
        shape = self.shape(sample_shape)
        normal = jax.random.normal(key_normal, shape, self.dtype)
        # normal / sqrt(chi^2 / df), by the logarithm of the chi^2, which stays finite for small df.
        half = 0.5 * jnp.asarray(self.df)
        log_ratio = log_gamma_draw(key_gamma, half, shape) - jnp.log(half)
        # Small df reach beyond the largest number; there the draw and its derivatives stay finite.
        widest = 0.7 * float(np.log(jnp.finfo(self.dtype).max))
        return self.loc + self.scale * normal * jnp.exp(jnp.minimum(-0.5 * log_ratio, widest))

    def _standard(self, value: Any) -> Any:
        return (value - self.loc) / self.scale

    def log_prob(self, value: Any) -> Any:
        log_density = _log_density(jnp.asarray(self.df), self._standard(value))
        return log_density - jnp.log(jnp.asarray(self.scale))

    @property
    def mean(self) -> Any:
        return jnp.where(self.df > 1, self.loc, jnp.nan)

    @property
    def variance(self) -> Any:
        finite = self.df > 2
        ratio = self.df / jnp.where(finite, self.df - 2, 1.0)
        beyond = jnp.where(self.df > 1, jnp.inf, jnp.nan)
        return jnp.where(finite, self.scale**2 * ratio, beyond)

    def _log_below(self, z: Any) -> Any:
        below = z < 0
        log_tail = _log_tail(self.df, jnp.where(below, -z, z))
        return jnp.where(below, log_tail, log1mexp(log_tail))

    def cdf(self, value: Any) -> Any:
        return jnp.exp(self.log_cdf(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return self._log_below(self._standard(value))

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return self._log_below(-self._standard(value))

    def icdf(self, q: Any) -> Any:
        return self.loc + self.scale * _quantile(self.df, jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return self.loc - self.scale * _quantile(self.df, jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        df = self.df
        # digamma((df + 1) / 2) - digamma(df / 2), in which the logarithms would cancel.
        (_, above), (_, below) = digamma_rest(0.5 * (df + 1)), digamma_rest(0.5 * df)
        digammas = 0.5 * (df + 1) * (jnp.log1p(1 / df) + above - below)
        return digammas + 0.5 * jnp.log(df) + log_beta(0.5 * df, 0.5) + jnp.log(self.scale)
