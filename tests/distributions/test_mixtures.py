"""Mixtures: derivatives in the weights, components that do not count, which draws are reparameterised."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ShapeError
from svijax.transforms import constraints

LOC, SCALE = jnp.array([-1.0, 0.0, 3.0]), jnp.array([0.5, 1.0, 0.7])
NEAR = jnp.array([-1.0, 0.0, 1.5])


def _scalar(logits: Any) -> Any:
    return dist.Mixture(dist.Categorical(logits=logits), dist.Normal(LOC, SCALE))


def _several(logits: Any) -> Any:
    parts = [dist.Normal(LOC[k], SCALE[k]) if k else dist.Logistic(LOC[k], 0.3) for k in range(3)]
    return dist.Mixture(dist.Categorical(logits=logits), parts)


def _product(logits: Any) -> Any:
    loc = jnp.stack([NEAR, 1.0 - NEAR, 0.5 * NEAR], axis=-1)
    return dist.Mixture(dist.Categorical(logits=logits), dist.Normal(loc, 0.8).to_event(1))


@pytest.mark.parametrize("make", [_scalar, _several, _product])
def test_derivatives_in_the_logits_are_unbiased_and_two_per_cent_is_seen(make: Any, getkey: Any) -> None:
    key, n = getkey(), 200_000
    logits, along = jnp.array([0.2, -0.3, 0.1]), jnp.array([-1.0, 0.0, 1.0])
    _, slopes = jax.jvp(lambda x: make(x).sample(key, (n,)), (logits,), (along,))
    _, exact = jax.jvp(lambda x: make(x).mean, (logits,), (along,))
    slopes = np.asarray(slopes, np.float64).reshape((n, -1))
    error = slopes.std(0) / np.sqrt(n)
    exact = np.asarray(exact).reshape(-1)
    assert np.all(np.abs(slopes.mean(0) - exact) < 4.5 * error)
    assert np.all(np.abs(slopes.mean(0) - 1.02 * exact) > 4.5 * error)


def test_the_order_of_entries_does_not_hide_their_dependence(getkey: Any) -> None:
    # E x_0 x_1 moves through both entries: a product of separate marginal reparameterisations would miss it.
    key, n = getkey(), 200_000
    logits, along = jnp.array([0.2, -0.3, 0.1]), jnp.array([-1.0, 0.0, 1.0])

    def moment(x: Any) -> Any:
        draws = _product(x).sample(key, (n,))
        return draws[:, 0] * draws[:, 1]

    def exact(x: Any) -> Any:
        return jnp.sum(jax.nn.softmax(x) * NEAR * (1 - NEAR))

    slopes = np.asarray(jax.jvp(moment, (logits,), (along,))[1], np.float64)
    truth = float(jax.jvp(exact, (logits,), (along,))[1])
    error = slopes.std() / np.sqrt(n)
    assert abs(slopes.mean() - truth) < 4.5 * error < 0.04 * abs(truth)


def test_weights_and_densities_of_zero_have_no_nan() -> None:
    weights = jnp.array([0.0, 0.6, 0.4])

    def log_prob(w: Any, x: Any) -> Any:
        return dist.Mixture(dist.Categorical(w), dist.Normal(LOC, SCALE)).log_prob(x)

    for x in (0.3, 40.0, -1.0):
        density = stats.norm(np.asarray(LOC), np.asarray(SCALE)).logpdf(x)
        total = np.log(np.exp(density - density[1:].max()) @ np.asarray(weights)) + density[1:].max()
        found, slope = jax.value_and_grad(log_prob)(weights, x)
        np.testing.assert_allclose(found, total, rtol=1e-5)
        np.testing.assert_allclose(slope, np.exp(density - total), rtol=1e-4, atol=1e-30)
    halves = dist.Mixture(
        dist.Categorical(jnp.array([0.5, 0.5])), dist.Uniform(jnp.zeros(2), jnp.array([1.0, 2.0]))
    )
    assert halves.log_prob(3.0) == -np.inf
    slopes = jax.grad(lambda d: d.log_prob(3.0))(halves)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(slopes))
    slopes = jax.grad(lambda d: d.log_prob(1.5))(halves)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    np.testing.assert_allclose(halves.log_prob(1.5), np.log(0.25), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "component, pathwise",
    [
        (dist.Normal(np.arange(2.0), 1.0), True),
        (dist.Normal(np.arange(6.0).reshape((2, 3)), 1.0).to_event(1), True),
        (dist.LogNormal(np.arange(2.0), 1.0), True),
        (dist.Uniform(np.zeros(2), 1.0), False),  # its ends move: a gap between components would bias
        (dist.Gamma(np.array([1.0, 2.0]), 1.0), True),
        (dist.MultivariateNormal(np.zeros((2, 3)), np.eye(3)), False),
        (dist.Normal(np.zeros(2), 1.0).has_rsample_(False), False),
    ],
)
def test_which_mixtures_are_reparameterised(component: Any, pathwise: bool, getkey: Any) -> None:
    key = getkey()
    d = dist.MixtureSameFamily(dist.Categorical(np.array([0.5, 0.5], np.float32)), component)
    assert d.has_rsample == pathwise and d.noise_spec is None
    slopes = jax.grad(lambda d: jnp.sum(d.sample(key, (10,))))(d)
    moved = [bool(np.any(np.asarray(leaf) != 0)) for leaf in jax.tree.leaves(slopes)]
    assert all(moved) if pathwise else not any(moved)


def test_supports_of_several_families() -> None:
    mixing = dist.Categorical(np.array([0.5, 0.5]))
    parts = [dist.Normal(0.0, 1.0), dist.LogNormal(0.0, 1.0)]
    with pytest.raises(ArgumentError, match="pass support="):
        dist.Mixture(mixing, parts)
    d = dist.MixtureGeneral(mixing, parts, support=constraints.real)
    assert d.support == constraints.real and d.has_rsample
    np.testing.assert_allclose(d.log_prob(-1.0), np.log(0.5) + stats.norm.logpdf(-1.0), rtol=1e-6)
    wide = dist.MixtureSameFamily(mixing, dist.Uniform(np.array([0.0, 2.0]), np.array([1.0, 5.0])))
    assert wide.support == constraints.interval(np.float32(0), np.float32(5))
    both = dist.MixtureGeneral(mixing, [dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)])
    assert both.support == constraints.real and type(dist.Mixture(mixing, both._components)) is type(both)


def test_shapes_and_misuse() -> None:
    d = dist.Mixture(dist.Categorical(np.full((4, 1, 3), 1 / 3)), dist.Normal(np.zeros((2, 3)), 1.0))
    assert d.batch_shape == (4, 2) and d.mixture_size == 3 and d.mixture_dim == -1
    assert d.component_log_probs(0.0).shape == (4, 2, 3) and d.component_mean.shape == (4, 2, 3)
    assert d.component_sample(jax.random.key(0), (5,)).shape == (5, 4, 2, 3)
    np.testing.assert_allclose(
        jax.nn.logsumexp(d.component_log_probs(0.3), axis=-1), d.log_prob(0.3), rtol=1e-6
    )
    with pytest.raises(ShapeError, match="expected: 3 components"):
        dist.Mixture(dist.Categorical(np.full(3, 1 / 3)), dist.Normal(np.zeros(2), 1.0))
    with pytest.raises(ShapeError, match="2 of event shapes"):
        dist.Mixture(dist.Categorical(np.full(3, 1 / 3)), [dist.Normal(), dist.Normal()])
    with pytest.raises(ArgumentError, match="is a Categorical"):
        dist.Mixture(dist.Normal(), dist.Normal(np.zeros(2)))


def test_masked_mixture(getkey: Any) -> None:
    mask = np.array([True, False, True])
    d = dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), dist.Normal(10.0, jnp.float32(0.1)))
    assert d.batch_shape == (3,) and d.has_rsample and d.expand((2, 3)).batch_shape == (2, 3)
    np.testing.assert_allclose(d.mean, [10.0, 0.0, 10.0])
    draws = np.asarray(d.sample(getkey(), (1000,)))
    np.testing.assert_allclose(draws.mean(0), d.mean, atol=0.2)
    value = jnp.array([9.9, 0.3, 10.2])
    np.testing.assert_allclose(
        d.log_prob(value), stats.norm([10.0, 0.0, 10.0], [0.1, 1.0, 0.1]).logpdf(value), rtol=1e-4
    )
    positive = dist.MaskedMixture(mask, dist.Normal(0.0, 1.0), dist.LogNormal(0.0, 1.0))
    slopes = jax.grad(lambda x: positive.log_prob(x).sum())(jnp.array([1.0, -1.0, 1.0]))
    np.testing.assert_allclose(slopes, [-1.0, 1.0, -1.0], atol=1e-6)
    with pytest.raises(ShapeError, match="do not broadcast"):
        dist.MaskedMixture(mask, dist.Normal(np.zeros(2), 1.0), dist.Normal())


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: dist.MixtureOfDiagNormals(np.zeros(2), np.ones((2, 2)), np.zeros(2)),
            "MixtureOfDiagNormals: parameter 'locs' needs at least 2 axes.\n  got:      shape .2,.",
        ),
        (
            lambda: dist.MixtureOfDiagNormals(np.zeros((2, 2)), np.ones(2), np.zeros(2)),
            "MixtureOfDiagNormals: parameter 'coord_scale' needs at least 2 axes",
        ),
        (
            lambda: dist.MixtureOfDiagNormalsSharedCovariance(np.zeros((2, 2)), 1.0, np.zeros(2)),
            "SharedCovariance: parameter 'coord_scale' needs at least 1 axis",
        ),
        (
            lambda: dist.GaussianScaleMixture(np.ones(2), np.zeros(3), 1.0),
            "GaussianScaleMixture: parameter 'component_scale' needs at least 1 axis",
        ),
    ],
)
def test_mixtures_of_normals_name_the_parameter_that_lacks_an_axis(make: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        make()


def test_mixtures_of_normals_need_a_component_for_each_logit() -> None:
    with pytest.raises(
        ShapeError, match=r"expected: 2 components\n  got:      Independent of batch_shape \(3,\)"
    ):
        dist.MixtureOfDiagNormals(np.zeros((3, 2)), np.ones((3, 2)), np.zeros(2))
