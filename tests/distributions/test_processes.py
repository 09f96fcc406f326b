"""Walks, copulas and directions: what the table of distributions cannot say."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError


@pytest.mark.parametrize("concentration", [[3.0, -1.0], [0.0, 0.0]])
def test_projected_normal_densities_integrate_to_one(concentration: list[float], x64: None) -> None:
    angle = 2 * np.pi * np.arange(400) / 400
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    total = np.exp(dist.ProjectedNormal(np.array(concentration)).log_prob(x)).mean() * 2 * np.pi
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_projected_normal_far_along_and_against_its_direction() -> None:
    m = np.array([100.0, 0.0, 0.0], np.float32)
    d = dist.ProjectedNormal(m)
    x = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], np.float32)
    # Along: (2 pi)^-1 (1 + 100^2). Against: the moment is 2 / 100^3 to leading order.
    exact = [np.log(10001.0) - np.log(2 * np.pi), -5000 - 1.5 * np.log(2 * np.pi) + np.log(2e-6)]
    np.testing.assert_allclose(d.log_prob(x), exact, rtol=1e-5)
    assert np.all(np.isfinite(jax.jacrev(lambda m: dist.ProjectedNormal(m).log_prob(x))(m)))


def test_von_mises_3d_without_concentration_is_uniform_and_smooth() -> None:
    x = np.array([0.6, 0.0, 0.8], np.float32)
    value, slope = jax.value_and_grad(lambda m: dist.VonMises3D(m).log_prob(x))(jnp.zeros(3))
    np.testing.assert_allclose(value, -np.log(4 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(slope, x, atol=1e-6)


@pytest.mark.parametrize(
    "k1, k2, c", [(30.0, 40.0, 20.0), (1e4, 3e4, 100.0), (50.0, 40.0, 300.0), (2e3, 2e3, 1990.0)]
)
def test_the_norm_of_sharp_sine_densities(k1: float, k2: float, c: float, x64: None) -> None:
    # The angle psi is integrated out by hand, and phi by a very fine sum.
    n = 200_000
    phi = 2 * np.pi * (np.arange(n) + 0.5) / n
    length = np.sqrt(k2**2 + (c * np.sin(phi)) ** 2)
    terms = k1 * np.cos(phi) + np.log(special.ive(0, length)) + length
    log_norm = special.logsumexp(terms) + np.log(4 * np.pi**2 / n)
    log_prob = dist.SineBivariateVonMises(0.0, 0.0, k1, k2, c).log_prob(np.zeros(2))
    np.testing.assert_allclose(log_prob, k1 + k2 - log_norm, rtol=1e-9)


def test_sine_draws_in_batches(getkey: Any) -> None:
    d = dist.SineBivariateVonMises(np.zeros(3), 0.0, np.array([4.0, 100.0, 1e4]), 2.0, 0.1)
    draws = np.asarray(d.sample(getkey(), (5, 2000)))
    assert draws.shape == (5, 2000, 3, 2)
    # With so little dependence phi is a von Mises angle.
    for i, k in enumerate((4.0, 100.0, 1e4)):
        assert stats.kstest(draws[..., i, 0].ravel(), stats.vonmises(k).cdf).pvalue > 1e-3


def test_copula_in_far_tails(x64: None) -> None:
    r = np.array([[1.0, 0.6], [0.6, 1.0]])
    d = dist.GaussianCopula(dist.Normal(np.zeros(2), 1.0), r)
    x = np.array([[30.0, 1.0], [-30.0, -40.0]])
    np.testing.assert_allclose(d.log_prob(x), stats.multivariate_normal(cov=r).logpdf(x), rtol=1e-9)


def test_copula_of_counts_draws_but_has_no_density(getkey: Any) -> None:
    d = dist.GaussianCopula(dist.Normal(np.zeros((4, 2)), 1.0), np.eye(2))
    assert d.batch_shape == (4,) and d.event_shape == (2,) and d.expand((3, 4)).batch_shape == (3, 4)
    with pytest.raises(ArgumentError, match="marginals have none"):
        dist.GaussianCopula(dist.Poisson(np.ones(2)), np.eye(2)).log_prob(np.ones(2))


def test_paths_take_bound_arrays_as_leaves() -> None:
    bound = jax.tree_util.Partial(lambda rate, x, t: (-rate * x, 1.0), jnp.float32(2.0))
    d = dist.EulerMaruyama(np.array([0.0, 0.5]), bound, dist.Normal(0.0, 1.0))
    assert any(leaf is bound.args[0] for leaf in jax.tree.leaves(d))
    slope = jax.grad(lambda d: d.log_prob(np.array([1.0, 2.0], np.float32)))(d).sde_fn.args[0]
    # log N(2; 1 - rate / 2, 1/2) has derivative -(2 - 1 + rate / 2) in the rate.
    np.testing.assert_allclose(slope, -2.0, rtol=1e-6)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: dist.GaussianRandomWalk(1.0, 0), ArgumentError, "num_steps is a positive integer"),
        (lambda: dist.GaussianStateSpace(3, np.eye(2), np.eye(3)), ArgumentError, "noise of 3 entries"),
        (
            lambda: dist.GaussianStateSpace(3, np.eye(2)),
            ArgumentError,
            "GaussianStateSpace needs exactly one",
        ),
        (lambda: dist.ProjectedNormal(np.zeros(1)), ShapeError, "at least 2 entries"),
        (lambda: dist.VonMises3D(np.zeros(2)), ShapeError, "3 entries"),
        (lambda: dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0), ArgumentError, "exactly one of correlation"),
        (
            lambda: dist.SineSkewed(dist.Uniform(-3.0, 3.0), np.array([0.1])),
            ShapeError,
            "one skewness for each angle",
        ),
        (
            lambda: dist.SineSkewed(dist.Uniform(-3.0, 3.0).expand((2,)).to_event(1), np.array([0.8, 0.8])),
            ParameterError,
            "l1_ball",
        ),
        (
            lambda: dist.GaussianCopula(dist.Normal(0.0, 1.0), np.array([[2.0, 0.0], [0.0, 1.0]])),
            ParameterError,
            "'correlation_matrix'",
        ),
        (lambda: dist.EulerMaruyama(np.zeros(3), None, dist.Normal(0.0, 1.0)), ParameterError, "'t'"),
    ],
)
def test_misuse_is_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
