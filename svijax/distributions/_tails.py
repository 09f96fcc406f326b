"""Special functions that families share, right in the far tails, with derivatives that stay finite."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import special

from svijax.base import softplus

LOG_2 = math.log(2.0)
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_LOG_HALF = -LOG_2
# Below this argument, log f is known to first order for an f that underflows.
_SMALL = -12.0
# (2k - 1)!! with alternating signs: the asymptotic series of the normal tail.
_MILLS = (1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0, -135135.0, 2027025.0)


def widened(function: Callable[[Any], Any]) -> Callable[[Any], jax.Array]:
    """A function of JAX that refuses half precision, evaluated in float32 there."""

    @functools.wraps(function)
    def evaluate(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        wide = x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
        return jnp.asarray(function(wide)).astype(x.dtype)

    return evaluate


ndtr = widened(special.ndtr)
ndtri = widened(special.ndtri)


@widened
@jax.jit
def log_mills(x: Any) -> Any:
    """log((1 - Phi(x)) / phi(x)) of the standard normal, for x > -10 or so."""
    start = 7.0 if x.dtype == jnp.float32 else 20.0
    far = x > start
    inverse_square = 1.0 / jnp.square(jnp.where(far, x, start))
    series: Any = _MILLS[-1]
    for coefficient in _MILLS[-2::-1]:
        series = coefficient + inverse_square * series
    near = jnp.where(far, start, x)
    direct = special.log_ndtr(-near) + 0.5 * near * near + HALF_LOG_2PI
    return jnp.where(far, jnp.log(series) - jnp.log(jnp.where(far, x, start)), direct)


@widened
@jax.jit
def log_ndtr(x: Any) -> Any:
    """log Phi(x) of the standard normal; in the far lower tail its derivative does not cancel."""
    far = x < -7.0
    tail = jnp.where(far, x, -7.0)
    return jnp.where(
        far, log_mills(-tail) - 0.5 * tail * tail - HALF_LOG_2PI, special.log_ndtr(jnp.where(far, -7.0, x))
    )


@jax.jit
def log_erf(x: Any) -> jax.Array:
    """log erf(x) for x > 0."""
    x = jnp.asarray(x)
    small = x < 0.5
    near = jnp.log(jax.lax.erf(jnp.where(small, x, 0.5)))
    return jnp.where(small, near, jnp.log1p(-jax.lax.erfc(jnp.where(small, 0.5, x))))


@jax.jit
def log1mexp(x: Any) -> jax.Array:
    """log(1 - exp(x)) for x < 0."""
    near = x > _LOG_HALF
    close = jnp.log(-jnp.expm1(jnp.where(near, x, _LOG_HALF)))
    return jnp.where(near, close, jnp.log1p(-jnp.exp(jnp.where(near, _LOG_HALF, x))))


@jax.jit
def log_softplus(x: Any) -> jax.Array:
    """log log(1 + exp(x)), without underflow for very negative x."""
    small = x < _SMALL
    return jnp.where(
        small, x - 0.5 * jnp.exp(jnp.minimum(x, _SMALL)), jnp.log(softplus(jnp.where(small, _SMALL, x)))
    )


@jax.jit
def log_minus_log1mexp(x: Any) -> jax.Array:
    """log(-log(1 - exp(x))) for x < 0, without underflow for very negative x."""
    small = x < _SMALL
    return jnp.where(
        small, x + 0.5 * jnp.exp(jnp.minimum(x, _SMALL)), jnp.log(-log1mexp(jnp.where(small, _SMALL, x)))
    )


@jax.jit
def log_cdf_of_log_hazard(x: Any) -> jax.Array:
    """log(1 - exp(-exp(x))), without underflow for very negative x."""
    small = x < _SMALL
    return jnp.where(
        small, x - 0.5 * jnp.exp(jnp.minimum(x, _SMALL)), log1mexp(-jnp.exp(jnp.where(small, _SMALL, x)))
    )


@jax.jit
def log_ratio(x: Any, y: Any) -> jax.Array:
    """log(x / y) for x, y > 0, to full relative precision where x is near y, without overflow of x / y."""
    near = jnp.abs(x - y) < 0.5 * y
    close = jnp.log1p((jnp.where(near, x, y) - y) / y)
    return jnp.where(near, close, jnp.log(jnp.where(near, y, x)) - jnp.log(y))


def within(f: Callable[[Any], Any], value: Any, inside: Any, safe: Any, outside: Any) -> jax.Array:
    """``f(value)`` where ``inside``, else the constant ``outside`` with derivatives 0; ``f(safe)`` is finite."""
    return jnp.where(inside, f(jnp.where(inside, value, safe)), outside)


def from_zero(f: Callable[[Any], Any], z: Any, power: Any) -> jax.Array:
    """The log density f(z) for z >= 0, which at 0 is a constant plus power * log z; -inf for z < 0.

    At z = 0 the limit is taken where it is infinite; derivatives are 0 there, as they are for z < 0.
    """
    pole = (z == 0) & (power != 0)
    limit = jnp.where((z == 0) & (power < 0), jnp.inf, -jnp.inf)
    return within(f, z, (z >= 0) & ~pole, 1.0, limit)


@jax.jit
def finite_exp(x: Any) -> jax.Array:
    """exp(x), kept between the smallest normal and the largest number; derivatives are 0 beyond them."""
    info = jnp.finfo(jnp.result_type(x))
    # The margins keep the rounded exp inside, with room for one factor near 1.
    return jnp.exp(jnp.clip(x, 0.99 * math.log(float(info.tiny)), 0.99 * math.log(float(info.max))))


def next_to(x: Any, towards: Any) -> jax.Array:
    """The number next to x in the direction of another, moving with x."""
    still = jax.lax.stop_gradient(jnp.asarray(x))
    return x + (jnp.nextafter(still, jax.lax.stop_gradient(jnp.asarray(towards))) - still)
