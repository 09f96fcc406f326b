"""Truncation and censoring: bounds, far tails, and values that do not count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError
from svijax.transforms import constraints


@pytest.mark.parametrize(
    "make, error, text",
    [
        (
            lambda: dist.TruncatedNormal(low=np.array([0.0, 2.0]), high=1.0),
            ParameterError,
            "low must be smaller than high.\n  got:      low 2.0 and high 1.0 at index .1,.",
        ),
        (lambda: dist.TruncatedNormal(0.0, 1.0), ArgumentError, "TruncatedNormal needs low or high"),
        (lambda: dist.TruncatedDistribution(dist.Poisson(3.0), 1.0), ArgumentError, "continuous"),
        (lambda: dist.TruncatedDistribution(dist.Dirichlet(np.ones(2)), 0.0), ShapeError, "single numbers"),
        (lambda: dist.LeftTruncatedDistribution(dist.Normal(), np.inf), ParameterError, "'low'"),
        (
            lambda: dist.TruncatedDistribution(dist.Normal(np.zeros(2), 1.0), np.zeros(3)),
            ShapeError,
            r"batch_shape \(2,\) of Normal\n  got:      low \(3,\)",
        ),
        (
            lambda: dist.LeftTruncatedGamma(dist.Normal(), 1.0),
            ArgumentError,
            "LeftTruncatedGamma takes a Gamma.\n  got:      Normal\n"
            r"  fix:      use TruncatedDistribution\(base_dist, low, high\) for other families.",
        ),
        (lambda: dist.TruncatedCauchy(low=0.0).mean, ArgumentError, "has not a mean"),
        (lambda: dist.LeftCensoredDistribution(dist.Normal(), 2), ParameterError, "'censored'"),
    ],
)
def test_misuse_is_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_supports_are_those_of_bounds_and_base() -> None:
    assert dist.TruncatedNormal(low=1.0).support == constraints.greater_than_eq(np.float32(1.0))
    assert dist.TruncatedNormal(high=1.0).support == constraints.less_than_eq(np.float32(1.0))
    ranged = dist.TruncatedDistribution(dist.Exponential(1.0), high=2.0)
    assert ranged.support == constraints.interval(0.0, np.float32(2.0))
    assert dist.TruncatedDistribution(dist.Exponential(1.0), -1.0, 2.0).support(-0.5) == np.False_


@pytest.mark.slow
def test_nothing_lies_beyond_the_base() -> None:
    d = dist.TruncatedDistribution(dist.Beta(2.5, 1.5), -1.0, 0.6)
    np.testing.assert_array_equal(d.cdf(np.float32([-2.0, -0.5, 0.0, 0.6, 0.8])), [0, 0, 0, 1, 1])
    left = dist.TruncatedDistribution(dist.Beta(2.5, 1.5), 0.3)
    np.testing.assert_array_equal(left.survival_function(np.float32([0.2, 1.0, 1.5])), [1, 0, 0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ten_deviations_out_in_single_precision(sign: float) -> None:
    bound = {"low": 10.0} if sign > 0 else {"high": -10.0}
    d = dist.TruncatedNormal(0.0, 1.0, **bound)
    q = np.array([0.01, 0.5, 0.99])
    truth = stats.truncnorm(10.0, np.inf)
    x = sign * truth.ppf(q)
    found = d.icdf(q.astype(np.float32)) if sign > 0 else d.icdf((1 - q).astype(np.float32))
    np.testing.assert_allclose(found, x, rtol=3e-7)
    exact = truth.logpdf(np.abs(x.astype(np.float32).astype(np.float64)))
    np.testing.assert_allclose(d.log_prob(x.astype(np.float32)), exact, atol=2e-5)
    np.testing.assert_allclose(d.mean, sign * truth.mean(), rtol=1e-6)
    # dE x / d bound is the hazard's complement, and each draw moves with its bound by about 1.
    (name,) = bound
    slope = jax.grad(lambda b: dist.TruncatedNormal(**{name: b}).icdf(0.5))(bound[name])
    h = 1e-4
    exact = (stats.truncnorm(10 + h, np.inf).median() - stats.truncnorm(10 - h, np.inf).median()) / (2 * h)
    np.testing.assert_allclose(slope, exact, rtol=1e-4)


def test_draws_without_derivatives_are_not_reparameterised() -> None:
    d = dist.TruncatedDistribution(dist.StudentT(3.0).has_rsample_(False), 0.0)
    assert not d.has_rsample and d.noise_spec is None
    assert dist.TruncatedDistribution(dist.StudentT(3.0), 0.0).has_rsample
    far = dist.TruncatedDistribution(dist.Laplace(0.0, 1.0), 50.0, 51.0)
    assert far.has_rsample and np.all(np.isfinite(far.log_prob(np.float32([50.0, 51.0]))))
    nested = dist.TruncatedDistribution(dist.TruncatedNormal(low=-1.0), high=1.0)
    np.testing.assert_allclose(
        nested.log_prob(0.3), dist.TruncatedNormal(low=-1.0, high=1.0).log_prob(0.3), rtol=1e-6
    )


def test_interval_censoring_in_all_its_cases() -> None:
    base, law = dist.LogNormal(0.2, 0.8), stats.lognorm(0.8, scale=np.exp(0.2))
    left, right = np.array([1, 0, 0, 1, 0]), np.array([0, 1, 0, 1, 0])
    value = np.array([[np.nan, 2.0], [1.5, np.inf], [0.5, 3.0], [0.5, 3.0], [1.2, 1.2]], np.float32)
    d = dist.IntervalCensoredDistribution(base, left, right)
    assert d.batch_shape == (5,) and d.event_shape == (2,) and d.sample(jax.random.key(0)).shape == (5, 2)
    expected = [
        law.logcdf(2.0),
        law.logsf(1.5),
        np.log(law.cdf(3.0) - law.cdf(0.5)),
        np.log(law.cdf(0.5) + law.sf(3.0)),
        law.logpdf(1.2),
    ]
    np.testing.assert_allclose(d.log_prob(value), expected, rtol=1e-5)
    slopes = jax.grad(lambda d: d.log_prob(value).sum())(d)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("kind", [dist.LeftCensoredDistribution, dist.RightCensoredDistribution])
def test_the_branch_that_is_not_taken_has_no_part(kind: Any) -> None:
    censored = np.array([True, False])
    value = jnp.array([40.0, 1.0]) if kind is dist.RightCensoredDistribution else jnp.array([-40.0, 1.0])

    def total(loc: Any, value: Any) -> Any:
        return kind(dist.Normal(loc, 1.0), censored).log_prob(value)

    tail = stats.norm.logsf(40.0)
    np.testing.assert_allclose(total(0.0, value), [tail, stats.norm.logpdf(1.0)], rtol=1e-5)
    slopes = jax.jacobian(total, (0, 1))(0.0, value)
    assert all(np.all(np.isfinite(leaf)) for leaf in slopes)
    positive = kind(dist.LogNormal(0.0, 1.0), censored)
    ends = jax.grad(lambda x: positive.log_prob(x).sum())(jnp.array([1.0, -1.0]))
    assert np.isfinite(ends[0]) and ends[1] == 0
    assert positive.log_prob(jnp.array([1.0, -1.0]))[1] == -np.inf
