"""IterateRhat on iterates whose R-hat and Monte Carlo error NumPy works out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from traces import run_rule

from svijax.base import ArgumentError
from svijax.fitting import IterateRhat

WINDOW, STEPS = 100, 4000
HALF = WINDOW // 2


def wander(traces: int, size: int = 1, memory: float = 0.8, seed: int = 0) -> np.ndarray:
    """AR(1) iterates of standard deviation 1: (traces, STEPS, size)."""
    e = np.random.default_rng(seed).normal(size=(traces, STEPS + 200, size))
    return lfilter([np.sqrt(1 - memory**2)], [1, -memory], e, axis=1)[:, 200:]


def expected(x: np.ndarray, threshold: float, mcse: float, least: int) -> tuple[int, int]:
    """(steps at the stop, step at which the average begins), −1 for never, of one trace (STEPS, size)."""
    halves = x.reshape(-1, HALF, x.shape[-1])
    means, variances = halves.mean(1), halves.var(1, ddof=1)
    for w in range(0, len(halves) - 1, 2):
        b, inner = means[w : w + 2].var(0, ddof=1), variances[w : w + 2].mean(0)
        if (np.sqrt((HALF - 1) / HALF + b / inner) > threshold).any():
            continue
        for k in range(least, len(halves) - w + 1):
            part = slice(w, w + k)
            error = np.sqrt(means[part].var(0, ddof=1) / k)
            if (error <= mcse * np.sqrt(variances[part].mean(0))).all():
                return (w + k) * HALF, w * HALF
        return -1, w * HALF
    return -1, -1


@pytest.mark.parametrize(("threshold", "mcse", "least"), [(1.1, 0.1, 10), (1.03, 0.08, 4), (1.1, 0.02, 10)])
def test_it_stops_where_the_formulas_say(threshold: float, mcse: float, least: int) -> None:
    drift = 5 * np.exp(-np.arange(STEPS) / 150)[:, None] * np.array([1.0, -1.0, 0.0])
    x = wander(20, 3) + drift + np.array([0.0, 30.0, -500.0])
    rule = IterateRhat(threshold, WINDOW, mcse, least=least)
    found, memory = run_rule(
        rule, iterates={"a": x[..., :2].astype(np.float32), "b": x[..., 2].astype(np.float32)}
    )
    want = [expected(one, threshold, mcse, least) for one in x]
    np.testing.assert_array_equal(found, [stop for stop, _ in want])
    for k, (stop, begin) in enumerate(want):
        if stop > 0:
            mean = x[k, begin:stop].mean(0)
            np.testing.assert_allclose(memory.base["a"][k] + memory.mean["a"][k], mean[:2], atol=2e-5)
            np.testing.assert_allclose(memory.base["b"][k] + memory.mean["b"][k], mean[2], atol=2e-4)


def test_drift_is_neither_the_end_nor_part_of_the_average() -> None:
    moving = wander(200) - 0.03 * np.arange(STEPS)[:, None]
    assert (run_rule(IterateRhat(window=WINDOW), iterates=moving.astype(np.float32))[0] == -1).all()
    rule = IterateRhat(window=WINDOW, mcse=0.15)
    settling = wander(200) + 20 * np.exp(-np.arange(STEPS) / 50)[:, None]
    found, memory = run_rule(rule, iterates=settling.astype(np.float32))
    assert (found > 0).mean() > 0.9 and found[found > 0].min() >= 600
    centre = np.asarray(memory.base + memory.mean)[found > 0, 0]
    assert np.sqrt(np.mean(centre**2)) < 0.2, "a single iterate is off by 1"


def test_a_sticky_iterate_averages_for_longer() -> None:
    quick, slow = (
        run_rule(IterateRhat(window=WINDOW), iterates=wander(200, memory=m).astype(np.float32))[0]
        for m in (0.5, 0.9)
    )
    slow = np.where(slow < 0, STEPS, slow)
    assert np.median(slow) > 3 * np.median(quick)
    assert np.median(quick) <= 600


def test_a_share_of_the_numbers_may_be_let_off() -> None:
    x = wander(20, 10)
    x[..., 0] -= 0.2 * np.arange(STEPS)
    x = x.astype(np.float32)
    strict, lenient = (IterateRhat(window=WINDOW, mcse=0.2, share=share) for share in (1.0, 0.7))
    assert (run_rule(strict, iterates=x)[0] == -1).all()
    assert (run_rule(lenient, iterates=x)[0] > 0).all()


def test_constant_iterates_are_settled_and_their_average_is_exact() -> None:
    x = np.full((2, STEPS, 3), 0.1, np.float32)
    found, memory = run_rule(IterateRhat(window=WINDOW), iterates=x)
    assert (found == 10 * HALF).all()
    np.testing.assert_array_equal(memory.base + memory.mean, x[:, 0])


def test_a_window_that_is_entered_in_its_middle_is_dropped() -> None:
    x = wander(50).astype(np.float32)
    found, _ = run_rule(IterateRhat(window=WINDOW), iterates=x, first=HALF // 2)
    shifted, _ = run_rule(IterateRhat(window=WINDOW), iterates=x[:, HALF // 2 :], first=HALF)
    np.testing.assert_array_equal(np.where(found < 0, -1, found - HALF // 2), shifted)


def test_double_precision(x64: None) -> None:
    x = wander(5, memory=0.5) + 1e9
    found, memory = run_rule(IterateRhat(window=WINDOW), iterates=x)
    assert [expected(one - 1e9, 1.1, 0.1, 10)[0] for one in x] == found.tolist()
    assert memory.mean.dtype == np.float64


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"threshold": 1.0},
            "IterateRhat: threshold is out of its range.\n  expected: a number, greater than 1",
        ),
        ({"window": 2}, "window is out of its range"),
        ({"mcse": 0.0}, "mcse is out of its range"),
        ({"least": 1}, "least is out of its range"),
        ({"share": 0.0}, "share is out of its range"),
        (
            {"share": 1.5},
            "IterateRhat: share is out of its range.\n  expected: a number, greater than 0, at most 1",
        ),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        IterateRhat(**options)
    assert text in str(error.value)
