"""Draws of the Poisson distribution, exact for large rates in single precision too."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import deviance, factorial_excess

_LARGE = 10.0
_MOST = 60  # the sums have come to 1 long before, for rates below the large ones


@partial(jax.jit, static_argnames=("shape", "dtype"))
def poisson_draw(key: jax.Array, rate: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Poisson draws in an integer dtype; rates beyond the range of the dtype are cut off near its end.

    Small rates by inversion. Large ones by transformed rejection (Hörmann, The transformed rejection method for
    generating Poisson random variables, 1993), with the log mass in deviances: k log(rate) - rate - log(k!) is
    wrong by a few per cent at a rate of 10^5 in single precision, and so would be the draws.
    """
    rate = jnp.asarray(rate)
    rate = jnp.broadcast_to(rate.astype(jnp.promote_types(rate.dtype, jnp.float32)), shape)
    rate = jnp.minimum(rate, 0.999 * float(jnp.iinfo(dtype).max))
    key_small, key_large = jax.random.split(key)
    large = rate >= _LARGE
    few = _by_inversion(key_small, jnp.where(large, 0.0, rate))
    many = _by_rejection(key_large, jnp.where(large, rate, _LARGE), ~large)
    return jnp.where(large, many, few).astype(dtype)


def _by_inversion(key: jax.Array, rate: jax.Array) -> jax.Array:
    u = jax.random.uniform(key, rate.shape, rate.dtype)

    def go_on(state: Any) -> Any:
        k, _, total = state
        return (k < _MOST) & jnp.any(u >= total)

    def step(state: Any) -> Any:
        k, mass, total = state
        mass = mass * rate / (k + 1)
        return k + 1, mass, total + mass

    def counted(state: Any) -> Any:
        inner, count = state
        return step(inner), count + (u >= inner[2])

    first = jnp.exp(-rate)
    start = (jnp.zeros((), rate.dtype), first, first), jnp.zeros_like(rate)
    return jax.lax.while_loop(lambda state: go_on(state[0]), counted, start)[1]


def _by_rejection(key: jax.Array, rate: jax.Array, skip: jax.Array) -> jax.Array:
    b = 0.931 + 2.53 * jnp.sqrt(rate)
    a = -0.059 + 0.02483 * b
    log_scale = jnp.log(1.1239 + 1.1328 / (b - 3.4))
    quick = 0.9277 - 3.6224 / (b - 2.0)

    def trial(state: Any) -> Any:
        key, k, done = state
        key, first, second = jax.random.split(key, 3)
        u = jax.random.uniform(first, rate.shape, rate.dtype) - 0.5
        v = 1.0 - jax.random.uniform(second, rate.shape, rate.dtype)
        edge = 0.5 - jnp.abs(u)
        new = jnp.floor((2.0 * a / edge + b) * u + rate + 0.43)
        possible = (new >= 0) & ((edge >= 0.013) | (v <= edge))
        safe = jnp.where(possible, new, rate)
        log_mass = -deviance(safe, rate) - factorial_excess(safe)
        slow = jnp.log(v) + log_scale - jnp.log(a / (edge * edge) + b) <= log_mass
        accepted = ~done & possible & (((edge >= 0.07) & (v <= quick)) | slow)
        return key, jnp.where(accepted, new, k), done | accepted

    start = key, jnp.zeros_like(rate), skip
    return jax.lax.while_loop(lambda state: ~jnp.all(state[2]), trial, start)[1]
