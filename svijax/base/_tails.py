"""Tails of the gamma and beta distributions, as logarithms, by quadrature beyond the point.

A tail is x times the density there, times the integral of exp(h(s)) over the log (gamma) or the log odds (beta) from
x outward, h(0) = 0. The integrand falls steadily and is analytic, so that a fixed Gauss-Legendre rule, on the interval
in which it is above rounding, is exact to rounding at all parameters, and nothing cancels. Where the integrand has two
scales, a few terms of the recurrence raise the first parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._numerics import float_dtype
from ._saddle import deviance, deviance_by_gap, lifted_product, product_error, stirling_error

_LOG_2PI = float(np.log(2.0 * np.pi))
# Below this mean number of events beyond x, a tail from x upward would have two scales.
_FEW = 0.04


def _rule(dtype: Any) -> tuple[Any, Any, float, int]:
    """Nodes and weights on (0, 1), minus the log of rounding, and the terms of the recurrence."""
    size, cut, raised = (36, 40.0, 6) if jnp.finfo(dtype).eps < 1e-10 else (16, 19.0, 3)
    nodes, weights = np.polynomial.legendre.leggauss(size)
    return jnp.asarray(0.5 * nodes + 0.5, dtype), jnp.asarray(0.5 * weights, dtype), cut, raised


def _integral(fall: Callable[[Any], Any], width: jax.Array) -> jax.Array:
    """The integral of exp(-fall(s)) from 0 to ``width``."""
    nodes, weights, _, _ = _rule(width.dtype)

    def add(total: jax.Array, rule: Any) -> tuple[jax.Array, None]:
        node, weight = rule
        return total + weight * jnp.exp(-fall(node * width)), None

    return width * jax.lax.scan(add, jnp.zeros_like(width), (nodes, weights))[0]


def _exp_rest(v: jax.Array) -> jax.Array:
    """exp(v) - 1 - v."""
    near = jnp.abs(v) < 0.5
    w = jnp.where(near, v, 0.0)
    terms = 14 if jnp.finfo(v.dtype).eps < 1e-10 else 7
    series: Any = 1.0
    for j in range(terms, 2, -1):
        series = 1.0 + w / j * series
    return jnp.where(near, 0.5 * w * w * series, jnp.expm1(v) - v)


def _log_rest(z: jax.Array) -> jax.Array:
    """log(1 + z) - z, from log(1 + z) = 2 artanh(w), w = z / (2 + z)."""
    near = jnp.abs(z) < 0.3
    x = jnp.where(near, z, 0.0)
    w = x / (2.0 + x)
    square = w * w
    terms = 9 if jnp.finfo(z.dtype).eps < 1e-10 else 4
    series: Any = 2.0 / (2 * terms + 1)
    for j in range(2 * terms - 1, 2, -2):
        series = 2.0 / j + square * series
    return jnp.where(near, w * (square * series - x), jnp.log1p(jnp.where(near, 0.0, z)) - z)


def _root(c: Any, half_b: Any, cut: float) -> jax.Array:
    """The positive root of c s^2 + 2 half_b s = 2 cut."""
    root = jnp.sqrt(half_b * half_b + 2.0 * cut * c)
    return jnp.where(half_b > 0, 2.0 * cut / (half_b + root), (root - half_b) / jnp.maximum(c, 1e-30))


def _newton(width: jax.Array, fall: Callable[[Any], Any], slope: Callable[[Any], Any], cut: float) -> Any:
    """Where a convex ``fall`` reaches ``cut``, from the right of it."""
    for _ in range(3):
        width = width - jnp.maximum(fall(width) - cut, 0.0) / slope(width)
    return jax.lax.stop_gradient(width)


def log_gamma_weight(a: jax.Array, x: jax.Array) -> jax.Array:
    """log(x^a exp(-x) / Gamma(a)): x times the density."""
    return 0.5 * (jnp.log(a) - _LOG_2PI) - stirling_error(a) - deviance(a, x)


def gamma_tail(a: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The log of one tail of the gamma distribution at x > 0, the log of that tail over x times the density,
    and whether it is the lower one, P(a, x)."""
    _, _, cut, raised = _rule(x.dtype)
    lower = (x <= a) | (x <= _FEW)
    sign = jnp.where(lower, -1.0, 1.0).astype(x.dtype)
    drift = jnp.where(lower, (a - x) + raised, x - a)
    still = jax.lax.stop_gradient

    def fall(s: Any) -> Any:
        return drift * s + x * _exp_rest(sign * s)

    def slope(s: Any) -> Any:
        return still(drift) + still(x) * sign * jnp.expm1(sign * s)

    wide = jnp.where(lower, _root(2.0 * drift + x, drift - cut, cut), _root(x, drift, cut))
    wide = jnp.where(lower, wide, jnp.minimum(wide, jnp.log1p((cut + a * wide) / x)))
    beyond = _integral(fall, _newton(still(wide), fall, slope, cut))
    recurred = 1.0 + x * beyond
    for j in range(raised - 1, 0, -1):
        recurred = 1.0 + x / (a + j) * recurred
    ratio = jnp.log(jnp.where(lower, recurred / a, beyond))
    return log_gamma_weight(a, x) + ratio, ratio, lower


