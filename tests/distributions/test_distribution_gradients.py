"""Derivatives: pathwise ones against exact answers, and finite ones at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.distributions as dist
from svijax.base import log_beta
from svijax.transforms import constraints


@pytest.fixture
def double(x64: None) -> Iterator[None]:
    yield


def _z(slopes: Any, exact: float) -> float:
    slopes = np.asarray(slopes, np.float64)
    return float(abs(slopes.mean() - exact) / (slopes.std(ddof=1) / math.sqrt(slopes.size)))


# family, its parameters, the one that moves, f, and d/dp E f(X) in closed form
PATHWISE: dict[str, tuple[Callable[..., Any], Any, Callable[[Any], Any], float]] = {
    "gamma": (lambda c: dist.Gamma(c, 2.0), 1.7, lambda x: x, 1 / 2),
    "gamma_small": (lambda c: dist.Gamma(c, 1.0), 0.2, lambda x: x, 1.0),
    "beta": (lambda a: dist.Beta(a, 3.0), 2.0, lambda x: x, 3.0 / 25),
    "beta_other": (lambda b: dist.Beta(0.5, b), 0.7, lambda x: x, -0.5 / 1.2**2),
    "student_t": (lambda df: dist.StudentT(df), 12.0, lambda x: x**2, -2 / 10**2),
    "student_t_scale": (lambda s: dist.StudentT(12.0, 0.0, s), 2.0, lambda x: x**2, 2 * 2.0 * 12 / 10),
    "dirichlet": (
        lambda c: dist.Dirichlet(jnp.stack([c, jnp.ones_like(c), 2 * jnp.ones_like(c)])),
        1.5,
        lambda x: x[..., 0],
        3.0 / 4.5**2,
    ),
}


@pytest.mark.parametrize("name", PATHWISE)
def test_pathwise_gradients_are_unbiased_and_two_per_cent_is_seen(name: str, getkey: Any) -> None:
    family, at, f, exact = PATHWISE[name]
    key = getkey()
    _, slopes = jax.jvp(lambda p: f(family(p).sample(key, (100_000,))), (jnp.float32(at),), (jnp.float32(1),))
    assert np.all(np.isfinite(slopes))
    assert _z(slopes, exact) < 4.5
    if name in ("gamma", "beta", "dirichlet"):
        assert _z(slopes, 1.02 * exact) > 4.5


@pytest.mark.parametrize("concentration", [1e-3, 1e-2, 1.0, 1e6])
def test_draws_and_their_gradients_are_finite_at_any_concentration(concentration: float, getkey: Any) -> None:
    key = getkey()
    families: list[Callable[[Any], Any]] = [
        lambda c: dist.Gamma(c, 1.0),
        lambda c: dist.Beta(c, c),
        lambda c: dist.Dirichlet(jnp.stack([c, c, c])),
        lambda c: dist.StudentT(c),
    ]
    for family in families:

        def draw_and_density(c: Any, family: Any = family) -> Any:
            d = family(c)
            x = d.sample(key, (200,))
            return x, d.log_prob(x)

        (x, log_prob), (dx, _) = jax.jvp(draw_and_density, (concentration,), (1.0,))
        assert np.all(np.isfinite(x)) and np.all(np.isfinite(dx)) and np.all(np.isfinite(log_prob))


@pytest.mark.parametrize(
    "family, params, value",
    [
        (dist.Gamma, {"concentration": 1.0, "rate": 2.0}, 0.0),
        (dist.Exponential, {"rate": 2.0}, 0.0),
        (dist.Beta, {"concentration1": 1.0, "concentration0": 1.0}, 0.0),
        (dist.Beta, {"concentration1": 1.0, "concentration0": 1.0}, 1.0),
        (dist.Beta, {"concentration1": 3.0, "concentration0": 1.0}, 1.0),
        (dist.HalfNormal, {"scale": 2.0}, 0.0),
        (dist.HalfCauchy, {"scale": 2.0}, 0.0),
        (dist.Uniform, {"low": 0.0, "high": 2.0}, 0.0),
        (dist.Bernoulli, {"probs": 0.0}, 0.0),
        (dist.Bernoulli, {"probs": 1.0}, 1.0),
        (dist.Binomial, {"total_count": 3, "probs": 0.0}, 0.0),
        (dist.Binomial, {"total_count": 3, "probs": 1.0}, 3.0),
        (dist.Poisson, {"rate": 0.0}, 0.0),
        (dist.Categorical, {"probs": np.array([0.0, 1.0])}, 1),
        (dist.Cauchy, {"loc": 0.0, "scale": 1.0}, 1e30),
        (dist.StudentT, {"df": 3.0}, 1e30),
    ],
)
def test_densities_and_gradients_are_finite_at_the_edges(family: Any, params: Any, value: Any) -> None:
    floating = {name: jnp.float32(p) for name, p in params.items() if name != "total_count"}
    counts = {name: p for name, p in params.items() if name == "total_count"}

    def log_prob(p: Any, x: Any) -> Any:
        return family(**p, **counts).log_prob(x)

    result = log_prob(floating, value)
    slopes = [jax.grad(log_prob)(floating, value)]
    if not isinstance(value, int):
        slopes.append(jax.grad(log_prob, 1)(floating, jnp.float32(value)))
    assert np.isfinite(result) and not np.isnan(result)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))


def test_gradient_in_the_concentration_is_right_at_one(double: None) -> None:
    # x log y with a guard on x alone would lose this derivative.
    slope = jax.grad(lambda c: dist.Gamma(c, 1.0).log_prob(0.3))(1.0)
    np.testing.assert_allclose(slope, math.log(0.3) + np.euler_gamma, rtol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1.0, 20.0, 88.0, 1e4])
def test_bernoulli_logits_are_exact_far_out(size: float) -> None:
    exact = {0: -np.logaddexp(0.0, size), 1: -np.logaddexp(0.0, -size)}
    for value, expected in exact.items():
        # Integers keep the relative precision of the tails; a float is linear in the logit, to rounding.
        for kind, least in ((int, 1e-37), (float, 1.2e-7 * max(size, 1.0))):
            log_prob = dist.Bernoulli(logits=size).log_prob(jnp.asarray(kind(value)))
            np.testing.assert_allclose(log_prob, expected, rtol=3e-7, atol=least)
            slope = jax.grad(lambda x: dist.Bernoulli(logits=x).log_prob(kind(value)))(size)  # noqa: B023
            np.testing.assert_allclose(slope, value - 1 / (1 + np.exp(-size)), rtol=1e-6, atol=1e-7)


def test_bernoulli_between_its_values_is_linear_with_right_curvature() -> None:
    d = dist.Bernoulli(logits=1.5)
    ends = d.log_prob(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(d.log_prob(0.3), 0.7 * ends[0] + 0.3 * ends[1], rtol=1e-5)
    curvature = jax.hessian(lambda x: dist.Bernoulli(logits=x).log_prob(1.0))(0.0)
    np.testing.assert_allclose(curvature, -0.25, rtol=1e-6)


def test_large_parameters_keep_their_digits_in_single_precision() -> None:
    from scipy import stats

    for df in (1e3, 1e6):
        np.testing.assert_allclose(dist.StudentT(df).log_prob(0.3), stats.t(df).logpdf(0.3), atol=2e-6)
    a = 1e5
    np.testing.assert_allclose(
        dist.Beta(a, 2 * a).log_prob(0.33333), stats.beta(a, 2 * a).logpdf(0.33333), atol=0.1
    )
    np.testing.assert_allclose(log_beta(jnp.float32(1e6), 0.5), -6.335389645, rtol=1e-6)


def test_declared_not_reparameterised(getkey: Any) -> None:
    key = getkey()

    def draw(loc: Any, flag: bool) -> Any:
        d = dist.Normal(loc, 1.0)
        return (d if flag else d.has_rsample_(False)).sample(key)

    assert draw(1.0, True) == draw(1.0, False)
    assert jax.grad(draw)(1.0, True) == 1.0 and jax.grad(draw)(1.0, False) == 0.0
    d = dist.Normal(np.zeros(3), 1.0).has_rsample_(False)
    assert isinstance(d, dist.Normal) and not d.has_rsample and d.noise_spec is None
    wrapped = d.to_event(1).mask(True)
    assert not wrapped.has_rsample and wrapped.noise_spec is None
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(d)))
    assert not again.has_rsample and again.has_rsample_(True).has_rsample
    np.testing.assert_allclose(d.log_prob(0.5), dist.Normal(np.zeros(3), 1.0).log_prob(0.5))
    moved = dist.Normal(0.0, 1.0).has_rsample_(False).expand((2,))
    assert not moved.has_rsample and moved.batch_shape == (2,)


def test_masked_entries_have_neither_value_nor_gradient() -> None:
    mask = np.array([True, False, False, False])
    value = jnp.array([0.5, jnp.nan, -jnp.inf, -3.0])
    for family, scale in ((dist.Normal, 2.0), (dist.HalfNormal, 2.0)):

        def total(scale: Any, value: Any, family: Any = family) -> Any:
            d = family(scale=jnp.broadcast_to(scale, (4,)))
            assert np.shape(dist.masked_log_prob(d, value, mask)) == (4,)
            return jnp.sum(d.mask(mask).log_prob(value))

        result, slopes = jax.value_and_grad(total, (0, 1))(scale, value)
        alone = jax.value_and_grad(lambda s: family(scale=s).log_prob(0.5))(scale)  # noqa: B023
        np.testing.assert_allclose([result, slopes[0]], alone, rtol=1e-6)
        assert slopes[1][0] != 0 and np.all(slopes[1][1:] == 0)


def test_masks_of_events_scalars_and_nothing() -> None:
    d = dist.Dirichlet(np.ones((3, 2)))
    value = jnp.array([[0.5, 0.5], [jnp.nan, 2.0], [0.2, 0.8]])
    np.testing.assert_allclose(
        d.mask(np.array([True, False, False])).log_prob(value), [0.0, 0.0, 0.0], atol=1e-6
    )
    assert np.all(dist.Normal(0.0, 1.0).mask(False).log_prob(jnp.full(3, jnp.nan)) == np.zeros(3))
    assert np.all(dist.Normal(0.0, 1.0).mask(True).log_prob(0.0) == dist.Normal(0.0, 1.0).log_prob(0.0))
    assert dist.Normal(np.zeros(2), 1.0).mask(False).log_prob(0.0).shape == (2,)
    ranges = dist.Uniform(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(
        dist.masked_log_prob(ranges, 7.0, np.array([False, False, True])), [0, 0, -np.inf]
    )
    assert dist.masked_log_prob(ranges, 0.5, None).shape == (3,)
    spread = dist.Normal(0.0, 1.0).mask(np.array([True, False]))
    assert spread.batch_shape == (2,) and constraints.real == spread.support
