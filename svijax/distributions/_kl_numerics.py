"""The differences of which divergences are made, without cancellation where their two sides are near."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from svijax.base import stirling_error


def exp_excess(t: Any) -> Any:
    """exp(t) - 1 - t >= 0."""
    near = jnp.abs(t) < 0.5
    small, large = jnp.where(near, t, 0.0), jnp.where(near, 1.0, t)
    series: Any = 1.0
    for k in range(15, 2, -1):
        series = 1.0 + small / k * series
    return jnp.where(near, 0.5 * small * small * series, jnp.expm1(large) - large)


def excess(x: Any, m: Any) -> Any:
    """x log(x / m) - x + m >= 0 for x, m >= 0: the divergence of Poisson(x) from Poisson(m).

    Near x = m it is the series of Loader (2000), "Fast and accurate computation of binomial probabilities".
    """
    zero = x + m == 0
    total = jnp.where(zero, 1.0, x + m)
    v = (x - m) / total
    near = jnp.abs(v) < 0.1
    v = jnp.where(near, v, 0.0)
    square = v * v
    series: Any = 0.0
    for k in range(17, 2, -2):
        series = 1.0 / k + square * series
    series = total * (square + (1.0 + v) * v * square * series)
    edge = near | (x == 0) | (m == 0)
    far_x, far_m = jnp.where(edge, 1.0, x), jnp.where(edge, 2.0, m)
    far = far_x * _log_ratio(far_x, far_m) - far_x + far_m
    far = jnp.where(x == 0, m, jnp.where(m == 0, jnp.inf, far))
    return jnp.where(zero, 0.0, jnp.where(near, series, far))


def _log_ratio(x: Any, m: Any) -> Any:
    """log(x / m), also where the quotient leaves the range of its type."""
    info = jnp.finfo(jnp.result_type(x))
    ratio = jax.lax.stop_gradient(x / m)
    fits = (ratio >= float(info.tiny)) & (ratio <= float(info.max))
    quotient = jnp.where(fits, x, 1.0) / jnp.where(fits, m, 1.0)
    return jnp.where(fits, jnp.log(quotient), jnp.log(x) - jnp.log(m))


def log_excess(log_x: Any, log_m: Any) -> Any:
    """``excess`` of exp(log_x) and exp(log_m), either of which may be 0 or underflow."""
    none, no_mass = log_x == -jnp.inf, log_m == -jnp.inf
    safe_x = jnp.where(none | no_mass, 0.0, log_x)
    safe_m = jnp.where(none | no_mass, 0.0, log_m)
    gap = safe_x - safe_m
    near = gap > -0.5
    above = jnp.exp(safe_x) * exp_excess(-jnp.where(near, gap, 0.0))
    far = jnp.where(near, -1.0, gap)
    below = jnp.exp(safe_m) * (far * jnp.exp(far) - jnp.expm1(far))
    value = jnp.where(near, above, below)
    # All of x missing leaves m; all of m missing leaves no finite value, unless x is missing too.
    alone = jnp.exp(jnp.where(no_mass, -jnp.inf, jnp.where(none, log_m, 0.0)))
    return jnp.where(none, alone, jnp.where(no_mass, jnp.inf, value))


def safe_log(p: Any) -> Any:
    """log p with -inf, of derivative 0, at 0."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)


# Coefficients of the asymptotic series of the digamma function in 1 / x^2, 1 / x^4, …
_DIGAMMA = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)


def digamma_error(x: Any) -> Any:
    """digamma(x) - log(x) for x > 0, without cancellation for large x."""
    large = x >= 8
    wide, narrow = jnp.where(large, x, 8.0), jnp.where(large, 1.0, x)
    square = 1.0 / (wide * wide)
    series: Any = _DIGAMMA[-1]
    for coefficient in _DIGAMMA[-2::-1]:
        series = coefficient + square * series
    return jnp.where(large, square * series - 0.5 / wide, digamma(narrow) - jnp.log(narrow))


def log_gamma_rest(c: Any, a: Any) -> Any:
    """log Gamma(c) - log Gamma(a) - (c - a) digamma(a), less ``excess(c, a)``: Stirling's formula in each."""
    return stirling_error(c) - stirling_error(a) - 0.5 * jnp.log(c / a) - (c - a) * digamma_error(a)