def beta_gap(a: jax.Array, b: jax.Array, x: jax.Array, c: Any = None) -> jax.Array:
    """a - (a + b) x = a c - b x, from exact products; c = 1 - x, which is not rounded if it is not given."""
    rest = 1 - x if c is None else c
    ac, bx = a * rest, b * x
    gap = ac - bx
    if gap.dtype == jnp.float32:
        lost = product_error(a, rest, ac) - product_error(b, x, bx)
        gap = gap + jax.lax.stop_gradient(lost if c is not None else lost + a * ((1 - rest) - x))
    return gap


@jax.custom_jvp
def beta_deviance(a: jax.Array, b: jax.Array, x: jax.Array, c: jax.Array, gap: jax.Array) -> jax.Array:
    """a log(a / (n x)) + b log(b / (n c)) with n = a + b, c = 1 - x, which moves with x, and gap = a - n x."""
    return _beta_deviance_and_slopes(a, b, x, c, gap)[0]


@beta_deviance.defjvp
def _beta_deviance_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    value, in_a, in_b, in_x = _beta_deviance_and_slopes(*primals)
    da, db, dx, *_ = tangents
    return value, in_a * da + in_b * db + in_x * dx


def _beta_deviance_and_slopes(a: Any, b: Any, x: Any, c: Any, gap: Any) -> Any:
    total = a + b
    first, in_a = deviance_by_gap(a, total * x, gap, lifted_product(total, x))
    second, in_b = deviance_by_gap(b, total * c, -gap, lifted_product(total, c))
    return first + second, in_a, in_b, -gap / (x * c)


def log_beta_weight(a: Any, b: Any, x: Any, c: Any = None, gap: Any = None) -> jax.Array:
    """log(x^a c^b / B(a, b)), c = 1 - x: x (1 - x) times the density, which is the density of the log odds.

    ``c``, and ``gap`` = a c - b x, are given where they are known better than from x.
    """
    dtype = float_dtype(a, b, x)
    a, b, x = (jnp.asarray(value, dtype) for value in (a, b, x))
    if gap is None:
        gap = beta_gap(a, b, x, c)
    c = 1 - x if c is None else c
    total = a + b
    errors = stirling_error(total) - stirling_error(a) - stirling_error(b)
    powers = 0.5 * (jnp.log(a) + jnp.log(b / total) - _LOG_2PI)
    still = jax.lax.stop_gradient
    return powers + errors - beta_deviance(a, b, x, still(c), still(gap))


def beta_tail(
    a: jax.Array, b: jax.Array, x: jax.Array, c: jax.Array, lost: Any = 0.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As ``gamma_tail``, for the beta distribution at 0 < x < 1, with c + lost = 1 - x and x c times its density."""
    _, _, cut, raised = _rule(x.dtype)
    total = a + b
    lower = a * c >= b * x
    few, few_left = total * x <= _FEW, total * c <= _FEW
    lower = jnp.where(few | few_left, jnp.where(few & few_left, x <= c, few), lower)
    # An upper tail is the lower one of 1 - x with the parameters exchanged.
    gap = beta_gap(a, b, x, c) + jax.lax.stop_gradient(a * lost)
    weight = log_beta_weight(a, b, x, c, gap)
    gap = jnp.where(lower, gap, -gap)
    a, b = jnp.where(lower, a, b), jnp.where(lower, b, a)
    x, c = jnp.where(lower, x, c), jnp.where(lower, c, x)
    raised_total, drift = total + raised, gap + raised * c
    small = jnp.minimum(x, c)
    sign = jnp.where(x <= c, -1.0, 1.0).astype(x.dtype)
    still = jax.lax.stop_gradient

    def fall(s: Any) -> Any:
        z = small * jnp.expm1(sign * s)
        return drift * s + raised_total * (_log_rest(z) + small * _exp_rest(sign * s))

    def slope(s: Any) -> Any:
        moved = jnp.expm1(-s)
        return still(drift) - still(raised_total) * x * c * moved / (1.0 + x * moved)

    first = a + raised
    wide = _root(c * (drift + first), drift - cut * c, cut)
    other = jnp.log1p(jnp.expm1(jnp.minimum((cut + b * wide) / raised_total, 80.0)) / c)
    beyond = _integral(fall, _newton(still(jnp.minimum(wide, other)), fall, slope, cut))
    recurred = 1.0 + x * (total + raised - 1) * beyond
    for j in range(raised - 1, 0, -1):
        recurred = 1.0 + x * (total + (j - 1)) / (a + j) * recurred
    ratio = jnp.log(recurred / a)
    return weight + ratio, ratio, lower
