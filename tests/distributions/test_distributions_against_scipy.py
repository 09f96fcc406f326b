"""Densities, cumulative functions and moments against SciPy; draws against the densities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_cases import (
    DistCase,
    every_case,
    every_discrete,
    every_noisy,
    every_scalar,
)
from scipy import stats

import svijax.distributions as dist
from svijax.base import ArgumentError, draw_noise


@pytest.fixture
def double(x64: None) -> Iterator[None]:
    yield


def _log_density(case: DistCase, value: Any) -> Any:
    reference = case.reference()
    if case.discrete:
        return reference.logpmf(value)
    return reference.logpdf(value.T if case.family is dist.Dirichlet else value)


@every_case
def test_log_prob_in_double_precision(case: DistCase, double: None) -> None:
    value = case.observations()
    log_prob = case.make().log_prob(value)
    assert log_prob.dtype == np.float64
    np.testing.assert_allclose(log_prob, _log_density(case, value), rtol=1e-10, atol=1e-12)


@every_case
def test_log_prob_in_single_precision(case: DistCase) -> None:
    value = case.observations()
    exact = _log_density(case, value)
    value = value if case.discrete else value.astype(np.float32)
    log_prob = case.make().log_prob(value)
    assert log_prob.dtype == np.float32 and not log_prob.weak_type
    np.testing.assert_allclose(log_prob, exact, rtol=3e-5, atol=3e-5)


@every_scalar
def test_outside_the_support_the_density_is_zero(case: DistCase) -> None:
    support = case.make().support
    for bound, step in ((support.lower, -1.0), (support.upper, 1.0)):
        if bound is not None:
            outside = jnp.float32(np.asarray(bound) + step)
            assert case.make().log_prob(outside) == -np.inf
            assert np.isfinite(jax.grad(lambda x: case.make().log_prob(x))(outside))


@every_discrete
def test_masses_sum_to_one_and_are_zero_outside(case: DistCase, double: None) -> None:
    d = case.make()
    values = np.arange(0, 200)
    np.testing.assert_allclose(np.exp(d.log_prob(values)).sum() if case.family is dist.Poisson else 1.0, 1.0)
    if d.has_enumerate_support:
        support = d.enumerate_support()
        np.testing.assert_allclose(np.exp(d.log_prob(support)).sum(), 1.0, rtol=1e-12)
        assert np.all(d.support(support))
        if case.family is not dist.Bernoulli:
            assert d.log_prob(len(support)) == -np.inf and d.log_prob(-1) == -np.inf


@every_scalar
def test_cdf_and_icdf(case: DistCase, double: None) -> None:
    d, reference = case.make(), case.reference()
    value = case.observations()
    np.testing.assert_allclose(d.cdf(value), reference.cdf(value), rtol=1e-9, atol=1e-12)
    q = np.array([1e-3, 0.2, 0.5, 0.9, 0.999])
    if case.family in (dist.Gamma, dist.Beta, dist.StudentT):
        with pytest.raises(ArgumentError, match=f"{case.family.__name__} has not an icdf"):
            d.icdf(q)
        return
    np.testing.assert_allclose(d.icdf(q), reference.ppf(q), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(d.cdf(d.icdf(q)), q, rtol=1e-9)


@every_discrete
def test_cdf_of_discrete_families(case: DistCase, double: None) -> None:
    d = case.make()
    if case.family is dist.Categorical:
        with pytest.raises(ArgumentError, match="Categorical has not a cdf"):
            d.cdf(0)
        return
    value = np.arange(-1, int(case.reference().ppf(0.9999)) + 2)
    np.testing.assert_allclose(d.cdf(value), case.reference().cdf(value), rtol=1e-8, atol=1e-12)


@every_case
def test_moments_and_entropy(case: DistCase, double: None) -> None:
    d, reference = case.make(), case.reference()
    if case.family in (dist.Cauchy, dist.HalfCauchy):
        with pytest.raises(ArgumentError, match="has not a mean in closed form"):
            _ = d.mean
    elif case.family is dist.MultivariateNormal:
        np.testing.assert_allclose(d.mean, reference.mean, rtol=1e-12)
        np.testing.assert_allclose(d.covariance_matrix, reference.cov, rtol=1e-12)
        np.testing.assert_allclose(d.variance, np.diag(reference.cov), rtol=1e-12)
        np.testing.assert_allclose(d.precision_matrix, np.linalg.inv(reference.cov), rtol=1e-12)
    else:
        np.testing.assert_allclose(d.mean, reference.mean(), rtol=1e-12)
        np.testing.assert_allclose(d.variance, reference.var(), rtol=1e-12)
    if case.family in (dist.Binomial, dist.Poisson):
        with pytest.raises(ArgumentError, match="has not an entropy"):
            d.entropy()
    else:
        np.testing.assert_allclose(d.entropy(), reference.entropy(), rtol=1e-9)


def _ks_p_value(draws: Any, reference: Any) -> float:
    """Kolmogorov and Smirnov's test, its distance taken at 2000 quantiles."""
    q = np.arange(1, 2000) / 2000
    below = np.searchsorted(np.sort(np.asarray(draws, np.float64)), reference.ppf(q), side="right")
    return float(stats.kstwobign.sf(np.sqrt(len(draws)) * np.max(np.abs(below / len(draws) - q))))


