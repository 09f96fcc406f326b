"""Zero inflation and hurdles: gates at their ends, bases of few or many zeros."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError


@pytest.mark.slow
def test_gates_of_zero_and_one() -> None:
    def log_prob(gate: Any, k: Any, rate: Any = 2.0) -> Any:
        return dist.ZeroInflatedPoisson(gate, rate).log_prob(k)

    np.testing.assert_allclose(
        log_prob(0.0, np.arange(4)), stats.poisson(2.0).logpmf(np.arange(4)), rtol=1e-6
    )
    np.testing.assert_allclose(jax.grad(log_prob)(0.0, 0), np.expm1(2.0), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(log_prob)(1.0, 0), -np.expm1(-2.0), rtol=1e-5)
    # The mass of the base underflows.
    np.testing.assert_allclose(log_prob(0.0, 0, 500.0), -500.0, rtol=1e-6)
    np.testing.assert_allclose(log_prob(0.25, 0, 500.0), np.log(0.25), rtol=1e-6)
    assert np.isfinite(jax.grad(log_prob, 2)(0.0, 0, 500.0))
    assert log_prob(1.0, 0) == 0 and log_prob(1.0, 3) == -np.inf
    both = jax.grad(lambda g: dist.HurdlePoisson(g, 2.0).log_prob(np.array([0, 1])).sum())(0.3)
    np.testing.assert_allclose(both, 1 / 0.3 - 1 / 0.7, rtol=1e-5)
    assert jax.grad(lambda g: dist.HurdlePoisson(g, 2.0).log_prob(1))(0.0) == -1


def test_gates_by_logit_far_out() -> None:
    d = dist.ZeroInflatedLogits(dist.Poisson(2.0), np.array([-200.0, 200.0]))
    np.testing.assert_allclose(d.log_prob(0), [-2.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(d.log_prob(1), [np.log(2.0) - 2.0, np.log(2.0) - 202.0], rtol=1e-6)
    np.testing.assert_allclose(
        dist.ZeroInflatedProbs(dist.Poisson(2.0), 0.25).gate_logits, np.log(1 / 3), rtol=1e-6
    )
    np.testing.assert_allclose(dist.HurdleLogits(dist.Poisson(2.0), 0.0).gate, 0.5)
    assert dist.ZeroInflatedPoisson(0.3, np.ones(2)).rate.shape == (2,)


@pytest.mark.parametrize("base", [dist.Poisson(1e-5), dist.NegativeBinomial2(0.05, 1.0), dist.Poisson(0.0)])
def test_what_passes_a_hurdle_is_not_zero(base: Any, getkey: Any) -> None:
    d = dist.HurdleDistribution(base, gate=0.25)
    draws = np.asarray(d.sample(getkey(), (2000,)))
    hopeless = float(base.mean) == 0 and not isinstance(base, dist.Poisson)
    assert hopeless or abs((draws == 0).mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / 2000)


def test_few_zeros_keep_their_digits() -> None:
    d = dist.HurdlePoisson(0.5, np.float32(1e-6))
    exact = np.log(0.5) + stats.poisson(1e-6).logpmf(1) - np.log(-np.expm1(-1e-6))
    np.testing.assert_allclose(d.log_prob(1), exact, rtol=1e-5)


def test_continuous_draws_pass_a_hurdle_or_are_zero(getkey: Any) -> None:
    d = dist.HurdleGamma(0.3, 2.0, 1.5)
    assert not d.has_rsample and not d.is_discrete and d.support(0.0) and not d.support(-1.0)
    draws = np.asarray(d.sample(getkey(), (20_000,)), np.float64)
    zero = draws == 0
    assert abs(zero.mean() - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / 20_000)
    assert stats.kstest(draws[~zero], stats.gamma(2.0, scale=1 / 1.5).cdf).pvalue > 1e-3
    assert (
        jax.grad(lambda rate: dist.HurdleGamma(0.3, 2.0, rate).sample(jax.random.key(0), (9,)).sum())(1.5)
        == 0
    )


def test_enumeration() -> None:
    d = dist.ZeroInflatedDistribution(dist.Bernoulli(jnp.array([0.2, 0.5])), gate=0.3)
    assert d.has_enumerate_support and d.enumerate_support().shape == (2, 2)
    np.testing.assert_allclose(np.exp(d.log_prob(d.enumerate_support())).sum(0), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (
            lambda: dist.ZeroInflatedDistribution(dist.Poisson(1.0)),
            ArgumentError,
            "exactly one of gate, gate_logits",
        ),
        (
            lambda: dist.ZeroInflatedProbs(dist.Normal(), 0.3),
            ArgumentError,
            "HurdleDistribution takes continuous",
        ),
        (lambda: dist.HurdleProbs(dist.Poisson(1.0), 1.5), ParameterError, "'gate'"),
        (lambda: dist.HurdleProbs(dist.Dirichlet(np.ones(2)), 0.5), ShapeError, "single numbers"),
    ],
)
def test_misuse_is_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
