"""Subsets without replacement: each ordered choice equally likely."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import numpy as np
import pytest
import scipy.stats

from svijax.effects import draw_subset

DRAWS = 24_000


# On both sides of 2 * count = size: the two algorithms, and the one of a single element.
@pytest.mark.parametrize(
    ("size", "count"), [(5, 2), (4, 2), (3, 2), (4, 3), (6, 3), (5, 1), (2, 1), (1, 1), (3, 3), (7, 2)]
)
def test_each_ordered_choice_is_equally_likely(size: int, count: int) -> None:
    keys = jax.random.split(jax.random.key(size * 10 + count), DRAWS)
    draws = np.asarray(jax.jit(jax.vmap(partial(draw_subset, size=size, count=count)))(keys))
    assert draws.shape == (DRAWS, count) and draws.dtype == np.int32
    choices = {c: i for i, c in enumerate(itertools.permutations(range(size), count))}
    # Raises KeyError for a repeated element.
    counts = np.bincount([choices[tuple(d)] for d in draws.tolist()], minlength=len(choices))
    if len(choices) > 1:
        assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(("size", "count"), [(100_000, 64), (1_000, 500), (1_000, 501), (60_000, 128)])
def test_large_subsets_have_no_repeats_and_stay_in_range(size: int, count: int) -> None:
    draws = np.asarray(jax.jit(partial(draw_subset, size=size, count=count))(jax.random.key(1)))
    assert len(np.unique(draws)) == count and draws.min() >= 0 and draws.max() < size


def test_precision_changes_no_draw() -> None:
    # In double precision integers are 64 bits wide by default; the loop's carry must not notice.
    before = [np.asarray(draw_subset(jax.random.key(2), 20, n)) for n in (1, 5, 15)]
    jax.config.update("jax_enable_x64", True)
    try:
        after = [np.asarray(draw_subset(jax.random.key(2), 20, n)) for n in (1, 5, 15)]
    finally:
        jax.config.update("jax_enable_x64", False)
    for a, b in zip(before, after, strict=True):
        assert a.dtype == b.dtype == np.int32
        np.testing.assert_array_equal(a, b)
