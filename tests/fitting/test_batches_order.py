"""The order of rows: a permutation of all rows for each epoch, of any length, from the key and the step alone."""

from __future__ import annotations

import itertools
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from svijax.base import ArgumentError
from svijax.fitting import _order

rows_of = jax.jit(_order.rows_of, static_argnames=("count", "length", "size", "shuffle", "shards"))

KEY = jax.random.key(5)
SURE = 1e-5
"""A uniform order fails one of these tests in 1 of 100,000 runs; the key is fixed."""


def epochs(n: int, keys: int, count: int = 1, seed: int = 0) -> Any:
    """Orders of the rows, (keys, epochs, n)."""
    split = jax.random.split(jax.random.key(seed), keys)
    rows = jax.jit(jax.vmap(lambda key: rows_of(key, 0, count * n, n, 1)[0][:, 0]))(split)
    return np.asarray(rows).reshape(keys, count, n)


@pytest.mark.parametrize(("length", "size"), ((1, 1), (8, 4), (100, 7)))
def test_each_row_is_met_once_an_epoch(length, size):
    steps = -(-length // size)
    rows, valid = rows_of(KEY, 0, 3 * steps, length, size)
    assert rows.shape == (3 * steps, size) and rows.dtype == jnp.int32
    assert (valid is None) == (length % size == 0)
    counts = np.full(3 * steps, size) if valid is None else np.asarray(valid)
    taken = [np.asarray(r)[:n] for r, n in zip(rows, counts, strict=True)]
    for epoch in range(3):
        met = np.concatenate(taken[epoch * steps : (epoch + 1) * steps])
        np.testing.assert_array_equal(np.sort(met), np.arange(length))


def test_a_short_batch_is_filled_up_with_its_own_rows():
    rows, valid = rows_of(KEY, 0, 4, 10, 4)
    np.testing.assert_array_equal(valid, [4, 4, 2, 4])
    np.testing.assert_array_equal(rows[2, 2:], rows[2, :2])


def test_it_follows_from_the_step_alone():
    rows, valid = rows_of(KEY, 0, 30, 29, 4)
    later, valid_later = rows_of(KEY, 17, 13, 29, 4)
    np.testing.assert_array_equal(rows[17:30], later)
    np.testing.assert_array_equal(valid[17:30], valid_later)


def test_epochs_and_keys_differ():
    a, b = (np.asarray(rows_of(jax.random.key(s), 0, 2, 64, 64 // 2)[0]) for s in (0, 1))
    assert (a != b).any()
    found = epochs(50, 1, 3)[0]
    assert len({tuple(row) for row in found}) == 3


@pytest.mark.parametrize("impl", ("threefry2x32", "rbg"))
def test_under_vmap_and_alone_for_all_kinds_of_keys(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 3)
    together = jax.jit(jax.vmap(lambda key: rows_of(key, 5, 9, 29, 4)[0]))(keys)
    for key, rows in zip(keys, together, strict=True):
        np.testing.assert_array_equal(rows_of(key, 5, 9, 29, 4)[0], rows)
    np.testing.assert_array_equal(rows_of(keys[0], 7, 1, 29, 4)[0][0], together[0][2])
    assert (together[0] != together[1]).any()


def test_raw_keys_give_the_order_of_typed_ones():
    np.testing.assert_array_equal(
        rows_of(jax.random.key_data(KEY), 5, 9, 29, 4)[0], rows_of(KEY, 5, 9, 29, 4)[0]
    )


def test_without_shuffling_rows_are_in_order():
    rows, valid = rows_of(KEY, 1, 3, 10, 4, shuffle=False)
    np.testing.assert_array_equal(rows, [[4, 5, 6, 7], [8, 9, 8, 9], [0, 1, 2, 3]])
    np.testing.assert_array_equal(valid, [4, 2, 4])


def test_all_rows_at_once_stay_in_order():
    """So that rows of the batch and rows of the data are the same numbers."""
    rows, valid = rows_of(KEY, 3, 2, 6, 6)
    np.testing.assert_array_equal(rows, [np.arange(6)] * 2)
    assert valid is None


def test_shards_keep_to_their_blocks_of_rows():
    rows, valid = rows_of(KEY, 0, 4, 20, 6, shards=2)
    rows = np.asarray(rows).reshape(4, 2, 3)
    np.testing.assert_array_equal(valid, [6, 6, 6, 2])
    for shard in (0, 1):
        met = np.concatenate([rows[:3, shard].ravel(), rows[3, shard, :1]])
        np.testing.assert_array_equal(np.sort(met), np.arange(10) + 10 * shard)
    assert (rows[:, 0] != rows[:, 1] - 10).any()


def test_under_x64_the_order_is_the_same():
    want = np.asarray(rows_of(KEY, 5, 9, 29, 4)[0])
    with jax.enable_x64(True):
        rows, _ = rows_of(KEY, 5, 9, 29, 4)
        assert rows.dtype == jnp.int32
        np.testing.assert_array_equal(rows, want)


def test_shards_that_do_not_divide_are_an_error():
    for length, size in ((10, 3), (9, 4)):
        with pytest.raises(ArgumentError, match=f"{length} rows, size {size}, shards 2"):
            rows_of(KEY, 0, 1, length, size, shards=2)


def test_too_many_rows_are_an_error():
    with pytest.raises(ArgumentError, match="row numbers are int32"):
        rows_of(KEY, 0, 1, 2**31 - 4, 8)


@pytest.mark.parametrize("n", (2, 3, 5))
def test_all_orders_of_few_rows_are_equally_likely(n):
    found = epochs(n, 20_000, seed=n)[:, 0]
    numbers = {p: i for i, p in enumerate(itertools.permutations(range(n)))}
    seen = np.bincount([numbers[tuple(p)] for p in found], minlength=factorial(n))
    assert stats.chisquare(seen).pvalue > SURE


@pytest.mark.parametrize("n", (9, 33))
def test_rows_pairs_and_epochs_are_uniform(n):
    found = epochs(n, 15_000, 2, seed=n)
    first, then = found[:, 0], found[:, 1]
    for place in (0, 1, n // 2, n - 1):
        assert stats.chisquare(np.bincount(first[:, place], minlength=n)).pvalue > SURE
    apart = ~np.eye(n, dtype=bool)
    for a, b in ((0, 1), (0, n - 1), (n // 2, n - 1)):
        pairs = np.bincount(first[:, a] * n + first[:, b], minlength=n * n).reshape(n, n)
        assert stats.chisquare(pairs[apart]).pvalue > SURE
    assert stats.chisquare(np.bincount(first[:, 0] * n + then[:, 0], minlength=n * n)).pvalue > SURE


def test_a_minibatch_of_many_rows_is_like_a_draw_without_replacement():
    """Mean and spread of row numbers, and how far apart sorted neighbours lie."""
    n, size, steps = 60_000, 100, 600
    rows = np.sort(np.asarray(rows_of(KEY, 0, steps, n, size)[0]).astype(float), axis=1)
    means = rows.mean(1)
    spread = np.sqrt((n**2 - 1) / 12 / size * (n - size) / (n - 1))
    assert abs(means.std() / spread - 1) < 5 / np.sqrt(2 * steps)
    gaps = np.diff(rows, axis=1).ravel() / n * (size + 1)
    assert stats.kstest(gaps[:: size // 4], "expon").pvalue > SURE
