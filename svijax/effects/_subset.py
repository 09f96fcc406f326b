"""Draws of the rows of a minibatch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


def draw_subset(key: jax.Array, size: int, count: int) -> jax.Array:
    """``count`` of ``range(size)`` without replacement, each ordered choice equally likely.

    The first ``count`` distinct values of a stream of uniform integers are such a draw, and by symmetry
    still are when a stream too short to have them is thrown away. Costs O(count log count), on every
    backend and in every precision the same draw, int32.
    """
    if 2 * count > size:
        return jax.random.permutation(key, np.arange(size, dtype=np.int32))[:count]
    if count == 1:
        return jax.random.randint(key, (1,), 0, size, jnp.int32)
    expected = size * math.log(size / (size - count))
    length = math.ceil(expected + 6.0 * math.sqrt(expected - count + 1.0) + 2.0)

    def attempt(tries: jax.Array) -> tuple[jax.Array, jax.Array]:
        stream = jax.random.randint(jax.random.fold_in(key, tries), (length,), 0, size, jnp.int32)
        order = jnp.argsort(stream, stable=True)
        ranked = stream[order]
        repeat = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] == ranked[:-1]])
        position = jnp.where(repeat, length, order)
        keep = jnp.sort(position)[:count]
        return stream[jnp.minimum(keep, length - 1)], keep[-1] < length

    def body(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        tries, _, _ = carry
        return (tries + 1, *attempt(tries))

    start = (jnp.zeros((), jnp.int32), jnp.zeros(count, jnp.int32), jnp.zeros((), bool))
    return jax.lax.while_loop(lambda carry: ~carry[2], body, start)[1]
