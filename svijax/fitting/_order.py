"""Which rows make the minibatch of a step: a fresh permutation of all rows for each epoch, without memory of it.

Row of place x in an epoch = π(x), where π is the swap-or-not shuffle of Hoang, Morris and Rogaway (2012), "An
enciphering scheme based on a card shuffle": in round r the places x and (K_r − x) mod n change places if a hash of the
greater of them says so. Every round is its own inverse, so that π is a bijection for any hash.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_key, message

ROUNDS = 24
"""A place is moved with probability 1/2 in each: what is left of its order is of size 2^−ROUNDS."""

MOST_ROWS = 2**31 - 1


def rows_of(
    key: jax.Array, first: Any, count: int, length: int, size: int, shuffle: bool = True, shards: int = 1
) -> tuple[Any, Any]:
    """(rows of the steps ``first`` ... ``first + count − 1``, (count, size); how many are real, (count,), or None).

    They follow from the key and the step. An epoch has ceil(length / size) steps and each row once. In its last batch
    real rows come first, and fill the batch up again after that; None says that no batch is short.

    :param shards: D: entry j of a batch is of block j // (size / D) of D contiguous blocks of rows, each shuffled by
        itself. The first valid / D of each block are then the real ones.
    :raises ArgumentError: shards do not divide both length and size, or there are more than 2^31 − 1 rows.
    """
    check_order(length, size, shards)
    block, own = length // shards, size // shards
    steps = jnp.asarray(first, jnp.int32) + jnp.arange(count, dtype=jnp.int32)
    per_epoch = -(-block // own)
    epoch, position = steps // per_epoch, steps % per_epoch
    valid = jnp.minimum(own, block - position * own)
    place = jnp.arange(own, dtype=jnp.int32)
    if block % own:
        place = jnp.where(place < valid[:, None], place, place % valid[:, None])
    places = jnp.broadcast_to(position[:, None] * own + place, (count, own))
    places = jnp.broadcast_to(places[:, None, :], (count, shards, own))
    if shuffle and block > own:
        places = _shuffled(places, _seeds(key, epoch, shards), block)
    start = jnp.arange(shards, dtype=jnp.int32)[:, None] * block
    rows = (places + start).reshape(count, size)
    return rows, None if block % own == 0 else valid * shards


def check_order(length: int, size: int, shards: int) -> None:
    """Raise unless the rows can be dealt out like this."""
    if length % shards or size % shards:
        raise ArgumentError(
            message(
                "Batches: the shards do not divide the rows.",
                expected="a number of rows and a batch size that are multiples of the number of shards",
                got=f"{length} rows, size {size}, shards {shards}",
                fix=f"take size={max(size // shards, 1) * shards} of {length // shards * shards} rows.",
            )
        )
    if length > MOST_ROWS - size:
        raise ArgumentError(
            message(
                "Batches: row numbers are int32, and there are too many rows.",
                expected=f"at most {MOST_ROWS - size} rows in memory",
                got=length,
                fix="pass an iterable of batches.",
            )
        )


def _seeds(key: jax.Array, epoch: Any, shards: int) -> Any:
    """Random words (2, ROUNDS, steps, shards): the same under ``vmap`` as alone, for keys of any kind."""
    words = jax.random.key_data(as_key(key)).astype(jnp.uint32).reshape(-1)
    base = jax.random.wrap_key_data(words[:2], impl="threefry2x32")
    for word in words[2:]:
        base = jax.random.fold_in(base, word)

    def of_epoch(number: Any) -> Any:
        return jax.random.bits(jax.random.fold_in(base, number), (2, ROUNDS, shards), jnp.uint32)

    return jnp.moveaxis(jax.vmap(of_epoch)(epoch), 0, 2)


def _shuffled(places: Any, seeds: Any, length: int) -> Any:
    """π of places (steps, shards, own), seeds (2, ROUNDS, steps, shards)."""
    centres = (seeds[0] % np.uint32(length)).astype(jnp.int32)

    def one_round(r: Any, x: Any) -> Any:
        partner = centres[r][:, :, None] - x
        partner = jnp.where(partner < 0, partner + length, partner)
        swap = _bit(jnp.maximum(x, partner).astype(jnp.uint32), seeds[1][r][:, :, None])
        return jnp.where(swap, partner, x)

    return jax.lax.fori_loop(0, ROUNDS, one_round, places)


def _bit(x: Any, seed: Any) -> Any:
    """One bit of a 32-bit hash: two rounds of multiply and shift (the mixer of Wellons' "lowbias32")."""
    x = x ^ seed
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return (x >> 31) == 1
