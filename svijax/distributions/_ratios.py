"""Quotients such as (exp(x) - 1) / x that are smooth at 0, with derivatives that are right there too."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

_EXPM1 = tuple(1.0 / math.factorial(n + 1) for n in range(14))
_ATANH = tuple(1.0 / (2 * n + 1) for n in range(10))
# log(sinh(x) / x) in x^2, x^4, …: 2^(2n - 1) B_2n / (n (2n)!) with the Bernoulli numbers B_2n.
_LOG_SINH = (
    1 / 6,
    -1 / 180,
    1 / 2835,
    -1 / 37800,
    1 / 467775,
    -691 / 3831077250,
    2 / 127702575,
    -3617 / 2605132530000,
)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    value: Any = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = coefficient + x * value
    return value


def expm1_ratio(x: Any) -> jax.Array:
    """(exp(x) - 1) / x; 1 at 0."""
    near = jnp.abs(x) < 0.5
    far = jnp.where(near, 1.0, x)
    return jnp.where(near, _polynomial(_EXPM1, jnp.where(near, x, 0.0)), jnp.expm1(far) / far)


def log1p_ratio(x: Any) -> jax.Array:
    """log(1 + x) / x for x > -1; 1 at 0."""
    near = jnp.abs(x) < 0.25
    small, far = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    # log(1 + x) = 2 artanh(x / (2 + x)), whose series converges fast.
    ratio = small / (2.0 + small)
    return jnp.where(near, 2.0 / (2.0 + small) * _polynomial(_ATANH, ratio * ratio), jnp.log1p(far) / far)


def log_expm1_ratio(x: Any, ends: tuple[float, float] = (-1.0, 1.0)) -> jax.Array:
    """log((exp(x) - 1) / x), without overflow; 0 at 0, and by its series between ``ends``."""
    near = ((x > ends[0]) & (x < ends[1])) | (x == 0)
    half, far = 0.5 * jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    size = jnp.where(far < 0, -far, far)
    direct = jnp.where(far < 0, 0.0, far) + jnp.log1p(-jnp.exp(-size)) - jnp.log(size)
    # exp(x) - 1 = 2 exp(x / 2) sinh(x / 2).
    square = half * half
    return jnp.where(near, half + square * _polynomial(_LOG_SINH, square), direct)
