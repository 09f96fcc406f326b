"""Saddle-point pieces of Loader (2000), "Fast and accurate computation of binomial probabilities".

With D = ``deviance``, E = ``factorial_excess`` and S = ``stirling_error``, large terms are cancelled by hand:

- Poisson, log p(k) = -D(k, rate) - E(k);
- binomial, q = 1 - p: log p(k) = E(n) - E(k) - E(n - k) - D(k, n p) - D(n - k, n q);
- gamma, log p(x) = -D(c, rate x) - S(c) + log(c / (2 pi)) / 2 - log x;
- beta, n = a + b: log p(x) = log(a b / (2 pi n)) / 2 + S(n) - S(a) - S(b) - D(a, n x) - D(b, n (1 - x))
  - log x - log(1 - x).

``product_deviance(k, n, p)`` is D(k, n p) without the rounding of the product. All take numbers and arrays
that broadcast, integers too, and cost no ``gammaln``. They are jitted so that a program which uses one often
traces it once.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from ._numerics import float_dtype

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# Coefficients of the asymptotic series of the Stirling error in 1 / x, 1 / x^3, …
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


@jax.jit
def deviance(k: Any, mu: Any) -> jax.Array:
    """k log(k / mu) + mu - k for k >= 0 and mu >= 0, without cancellation where k is near mu.

    It is 0 at k = mu, mu at k = 0, and inf at mu = 0 < k. Its derivatives are 1 - k / mu in mu (1 at k = mu = 0)
    and log(k / mu) in k, of which log k is left out at k = 0, where it is infinite.
    """
    dtype = float_dtype(k, mu)
    return _deviance(jnp.asarray(k, dtype), jnp.asarray(mu, dtype))


@jax.jit
def product_deviance(k: Any, a: Any, b: Any, b_error: Any = None) -> jax.Array:
    """deviance(k, a (b + b_error)) as if the product were exact: no rounding of it, and no underflow.

    One half unit in the last place of a product of 10^7 would move the log density at five standard
    deviations by 5e-4. ``b_error`` is what b lacks, small beside it: (1 - q) - p for q = fl(1 - p).
    """
    dtype = float_dtype(k, a, b)
    k, a, b = (jnp.asarray(value, dtype) for value in (k, a, b))
    lost = jnp.zeros((), dtype) if b_error is None else a * jnp.asarray(b_error, dtype)
    return _product_deviance(k, a, b, jax.lax.stop_gradient(lost))


@jax.jit
def product_gap(k: Any, a: Any, b: Any) -> jax.Array:
    """k - a b, as if the product were exact."""
    dtype = float_dtype(k, a, b)
    k, a, b = (jnp.asarray(value, dtype) for value in (k, a, b))
    mu = a * b
    if dtype != jnp.float32:
        return k - mu
    lost = product_error(a, b, mu)
    return (k - mu) - jax.lax.stop_gradient(lost)


@jax.custom_jvp
def _deviance(k: jax.Array, mu: jax.Array) -> jax.Array:
    return _value_gap_log(k, mu, mu * lift(mu) * lift(mu))[0]


def _deviance_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    k, mu = primals
    value, gap, log_ratio = _value_gap_log(k, mu, mu * lift(mu) * lift(mu))
    slopes = log_ratio, jnp.where(k == 0, 1.0, -gap / jnp.where(k == 0, 1.0, mu))
    return value, _weighted(value, slopes, tangents)


@jax.custom_jvp
def _product_deviance(k: jax.Array, a: jax.Array, b: jax.Array, lost: jax.Array) -> jax.Array:
    return _product_value_gap_log(k, a, b, lost)[0]


def _product_deviance_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    k, a, b, lost = primals
    value, gap, log_ratio = _product_value_gap_log(k, a, b, lost)
    in_a = jnp.where(k == 0, b, -gap / jnp.where(k == 0, 1.0, a))
    in_b = jnp.where(k == 0, a, -gap / jnp.where(k == 0, 1.0, b))
    return value, _weighted(value, (log_ratio, in_a, in_b), tangents)


_deviance.defjvp(_deviance_jvp, symbolic_zeros=True)
_product_deviance.defjvp(_product_deviance_jvp, symbolic_zeros=True)


def _weighted(value: jax.Array, slopes: Any, tangents: Any) -> Any:
    total = jnp.zeros_like(value)
    for slope, tangent in zip(slopes, tangents):
        if not isinstance(tangent, SymbolicZero):
            total = total + slope * tangent
    return total


def lift(x: jax.Array) -> float:
    """A power of two whose square undoes the underflow of a product."""
    return float(2.0 ** (-jnp.finfo(x.dtype).minexp // 2))


def lifted_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b times the square of the lift, where a b may underflow; a compiler must not multiply a and b first."""
    return jax.lax.optimization_barrier(a * lift(a)) * (b * lift(b))


def _product_value_gap_log(k: jax.Array, a: jax.Array, b: jax.Array, lost: jax.Array) -> Any:
    mu = a * b
    if mu.dtype == jnp.float32:
        lost = lost + product_error(a, b, mu)
    return _value_gap_log(k, mu, lifted_product(a, b), lost)


