"""Inverses of the incomplete gamma and beta functions, with derivatives in all arguments.

Newton's method for the log of the smaller tail, in log x or in the log odds of x. That log is concave there, so that
the steps approach the root from one side; a bracket guards the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, ndtri

from ._incomplete import at_least_single
from ._numerics import float_dtype
from ._saddle import log_beta, log_gamma
from ._tails import beta_tail, gamma_tail, log_beta_weight, log_gamma_weight

_LOG_HALF = -float(np.log(2.0))


@at_least_single
@jax.jit
def gammaincinv(a: Any, p: Any) -> jax.Array:
    """The x with P(a, x) = p, the quantile of Gamma(a, 1); 0 at p = 0, inf at p = 1."""
    return _gamma_quantile(*_arrays(a, p), False)


@at_least_single
@jax.jit
def gammainccinv(a: Any, q: Any) -> jax.Array:
    """The x with Q(a, x) = q; inf at q = 0, 0 at q = 1."""
    return _gamma_quantile(*_arrays(a, q), True)


@at_least_single
@jax.jit
def betaincinv(a: Any, b: Any, p: Any) -> jax.Array:
    """The x with I_x(a, b) = p, the quantile of Beta(a, b)."""
    return jax.nn.sigmoid(betaincinv_log_odds(a, b, p))


@at_least_single
@jax.jit
def betainccinv(a: Any, b: Any, q: Any) -> jax.Array:
    """The x with 1 - I_x(a, b) = q."""
    return jax.nn.sigmoid(betaincinv_log_odds(a, b, q, upper=True))


@at_least_single
@partial(jax.jit, static_argnames="upper")
def betaincinv_log_odds(a: Any, b: Any, p: Any, *, upper: bool = False) -> jax.Array:
    """log(x / (1 - x)) of ``betaincinv(a, b, p)``, or of ``betainccinv`` if ``upper``, without underflow."""
    return _beta_quantile(*_arrays(a, b, p), upper)


def _arrays(*values: Any) -> list[jax.Array]:
    dtype = float_dtype(*values)
    return jnp.broadcast_arrays(*(jnp.asarray(value, dtype) for value in values))


def _logs(p: jax.Array, upper: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """log P and log Q of the probability, made 1/2 where it is at an end; and whether it was inside."""
    inside = (p >= float(jnp.finfo(p.dtype).tiny)) & (p < 1)
    p = jnp.where(inside, p, 0.5)
    logs = jnp.log(p), jnp.log1p(-p)
    return (logs[1], logs[0], inside) if upper else (*logs, inside)


def _ends(value: jax.Array, p: jax.Array, inside: jax.Array, ends: tuple[float, float]) -> jax.Array:
    value = jnp.where(inside, value, jnp.where(p < 0.5, ends[0], ends[1]))
    return jnp.where((p >= 0) & (p <= 1), value, jnp.nan)


def _residual(tail: Any, use_lower: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log of the wanted tail minus its target, and the derivative of it along log x or the log odds."""
    log_tail, ratio, lower = tail
    tiny = float(jnp.finfo(log_tail.dtype).tiny)
    other = jnp.log(-jnp.expm1(jnp.minimum(log_tail, -tiny)))
    log_wanted = jnp.where(lower == use_lower, log_tail, other)
    slope = jnp.exp(log_tail - ratio - log_wanted)
    return log_wanted - target, jnp.where(use_lower, slope, -slope)


def _solve(
    residual: Callable[[jax.Array], Any], start: jax.Array, ends: tuple[float, float], scale: Any
) -> Any:
    """The root of a monotone concave function of y, from ``start``."""
    info = jnp.finfo(start.dtype)
    close = float(info.eps) ** 0.5 * 0.3 * jnp.maximum(1.0, scale)

    def go_on(state: Any) -> Any:
        return ~jnp.all(state[3]) & (state[4] < 80)

    def step(state: Any) -> Any:
        y, low, high, found, count = state
        f, slope = residual(y)
        left = (f < 0) == (slope > 0)
        low, high = jnp.where(left, y, low), jnp.where(left, high, y)
        move = -f / jnp.where(slope == 0, 1.0, slope)
        inside = (y + move >= low) & (y + move <= high) & (slope != 0)
        new = jnp.where(inside, y + move, 0.5 * (low + high))
        small = jnp.abs(new - y) <= 2.0 * float(info.eps) * jnp.maximum(1.0, jnp.abs(y))
        # What has been found stays: its steps would be noise.
        new = jnp.where(found | (f == 0), y, new)
        return new, low, high, found | (inside & (jnp.abs(f) < close)) | small | (f == 0), count + 1

    start = jnp.clip(start, *ends)
    state = (start, jnp.full_like(start, ends[0]), jnp.full_like(start, ends[1]), jnp.isnan(start), 0)
    return jax.lax.while_loop(go_on, step, state)[0]


