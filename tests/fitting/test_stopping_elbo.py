"""RelativeELBO on synthetic traces: how often it stops where it should not, and how late where it should."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from traces import run_rule

from svijax.base import ArgumentError
from svijax.fitting import RelativeELBO

WINDOW, STEPS, TRACES = 200, 6000, 200
RULE = RelativeELBO(window=WINDOW, tol=0.0)
STEP = np.arange(STEPS)
ERROR = 1.2533 * np.sqrt(2 / WINDOW)
"""Standard error of the difference of two windows' medians, for normal losses of variance 1."""


def normal(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(TRACES, STEPS))


def heavy(df: float) -> np.ndarray:
    return np.random.default_rng(1).standard_t(df, size=(TRACES, STEPS))


def stops(losses: np.ndarray, rule: RelativeELBO = RULE) -> np.ndarray:
    """In windows; infinite for never."""
    found, _ = run_rule(rule, losses.astype(np.float32))
    return np.where(found < 0, np.inf, found / WINDOW)


@pytest.mark.parametrize("noise", ["normal", "t with 2 df", "t with 1.2 df"])
@pytest.mark.parametrize("level", [50.0, -3e6])
def test_flat_traces_stop_soon(noise: str, level: float) -> None:
    e = {"normal": normal, "t with 2 df": lambda: heavy(2), "t with 1.2 df": lambda: heavy(1.2)}[noise]()
    found = stops(level + e)
    assert found.min() == 4, "the first time that three votes can be had"
    assert (found <= 8).mean() >= 0.85 and (found <= 16).mean() >= 0.98, np.quantile(found, [0.5, 0.9, 1])


def test_progress_that_stands_out_goes_on() -> None:
    """A slope of three standard errors a window, 30 windows long: at most one false stop in a hundred traces."""
    slope = 3 * ERROR / WINDOW * STEP
    assert (stops(50 - slope + normal()) < np.inf).mean() <= 0.01
    assert (stops(50 + slope + normal()) < np.inf).mean() <= 0.01, "nor is a rising loss a converged one"
    assert (stops(50 - 3 * slope + heavy(2)) < np.inf).mean() <= 0.01


def test_progress_that_falls_off_stops_when_it_is_lost_in_the_noise() -> None:
    losses = 50 + 1000 / (STEP + 1) + normal()
    found = stops(losses)
    fall = 1000 * WINDOW / (found * WINDOW) ** 2
    assert (found < np.inf).all()
    assert (fall < 3 * ERROR).all(), "what a window gained at the stop, in standard errors"
    early = stops(50 + 100 * np.exp(-STEP / 500) + normal())
    assert (100 * np.exp(-early * WINDOW / 500) < 1.0).all() and np.median(early) < 20


def test_a_step_is_not_slept_through() -> None:
    found = stops(50 - 5.0 * (STEP > 2.5 * WINDOW) + normal())
    assert found.min() >= 7, "no vote before the step counts after it"
    assert (found <= 16).mean() >= 0.95
    plateau = stops(50 - 5.0 * (STEP > 6.5 * WINDOW) + normal())
    assert (plateau < 6.5).mean() > 0.5, "a plateau as long as this cannot be told from the end"


@pytest.mark.parametrize("level", [0.0, 7.25, -1e7])
def test_an_exactly_flat_trace_stops_at_once(level: float) -> None:
    assert (stops(np.full((3, STEPS), level)) == 4).all()


def test_the_noise_is_judged_below_the_resolution_of_the_losses() -> None:
    """At 2^24 single precision has steps of 2 nats; a fall of 0.2 a window under a noise of 1 is seen nevertheless."""
    losses = 2.0**24 - 0.6 / WINDOW * STEP + normal()
    assert (stops(losses) < np.inf).mean() <= 0.01


def test_losses_that_are_not_finite_are_passed_over() -> None:
    losses = 50 + normal()
    gone = losses.copy()
    gone[:, ::7] = np.nan
    gone[0, 500:] = np.nan
    found, memory = run_rule(RULE, gone.astype(np.float32))
    assert found[0] == -1, "a chain without losses has not converged"
    assert np.mean(found[1:] <= 8 * WINDOW) > 0.85 and np.isfinite(memory.centre).all()
    alone, _ = run_rule(RULE, gone[1:].astype(np.float32))
    np.testing.assert_array_equal(found[1:], alone, "one chain has no say in another")


def test_a_run_that_begins_within_a_window_waits_for_whole_ones() -> None:
    losses = np.full((1, STEPS), 3.0, np.float32)
    found, _ = run_rule(RULE, losses, first=WINDOW // 2)
    assert found[0] == 4.5 * WINDOW


def test_each_option_changes_when_it_stops() -> None:
    losses = 50 - 2.5 * ERROR / WINDOW * STEP[:4000] + normal()[:100, :4000]

    def changed(**options: Any) -> np.ndarray:
        return stops(losses, RelativeELBO(**{"window": WINDOW, "tol": 0.0, **options}))

    assert (changed() < np.inf).mean() < 0.1
    assert (changed(tol=0.02) == 4).mean() > 0.9
    assert (changed(z=4.0) < 8).mean() > 0.5
    assert (changed(confirm=1) < np.inf).mean() > 0.9
    assert (changed(window=WINDOW // 4) < 8).mean() > 0.8
    level = 50 + normal()[:100, :4000]
    few, many = (stops(level, RelativeELBO(WINDOW, 0.0, batches=n)) for n in (4, 50))
    late = ((x > 8).mean() for x in (few, many))
    assert next(late) > next(late) + 0.1, "the spread of four batch means is a rough guess"


def test_double_precision(x64: None) -> None:
    found, memory = run_rule(RULE, 50 + normal()[:20])
    assert memory.means.dtype == np.float64 and (found > 0).all()
    with jax.checking_leaks():
        again, _ = run_rule(RelativeELBO(window=80, batches=8), 50 + normal()[:20])
    assert (again > 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"window": 10},
            "RelativeELBO: window is out of its range.\n  expected: an int, at least 20\n  got:      10",
        ),
        ({"window": 100.0}, "window is out of its range"),
        ({"confirm": 0}, "confirm is out of its range"),
        ({"batches": 3}, "batches is out of its range"),
        (
            {"tol": -1.0},
            "RelativeELBO: tol is out of its range.\n  expected: a number, at least 0\n  got:      -1.0",
        ),
        ({"z": float("nan")}, "z is out of its range"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        RelativeELBO(**options)
    assert text in str(error.value)
