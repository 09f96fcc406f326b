"""Bijections with parameters and networks: what the table of bijections does not say of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.distributions as dist
import svijax.transforms as T
from svijax.transforms import constraints as C


def test_planar_turns_any_direction_into_a_bijection() -> None:
    # w u is far below -1, where x + u tanh(w x + b) alone would fold.
    t = T.Planar(0.2, np.array([-3.0, 1.0]), np.array([2.0, 0.5]))
    x = jax.random.normal(jax.random.key(0), (50, 2))
    y, log_det = t.call_with_log_det(x)
    np.testing.assert_allclose(t.inv(y), x, rtol=1e-3, atol=1e-4)
    assert np.all(np.isfinite(log_det))
    v = t._direction()[0]
    np.testing.assert_allclose(y, x + v * jnp.tanh(x @ t.w + 0.2)[:, None], rtol=1e-5)
    np.testing.assert_allclose(jnp.dot(t.w, v), jnp.logaddexp(0.0, -5.5) - 1, rtol=1e-5)


def test_derivatives_of_the_inverse_of_planar_reach_its_parameters(x64: None) -> None:
    y = jnp.array([0.3, -1.0])

    def back(bias: Any) -> Any:
        return T.Planar(bias, np.array([1.0, 0.5]), np.array([0.7, -0.4])).inv(y)

    step = 1e-5
    expected = (back(0.2 + step) - back(0.2 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jacobian(back)(0.2), expected, rtol=1e-6)


def test_radial_is_smooth_at_its_centre() -> None:
    t = T.Radial(np.zeros(2), 0.0, 1.0)
    slope = jax.jacobian(t)(jnp.zeros(2))
    np.testing.assert_allclose(slope, np.eye(2) * np.log1p(np.e) / np.log(2.0), rtol=1e-5)
    np.testing.assert_allclose(
        t.log_abs_det_jacobian(jnp.zeros(2), jnp.zeros(2)), np.linalg.slogdet(slope)[1], rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("lambdas", [None, np.zeros(5)], ids=["quadratic", "linear"])
def test_splines_are_the_identity_outside_and_increase_inside(lambdas: Any) -> None:
    logits = np.sin(np.arange(5.0)) * 3
    t = T.Spline(logits, logits[::-1], logits[:4], lambdas, bound=2.0)
    x = jnp.linspace(-4.0, 4.0, 401)
    y, log_det = t.call_with_log_det(x)
    outside = np.abs(x) > 2.0
    np.testing.assert_array_equal(y[outside], x[outside])
    np.testing.assert_array_equal(log_det[outside], 0.0)
    assert np.all(np.diff(y) > 0) and np.abs(y - x).max() > 0.3
    np.testing.assert_allclose(t.inv(y), x, atol=2e-4)
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(t(x)))(jnp.array([-80.0, -2.0, 2.0, 80.0]))))


def test_clipped_log_scales_keep_their_derivatives() -> None:
    def log_det(raw: Any) -> Any:
        t = T.InverseAutoregressiveTransform(lambda x: (0.0 * x, raw + 0.0 * x), -1.0, 2.0)
        return t.call_with_log_det(jnp.ones(2))[1]

    np.testing.assert_allclose([log_det(-9.0), log_det(0.5), log_det(9.0)], [-2.0, 1.0, 4.0])
    np.testing.assert_allclose(jax.grad(log_det)(9.0), 2.0)


def test_householder_turns_and_keeps_lengths() -> None:
    t = T.Householder(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    np.testing.assert_allclose(t(jnp.array([1.0, 2.0, 3.0])), [-1.0, -2.0, 3.0])
    batch = T.Householder(jax.random.normal(jax.random.key(1), (5, 2, 3)))
    x = jnp.array([1.0, 2.0, 3.0])
    assert batch(x).shape == batch.forward_shape((3,)) == (5, 3)
    np.testing.assert_allclose(jnp.linalg.norm(batch(x), axis=-1), np.sqrt(14.0), rtol=1e-6)


def test_recursion_by_hand() -> None:
    t = T.RecursiveLinearTransform(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([0.0, 1.0]))
    y = t(jnp.array([[0.0, 0.0], [1.0, 2.0]]))
    np.testing.assert_allclose(y, [[1.0, 1.0], [3.0, 3.0]])
    batch = T.RecursiveLinearTransform(np.ones((4, 1, 1)))
    assert batch(jnp.ones((3, 1))).shape == batch.forward_shape((3, 1)) == (4, 3, 1)
    np.testing.assert_allclose(batch(jnp.ones((3, 1)))[2, :, 0], [1.0, 2.0, 3.0])


def test_haar_and_cosine_bases_are_orthonormal() -> None:
    for t in (T.HaarTransform(), T.HaarTransform(flip=True), T.DiscreteCosineTransform()):
        basis = jax.vmap(t)(jnp.eye(7))
        np.testing.assert_allclose(basis @ basis.T, np.eye(7), atol=1e-6)
    np.testing.assert_allclose(T.HaarTransform()(jnp.ones(8)), [8**0.5] + [0.0] * 7, atol=1e-6)
    smooth = T.DiscreteCosineTransform(smooth=2.0)(jnp.sin(jnp.arange(8.0)))
    ratio = smooth / T.DiscreteCosineTransform()(jnp.sin(jnp.arange(8.0)))
    np.testing.assert_allclose(
        ratio[1:] / ratio[:-1], (np.arange(1.5, 8) / np.arange(0.5, 7)) ** 2, rtol=1e-4
    )


def test_unpacking_a_batch() -> None:
    t = T.UnpackTransform(lambda x: {"a": x[:1], "b": x[1:]}, lambda y: jnp.concatenate([y["a"], y["b"]]))
    x = jnp.arange(6.0).reshape(2, 3)
    assert jax.tree.map(jnp.shape, t(x)) == {"a": (2, 1), "b": (2, 2)}
    np.testing.assert_array_equal(t.inv(t(x[0])), x[0])
    np.testing.assert_array_equal(t.log_abs_det_jacobian(x, t(x)), [0.0, 0.0])


def test_anchor_shifts_the_cut_points() -> None:
    p = jnp.array([0.1, 0.6, 0.3])
    plain = T.SimplexToOrderedTransform()(p)
    np.testing.assert_allclose(plain, np.log([0.1 / 0.9, 0.7 / 0.3]), rtol=1e-5)
    shifted = T.SimplexToOrderedTransform(np.array([1.0, 2.0]))
    np.testing.assert_allclose(shifted(p), plain + np.array([[1.0], [2.0]]), rtol=1e-5)
    assert shifted.forward_shape((3,)) == (2, 2)


def test_conditional_transforms_take_their_parameters_from_the_context(getkey: Any) -> None:
    def network(context: Any) -> Any:
        return 0.1, context, 2.0 * context

    flow = dist.ConditionalPlanar(network)
    context = jnp.array([0.5, -0.2])
    assert flow.condition(context) == T.Planar(0.1, context, 2.0 * context)
    given = dist.ConditionalTransformedDistribution(
        dist.Normal(np.zeros(2), 1.0).to_event(1), [flow, T.PermuteTransform((1, 0))]
    ).condition(context)
    value = given.sample(getkey(), (3,))
    expected = dist.TransformedDistribution(
        dist.Normal(np.zeros(2), 1.0).to_event(1),
        [T.Planar(0.1, context, 2.0 * context), T.PermuteTransform((1, 0))],
    )
    np.testing.assert_allclose(given.log_prob(value), expected.log_prob(value), rtol=1e-6)
    assert given.support == C.real_vector


def test_conditional_distributions_and_their_parameters_by_name() -> None:
    by_name = dist.ConditionalDistribution(dist.Normal, lambda c: {"scale": 2.0, "loc": c})
    one = dist.ConditionalDistribution(dist.Exponential, lambda c: c)
    assert by_name.condition(3.0).loc == 3.0 and by_name.condition(3.0).scale == 2.0
    np.testing.assert_allclose(one.condition(2.0).mean, 0.5)
    moved = dist.ConditionalTransformedDistribution(by_name, T.ExpTransform()).condition(0.5)
    np.testing.assert_allclose(moved.log_prob(1.5), dist.LogNormal(0.5, 2.0).log_prob(1.5), rtol=1e-5)
    assert repr(by_name) == "ConditionalDistribution(Normal)"


def test_networks_that_are_pytrees_are_differentiated_through_the_bijection() -> None:
    network = jax.tree_util.Partial(lambda w, x: (x * w, 0.0 * x), jnp.array(2.0))

    def stretch(t: Any) -> Any:
        return jnp.sum(t(jnp.ones(2)))

    slope = jax.grad(stretch)(T.InverseAutoregressiveTransform(network))
    np.testing.assert_allclose(jax.tree.leaves(slope), [2.0])
    conditional = dist.ConditionalDistribution(
        dist.Normal, jax.tree_util.Partial(lambda w, c: (w * c, 1.0), 3.0)
    )
    assert jax.tree.leaves(conditional) == [3.0]