def product_error(a: jax.Array, b: jax.Array, product: jax.Array) -> jax.Array:
    """a b - fl(a b), from halves of the digits, whose products are exact (Dekker 1971); 0 where it overflows."""
    info = jnp.finfo(product.dtype)
    # A compiler may contract Dekker's own splitting to nothing.
    a_high, b_high = (jax.lax.reduce_precision(x, info.nexp, info.nmant // 2) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + (a_high * b_low + a_low * b_high)) + a_low * b_low
    return jnp.where(jnp.isfinite(error), error, 0.0)


def _value_gap_log(k: jax.Array, mu: jax.Array, lifted: jax.Array, lost: Any = 0.0) -> Any:
    """The deviance of mu + lost, k - mu - lost, and log(k / mu)."""
    gap = (k - mu) - lost
    value, log_ratio = deviance_by_gap(k, mu, gap, lifted)
    return value, gap, log_ratio


def deviance_by_gap(k: jax.Array, mu: jax.Array, gap: jax.Array, lifted: jax.Array) -> Any:
    """The deviance and log(k / mu), from gap = k - mu to more digits than the difference has.

    Near 1 the ratio is (1 + v) / (1 - v), and its log 2 v + 2 v^3 / 3 + …. ``lifted`` is mu times the square of
    the lift; far from 1, k / mu is kept by it from overflow, and from 0 where k log(k / mu) is 0.
    """
    info = jnp.finfo(k.dtype)
    total = k + mu
    v = gap / jnp.where(total > 0, total, 1.0)
    near = jnp.abs(v) < 0.1
    w = jnp.where(near, v, 0.0)
    square = w * w
    terms = 9 if info.eps < 1e-10 else 3
    series: Any = 2.0 / (2 * terms + 1)
    for j in range(2 * terms - 1, 2, -2):
        series = 2.0 / j + square * series
    cubic = w * square * series
    up = lift(k)
    low = mu < 1.0 / up
    # At k = 0 the log, which counts in derivatives only, is that of k = 1; see ``factorial_excess``.
    ratio = jnp.where(k == 0, 1.0, k) / jnp.where(near, 1.0, jnp.where(low, lifted, mu))
    far = jnp.log(jnp.maximum(ratio, float(info.tiny))) + jnp.where(low, 2.0 * math.log(up), 0.0)
    value = jnp.where(near, gap * w + k * cubic, k * far - gap)
    return value, jnp.where(near, 2.0 * w + cubic, far)


def _series(y: jax.Array, terms: int) -> jax.Array:
    inverse = 1.0 / y
    square = inverse * inverse
    series: Any = _STIRLING[terms - 1]
    for coefficient in _STIRLING[terms - 2 :: -1]:
        series = coefficient + square * series
    return series * inverse


def _steps(dtype: Any) -> tuple[int, int]:
    """From where the series is exact to rounding, and with how many terms."""
    return (8, 7) if jnp.finfo(dtype).eps < 1e-10 else (3, 4)


def _carry(x: jax.Array, steps: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where x is small, and there: low = x, and (low + 1) … (low + steps - 1)."""
    small = x < steps
    low = jnp.maximum(jnp.where(small, x, 1.0), 16.0 * float(jnp.finfo(x.dtype).tiny))
    product = low + 1
    for i in range(2, steps):
        product = product * (low + i)
    return small, low, product


@jax.jit
def stirling_error(x: Any) -> jax.Array:
    """log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) for x > 0, without cancellation for large x.

    Below a few, the recurrence of the gamma function carries x up. About -log(x) / 2 is left of it near 0.
    """
    x = jnp.asarray(x, float_dtype(x))
    steps, terms = _steps(x.dtype)
    small, low, product = _carry(x, steps)
    up = low + steps
    rest = jnp.log(product / up ** (steps - 1))
    carried = -(low + 0.5) * jnp.log(low / up) - steps - rest
    return _series(jnp.where(small, up, x), terms) + jnp.where(small, carried, 0.0)


@jax.jit
def factorial_excess(k: Any) -> jax.Array:
    """log Gamma(k + 1) - (k log k - k) for k >= 0: 0 at 0, and log(2 pi k) / 2 + stirling_error(k) above.

    Its derivative in k is infinite at 0. There that of k log k is left out, as it is in ``deviance``: the derivative
    of the sum of the two is right.
    """
    k = jnp.asarray(k, float_dtype(k))
    steps, terms = _steps(k.dtype)
    small, low, product = _carry(k, steps)
    up = jnp.where(small, low + steps, k)
    ratio = jnp.where(small, (low + steps) ** (steps - 1) / product, 1.0)
    carried = jnp.where(small, -low * jnp.log(low / (low + steps)) - steps, 0.0)
    excess = 0.5 * jnp.log((2.0 * math.pi) * up * (ratio * ratio)) + _series(up, terms) + carried
    return jnp.where(k == 0, -float(np.euler_gamma) * k, excess)


@jax.jit
def log_gamma(x: Any) -> jax.Array:
    """log Gamma(x) for x > 0, cheaper than ``gammaln``, which takes negative numbers too."""
    x = jnp.asarray(x, float_dtype(x))
    steps, terms = _steps(x.dtype)
    small, low, product = _carry(x, steps)
    up = jnp.where(small, x + steps, x)
    main = (up - 0.5) * jnp.log(up) - up + _HALF_LOG_2PI + _series(up, terms)
    return main - jnp.log(jnp.where(small, low * product, 1.0))


@jax.jit
def log_beta(a: Any, b: Any) -> jax.Array:
    """log B(a, b) = log Gamma(a) + log Gamma(b) - log Gamma(a + b), without cancellation for large a or b."""
    dtype = float_dtype(a, b)
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    total = a + b
    small, big = jnp.minimum(a, b), jnp.maximum(a, b)
    # With Stirling's formula in each of the three, what is large cancels by hand.
    powers = (small - 0.5) * jnp.log(small / total) + (big - 0.5) * jnp.log1p(-small / total)
    errors = stirling_error(a) + stirling_error(b) - stirling_error(total)
    return powers - 0.5 * jnp.log(total) + _HALF_LOG_2PI + errors