def _normal_quantile(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    z = ndtri(jnp.exp(jnp.minimum(log_p, log_q)))
    return jnp.clip(jnp.where(log_p < log_q, z, -z), -12.0, 12.0)


def _cube_root_normal(a: jax.Array, log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Wilson and Hilferty (1931), as log x: the cube root of a gamma draw is about normal."""
    cube = 1.0 - 1.0 / (9.0 * a) + _normal_quantile(log_p, log_q) / (3.0 * jnp.sqrt(a))
    return jnp.log(a) + 3.0 * jnp.log(jnp.maximum(cube, 1e-4))


def _solve_gamma(a: jax.Array, p: jax.Array, upper: bool) -> jax.Array:
    least = float(np.log(float(jnp.finfo(p.dtype).tiny)))
    log_p, log_q, inside = _logs(p, upper)
    # P is below x^a / Gamma(a + 1), so that this is below the root; the next is above it by Chernoff's bound.
    lowest = (log_p + log_gamma(a + 1)) / a
    above = jnp.log(a - log_q + jnp.sqrt(-2.0 * a * log_q))
    use_lower = (log_p <= log_q) | (lowest < -4.0)
    smooth = jnp.clip(_cube_root_normal(a, log_p, log_q), lowest, above)
    start = jnp.where(a < 1.0, jnp.where(use_lower, lowest, above), smooth)
    vanishing = lowest < least
    target = jnp.where(vanishing, _LOG_HALF, jnp.where(use_lower, log_p, log_q))
    use_lower = use_lower & ~vanishing
    start = jnp.where(vanishing, jnp.log(a + 1), start)

    def residual(x: jax.Array) -> Any:
        return _residual(gamma_tail(a, x), use_lower, target)

    x = jnp.exp(_solve(lambda y: residual(jnp.exp(y)), start, (least, -0.9 * least), -target))
    # The log of x has fewer digits than x: one step more, in x itself.
    f, slope = residual(x)
    x = x * (1.0 - jnp.where(slope == 0, 0.0, f / jnp.where(slope == 0, 1.0, slope)))
    x = jnp.where(vanishing, jnp.exp(lowest), x)
    return _ends(x, p, inside, (jnp.inf, 0.0) if upper else (0.0, jnp.inf))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _gamma_quantile(a: jax.Array, p: jax.Array, upper: bool) -> jax.Array:
    return _solve_gamma(jax.lax.stop_gradient(a), jax.lax.stop_gradient(p), upper)


@_gamma_quantile.defjvp
def _gamma_quantile_jvp(upper: bool, primals: Any, tangents: Any) -> Any:
    a, p = primals
    x = _gamma_quantile(a, p, upper)
    inside = (x > 0) & jnp.isfinite(x)
    safe = jnp.where(inside, x, 1.0)
    in_a = safe * gamma_quantile_slope(a, jnp.log(safe))
    in_p = safe * jnp.exp(-log_gamma_weight(a, safe)) * (-1.0 if upper else 1.0)
    return x, jnp.where(inside, in_a, 0.0) * tangents[0] + jnp.where(inside, in_p, 0.0) * tangents[1]


@jax.jit
def gamma_quantile_slope(a: jax.Array, log_x: jax.Array) -> jax.Array:
    """d log x / da of the quantile x of Gamma(a, 1) at a fixed probability: -dP/da over x times the density.

    x itself may underflow, where P = x^a / Gamma(a + 1).
    """
    least = float(np.log(float(jnp.finfo(log_x.dtype).tiny)))
    below = log_x < least
    x = jnp.exp(jnp.where(below, 0.0, log_x))
    # A tail is x times the density times exp(ratio), and moves by slope times itself.
    (_, ratio, lower), (slope, _, _) = jax.jvp(lambda a: gamma_tail(a, x), (a,), (jnp.ones_like(a),))
    direct = jnp.where(lower, -slope, slope) * jnp.exp(ratio)
    return jnp.where(below, (digamma(a + 1) - log_x) / a, direct)


def _solve_beta(a: jax.Array, b: jax.Array, p: jax.Array, upper: bool) -> jax.Array:
    log_p, log_q, inside = _logs(p, upper)
    use_lower = log_p <= log_q
    target = jnp.where(use_lower, log_p, log_q)
    start = jnp.where((a >= 1) & (b >= 1), _normal_odds(a, b, log_p, log_q), _power_odds(a, b, log_p, log_q))
    most = -float(np.log(float(jnp.finfo(p.dtype).tiny))) - 3.0

    def residual(y: jax.Array) -> Any:
        return _residual(beta_tail(a, b, jax.nn.sigmoid(y), jax.nn.sigmoid(-y)), use_lower, target)

    # Beyond the numbers that the dtype has, one end's power law is exact.
    low, high = (log_p + jnp.log(a) + log_beta(a, b)) / a, -(log_q + jnp.log(b) + log_beta(a, b)) / b
    low_out, high_out = low < -most, high > most
    out = low_out | high_out
    use_lower, target = use_lower & ~out, jnp.where(out, _LOG_HALF, target)
    y = _solve(residual, start, (-most, most), -target)
    y = jnp.where(low_out, low, jnp.where(high_out, high, y))
    return _ends(y, p, inside, (jnp.inf, -jnp.inf) if upper else (-jnp.inf, jnp.inf))


def _normal_odds(a: jax.Array, b: jax.Array, log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Abramowitz and Stegun (1964), 26.5.22, as log odds; for a and b above 1."""
    z, u, v = _normal_quantile(log_p, log_q), 2.0 * jnp.maximum(a, 1.0) - 1.0, 2.0 * jnp.maximum(b, 1.0) - 1.0
    h, third = 2.0 * u * v / (u + v), (z * z - 3.0) / 6.0
    bend = (1.0 / v - 1.0 / u) * (third + 5.0 / 6.0 - 2.0 / (3.0 * h))
    return jnp.log(a / b) + 2.0 * (z * jnp.sqrt(h + third) / h + bend)


def _power_odds(a: jax.Array, b: jax.Array, log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Both ends by their power laws, joined at the mean; as log odds."""
    total = a + b
    left, right = (jnp.exp(c * jnp.log(c / total)) / c for c in (a, b))
    whole = left + right
    low = (jnp.log(a * whole) + log_p) / a
    high = (jnp.log(b * whole) + log_q) / b
    from_left = log_p < jnp.log(left / whole)
    size = jnp.minimum(jnp.where(from_left, low, high), -1e-3)
    odds = size - jnp.log(-jnp.expm1(size))
    return jnp.where(from_left, odds, -odds)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _beta_quantile(a: jax.Array, b: jax.Array, p: jax.Array, upper: bool) -> jax.Array:
    return _solve_beta(*jax.lax.stop_gradient((a, b, p)), upper)


@_beta_quantile.defjvp
def _beta_quantile_jvp(upper: bool, primals: Any, tangents: Any) -> Any:
    a, b, p = primals
    y = _beta_quantile(a, b, p, upper)
    inside = jnp.isfinite(y)
    most = -float(np.log(float(jnp.finfo(p.dtype).tiny))) - 3.0
    safe = jnp.where(inside, jnp.clip(y, -most, most), 0.0)
    x, c = jax.nn.sigmoid(safe), jax.nn.sigmoid(-safe)
    in_p = jnp.exp(-log_beta_weight(a, b, x, c)) * (-1.0 if upper else 1.0)
    total = jnp.where(inside, in_p, 0.0) * tangents[2]
    for place in (0, 1):
        ones = tuple(jnp.full_like(a, float(place == i)) for i in (0, 1))
        (_, ratio, lower), (slope, _, _) = jax.jvp(lambda a, b: beta_tail(a, b, x, c), (a, b), ones)
        moved = -jnp.where(lower, slope, -slope) * jnp.exp(ratio)
        total = total + jnp.where(inside, moved, 0.0) * tangents[place]
    return y, total
