"""What wrappers forward, and what a mask keeps out wherever it stands."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import svijax.distributions as dist
from svijax import transforms
from svijax.base import ArgumentError


@pytest.mark.parametrize(
    "name", ["cdf", "log_cdf", "survival_function", "log_survival_function", "icdf", "_isf"]
)
def test_masked_and_expanded_have_the_functions_of_their_base(name: str) -> None:
    base = dist.Normal(0.3, 2.0)
    x = jnp.float32(0.25)
    masked = base.mask(np.array([True, False]))
    expanded = dist.ExpandedDistribution(base, (3, 2))
    np.testing.assert_allclose(getattr(masked, name)(x), np.full(2, getattr(base, name)(x)), rtol=1e-6)
    assert getattr(expanded, name)(x).shape == (3, 2)
    np.testing.assert_allclose(getattr(expanded, name)(x), getattr(base, name)(x), rtol=1e-6)


def test_entropy_of_what_is_masked_or_independent() -> None:
    base = dist.Normal(np.zeros(3), 2.0)
    one = float(stats.norm(0, 2).entropy())
    mask = np.array([True, False, True])
    np.testing.assert_allclose(base.mask(mask).entropy(), one * mask, rtol=1e-6)
    np.testing.assert_allclose(base.mask(mask).to_event(1).entropy(), 2 * one, rtol=1e-6)
    np.testing.assert_allclose(
        dist.ExpandedDistribution(base, (2, 3)).entropy(), np.full((2, 3), one), rtol=1e-6
    )


def test_independent_counts_are_not_enumerated() -> None:
    with pytest.raises(ArgumentError, match=r"all combinations(.|\n)*before to_event"):
        dist.Bernoulli(np.full(2, 0.5)).to_event(1).enumerate_support()


def test_images_under_linear_maps_have_moments_and_entropy() -> None:
    tril = np.array([[2.0, 0.0], [1.0, 0.5]], np.float32)
    base = dist.Normal(np.array([1.0, 2.0], np.float32), 1.0).to_event(1)
    d = dist.TransformedDistribution(base, transforms.LowerCholeskyAffine(np.zeros(2, np.float32), tril))
    np.testing.assert_allclose(d.mean, tril @ [1.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(
        d.entropy(), stats.multivariate_normal(np.zeros(2), tril @ tril.T).entropy(), rtol=1e-6
    )
    with pytest.raises(ArgumentError, match="has not a variance"):
        _ = d.variance
    twice = dist.TransformedDistribution(
        dist.Normal(np.zeros(2, np.float32), 3.0),
        [transforms.AffineTransform(1.0, -2.0), transforms.IdentityTransform()],
    )
    np.testing.assert_allclose(twice.mean, [1.0, 1.0])
    np.testing.assert_allclose(twice.variance, [36.0, 36.0])
    np.testing.assert_allclose(twice.entropy(), np.full(2, stats.norm(0, 6).entropy()), rtol=1e-6)


def test_decreasing_images_keep_their_tails() -> None:
    flipped = dist.TransformedDistribution(dist.Normal(0.0, 1.0), transforms.AffineTransform(0.0, -1.0))
    np.testing.assert_allclose(flipped.cdf(-8.0), stats.norm.cdf(-8.0), rtol=1e-4)
    np.testing.assert_allclose(flipped.log_survival_function(20.0), stats.norm.logsf(20.0), rtol=1e-5)
    np.testing.assert_allclose(flipped.icdf(1e-20), stats.norm.ppf(1e-20), rtol=1e-5)
    mixed = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), transforms.AffineTransform(0.0, jnp.array([1.0, -1.0]))
    )
    np.testing.assert_allclose(mixed.cdf(-8.0), np.full(2, stats.norm.cdf(-8.0)), rtol=1e-4)


def test_images_outside_their_codomain() -> None:
    d = dist.TransformedDistribution(dist.Normal(np.zeros(2), 1.0).to_event(1), transforms.ExpTransform())
    value = jnp.array([[1.0, 2.0], [1.0, -1.0]])
    result = d.log_prob(value)
    np.testing.assert_allclose(result[0], stats.lognorm(1.0).logpdf([1.0, 2.0]).sum(), rtol=1e-5)
    assert result[1] == -np.inf
    assert np.all(np.isfinite(jax.grad(lambda x: d.log_prob(x)[0])(value)))


def _masked_mixture(mask: Any) -> Any:
    mixing = dist.Categorical(np.full(2, 0.5, np.float32))
    return dist.Mixture(mixing, dist.LogNormal(jnp.zeros((2, 2)), 1.0)).mask(mask).to_event(1)


def _masked_truncation(mask: Any) -> Any:
    return dist.TruncatedNormal(jnp.zeros(2), 1.0, low=0.0).mask(mask).to_event(1)


def _masked_image(mask: Any) -> Any:
    return (
        dist.TransformedDistribution(dist.Normal(jnp.zeros(2), 1.0), transforms.ExpTransform())
        .mask(mask)
        .to_event(1)
    )


def _masked_hurdle(mask: Any) -> Any:
    return dist.HurdleGamma(jnp.full(2, 0.3), 2.0).mask(mask).to_event(1)


@pytest.mark.parametrize("make", [_masked_mixture, _masked_truncation, _masked_image, _masked_hurdle])
@pytest.mark.parametrize("bad", [np.nan, -np.inf, -3.0])
def test_masked_entries_have_no_part_inside_compositions(make: Any, bad: float) -> None:
    d = make(np.array([True, False]))
    value = jnp.array([0.7, bad])
    result, slopes = jax.value_and_grad(lambda x: d.log_prob(x))(value)
    alone = make(np.array([True, True])).base_dist.base_dist.log_prob(jnp.array([0.7, 0.7]))[0]
    np.testing.assert_allclose(result, alone, rtol=1e-6)
    assert np.isfinite(slopes[0]) and slopes[1] == 0
