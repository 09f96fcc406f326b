"""Distribution functions, moments and entropies of every row against their truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from distribution_case import QUANTILES, DistCase, Reference
from distribution_cases import every

from svijax.base import ArgumentError

SUMMARIES: dict[str, Callable[[Any], Any]] = {
    "mean": lambda d: d.mean,
    "variance": lambda d: d.variance,
    "entropy": lambda d: d.entropy(),
}
FUNCTIONS = ("cdf", "icdf")


def _matches_the_row(case: DistCase, name: str, known: bool, ask: Callable[[], Any]) -> Any:
    """What the family answers; None where row and family agree that there is no answer."""
    if known and name not in case.lacks:
        return ask()
    # Else the family must say that it lacks it: what it has must be held against a truth.
    with pytest.raises(ArgumentError, match=f"has not .*{name}"):
        ask()
    return None


def _has_cdf(case: DistCase) -> bool:
    return case.scalar and "cdf" not in case.lacks and case.truth().cdf is not None


@every(costly=True)
def test_moments_and_entropy(case: DistCase, x64: None) -> None:
    d, truth = case.make(), case.truth()
    for name, ask in SUMMARIES.items():
        exact = getattr(truth, name)
        found = _matches_the_row(case, name, exact is not None, lambda ask=ask: ask(d))  # type: ignore[misc]
        if found is not None:
            shape = d.batch_shape if name == "entropy" else d.shape()
            assert np.shape(found) == shape and np.asarray(found).dtype == np.float64, name
            np.testing.assert_allclose(found, exact, rtol=case.moments, atol=1e-12, err_msg=name)


@every(lambda case: case.scalar, costly=True)
def test_cdf_and_icdf(case: DistCase, x64: None) -> None:
    d, truth = case.make(), case.truth()
    value = case.observations()
    cdf = _matches_the_row(case, "cdf", truth.cdf is not None, lambda: d.cdf(value))
    if cdf is not None:
        np.testing.assert_allclose(cdf, truth.cdf(value), rtol=case.inverse, atol=1e-12)  # type: ignore[misc]
        assert cdf.dtype == np.float64
    if case.discrete:
        return
    q = QUANTILES
    icdf = _matches_the_row(case, "icdf", truth.icdf is not None, lambda: d.icdf(q))
    if icdf is not None:
        np.testing.assert_allclose(icdf, truth.icdf(q), rtol=case.inverse, atol=1e-12)  # type: ignore[misc]
        np.testing.assert_allclose(d.cdf(icdf), q, rtol=1e-8)


@every(_has_cdf, costly=True)
def test_tails_of_the_distribution_function(case: DistCase, x64: None) -> None:
    d, truth = case.make(), case.truth()
    value = case.observations()
    below, above = truth.cdf(value), _above(truth, value)  # type: ignore[misc]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(d.survival_function(value), above, rtol=1e-8, atol=1e-11)
        for found, tail, rtol in (
            (d.log_cdf(value), below, 1e-8),
            (d.log_survival_function(value), above, 1e-6),
        ):
            found, seen = np.asarray(found), tail > 0
            np.testing.assert_allclose(found[seen], np.log(tail[seen]), rtol=rtol, atol=1e-9)
            # What underflows in the truth is at least small.
            assert np.all(found[~seen] < -700)


def _above(truth: Reference, value: Any) -> Any:
    if truth.log_survival_function is None:
        return 1 - truth.cdf(value)  # type: ignore[misc]
    return np.exp(truth.log_survival_function(value))


@every(lambda case: _has_cdf(case) and not case.discrete, costly=True)
def test_cdf_at_and_beyond_the_ends_of_the_support(case: DistCase) -> None:
    d = case.make()
    low, high = (getattr(d.support, name, None) for name in ("lower", "upper"))
    for bound, step, expected in ((low, -1.0, 0.0), (high, 1.0, 1.0)):
        if bound is not None:
            # A hurdle has a mass at the end.
            end = d.cdf(np.float32(bound)) if bound is low and case.atom else expected
            np.testing.assert_allclose(
                d.cdf(np.float32(bound) + np.float32([0.0, step])), [end, expected], atol=1e-6
            )
    if low is None and high is None:
        np.testing.assert_allclose(d.cdf(np.float32([-1e30, 1e30])), [0.0, 1.0], atol=1e-6)