@every_scalar
def test_draws_follow_the_density_and_two_per_cent_is_seen(case: DistCase, getkey: Any) -> None:
    key, n = getkey(), 1_000_000
    assert _ks_p_value(case.make().sample(key, (n,)), case.reference()) > 1e-3
    bumped = case.make(**{case.bump: 1.02 * case.params[case.bump]})
    assert _ks_p_value(bumped.sample(key, (n,)), case.reference()) < 1e-3


@every_discrete
def test_counts_follow_the_masses(case: DistCase, getkey: Any) -> None:
    n = 100_000
    draws = np.asarray(case.make().sample(getkey(), (n,)))
    assert draws.min() >= 0
    top = int(case.reference().ppf(1 - 1e-3))
    masses = case.reference().pmf(np.arange(top + 1))
    seen = np.bincount(np.minimum(draws, top + 1), minlength=top + 2)
    expected = n * np.append(masses, max(1 - masses.sum(), 0.0))
    # Cells that expect few draws are put together.
    few = expected < 10
    seen, expected = (np.append(x[~few], x[few].sum()) for x in (seen, expected))
    if expected[-1] == 0:
        assert seen[-1] == 0
        seen, expected = seen[:-1], expected[:-1]
    statistic = np.sum((seen - expected) ** 2 / np.maximum(expected, 1e-9))
    assert stats.chi2(len(seen) - 1).sf(statistic) > 1e-3


def test_vector_draws_have_the_right_moments_and_marginals(getkey: Any) -> None:
    n = 200_000
    c = np.array([0.8, 2.0, 3.0])
    x = np.asarray(dist.Dirichlet(c).sample(getkey(), (n,)), np.float64)
    for i in range(3):
        assert stats.kstest(x[:, i], stats.beta(c[i], c.sum() - c[i]).cdf).pvalue > 1e-3
    sigma = np.array([[2.0, 0.5], [0.5, 1.0]])
    for matrix in ({"covariance_matrix": sigma}, {"precision_matrix": np.linalg.inv(sigma)}):
        y = np.asarray(dist.MultivariateNormal(np.array([1.0, -1.0]), **matrix).sample(getkey(), (n,)))
        whitened = np.linalg.solve(np.linalg.cholesky(sigma), (y - [1.0, -1.0]).T)
        z = np.cov(whitened) - np.eye(2)
        assert np.all(np.abs(z) < 4.5 * np.sqrt(2 / n))
        assert stats.kstest(whitened[1], "norm").pvalue > 1e-3


@every_noisy
def test_the_density_in_terms_of_the_noise(case: DistCase, double: None, getkey: Any) -> None:
    d = case.make()
    noise = draw_noise(getkey(), d.noise_spec, (50,))
    value, log_prob = d.from_noise_with_log_prob(noise)
    np.testing.assert_allclose(value, d.from_noise(noise), rtol=1e-12)
    np.testing.assert_allclose(log_prob, d.log_prob(value), rtol=1e-8, atol=1e-8)
    assert value.shape == d.shape((50,)) and log_prob.shape == (50, *d.batch_shape)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_multivariate_normal_with_batches_on_every_side(
    batch: tuple[int, ...], double: None, getkey: Any
) -> None:
    tril = (
        np.array([[1.0, 0.0], [0.3, 2.0]]) * (1 + np.arange(np.prod(batch)).reshape(batch))[..., None, None]
    )
    loc = np.arange(2 * int(np.prod(batch)), dtype=float).reshape((*batch, 2))
    d = dist.MultivariateNormal(loc, scale_tril=tril)
    for sample_shape in ((), (4,)):
        x = np.asarray(d.sample(getkey(), sample_shape))
        flat = x.reshape((-1, int(np.prod(batch)), 2))
        expected = [
            [
                stats.multivariate_normal(m, t @ t.T).logpdf(v)
                for v, m, t in zip(row, loc.reshape(-1, 2), tril.reshape(-1, 2, 2))
            ]
            for row in flat
        ]
        np.testing.assert_allclose(d.log_prob(x), np.reshape(expected, (*sample_shape, *batch)), rtol=1e-9)
