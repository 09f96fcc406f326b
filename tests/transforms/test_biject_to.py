"""The registries ``biject_to`` and ``transform_to``, and what bijections say when they cannot."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.distributions as dist
import svijax.transforms as T
from svijax.base import ArgumentError, ShapeError, SupportError
from svijax.transforms import biject_to, transform_to
from svijax.transforms import constraints as C


@pytest.mark.parametrize(
    "constraint, advice",
    [
        (C.boolean, "enumerate"),
        (C.nonnegative_integer, "discrete"),
        (C.one_hot, "discrete"),
        (C.sphere, r"divide it by its length in the model; transform_to\(sphere\)"),
        (C.positive_definite_circulant_vector, "positive eigenvalues"),
        (C.dependent, "in place of `dependent`"),
        (C.point(1.0), "deterministic"),
        (C.independent(C.boolean, 1), "discrete"),
        (C.cat([C.boolean, C.boolean]), "discrete"),
        (3.0, "svijax.distributions.constraints"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_no_bijection_is_an_error_that_says_what_to_do(constraint: Any, advice: str) -> None:
    with pytest.raises(SupportError, match=advice):
        biject_to(constraint)


def test_the_registry_takes_new_constraints_once() -> None:
    registry = T.BijectionRegistry()

    class Odd(T.Constraint):
        name = "odd"

    with pytest.raises(SupportError, match=r"register\(Odd\)"):
        registry(Odd())
    registry.register(Odd)(lambda constraint: T.ExpTransform())
    assert registry(Odd()) == T.ExpTransform()
    with pytest.raises(ArgumentError, match="Odd"):
        registry.register(Odd)
    over = T.BijectionRegistry(registry)
    assert over(Odd()) == T.ExpTransform()
    over.register(Odd(), lambda constraint: T.TanhTransform())
    assert over(Odd()) == T.TanhTransform() and registry(Odd()) == T.ExpTransform()


@pytest.mark.parametrize(
    "constraint, shape",
    [
        (C.simplex, (3, 4)),
        (C.sphere, (3, 4)),
        (C.independent(C.simplex, 1), (3, 2, 4)),
        (C.cat([C.simplex, C.sphere], -1, [2, 3]), (3, 5)),
        (C.stack([C.simplex, C.sphere], -2), (3, 2, 4)),
        (C.unit_lower_cholesky, (3, 6)),
        (C.positive, (3,)),
    ],
    ids=repr,
)
def test_transform_to_leads_onto_the_constraint_and_back(constraint: Any, shape: Any, getkey: Any) -> None:
    t = transform_to(constraint)
    x = jax.random.normal(getkey(), shape)
    y = t(x)
    assert np.all(constraint(y)) and t.forward_shape(shape) == y.shape
    np.testing.assert_allclose(t(t.inv(y)), y, rtol=2e-6)


def test_transform_to_has_the_softmax_where_biject_to_has_stick_breaking() -> None:
    assert transform_to(C.simplex) == T.SoftmaxTransform()
    assert biject_to(C.simplex) == T.StickBreakingTransform()
    assert transform_to(C.interval(0.0, 2.0)) == biject_to(C.interval(0.0, 2.0))
    with pytest.raises(SupportError, match="discrete"):
        transform_to(C.boolean)


@pytest.mark.parametrize("transform", [T.SoftmaxTransform(), T.Normalize(), T.AbsTransform()], ids=repr)
def test_what_is_no_bijection_has_no_log_det(transform: Any) -> None:
    x = jnp.array([1.0, -2.0])
    with pytest.raises(ArgumentError, match="no bijection"):
        transform.log_abs_det_jacobian(x, transform(x))


def test_normalize_is_safe_at_the_origin_and_far_out() -> None:
    far = jnp.array([[0.0, 0.0], [3e30, 4e30], [3e-30, -4e-30]])
    y = T.Normalize()(far)
    np.testing.assert_allclose(y, [[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]], rtol=1e-6)
    assert np.all(np.isfinite(jax.grad(lambda x: T.Normalize()(x)[0])(jnp.zeros(2))))
    np.testing.assert_allclose(T.Normalize(p=1)(jnp.array([1.0, -3.0])), [0.25, -0.75])
    with pytest.raises(ArgumentError, match="at least 1"):
        T.Normalize(p=0.5)


def test_affine_images_of_ranges() -> None:
    affine = T.AffineTransform
    assert affine(1.0, 2.0, C.positive).codomain == C.greater_than(1.0)
    assert affine(1.0, -2.0, C.nonnegative).codomain == C.less_than_eq(1.0)
    assert affine(1.0, -2.0, C.unit_interval).codomain == C.interval(-1.0, 1.0)
    assert affine(1.0, 2.0, C.half_open_interval(0.0, 1.0)).codomain == C.half_open_interval(1.0, 3.0)
    assert affine(1.0, np.array([1.0, -1.0]), C.positive).codomain == C.dependent
    assert affine(jnp.zeros(3), 1.0).forward_shape((2, 1)) == (2, 3)


def test_exponential_images_of_ranges() -> None:
    def image(domain: Any) -> Any:
        return T.ExpTransform(domain).codomain

    assert image(C.real) == C.positive
    assert image(C.nonnegative) == C.greater_than_eq(1.0)
    assert image(C.positive) == C.greater_than(1.0)
    assert image(C.less_than(0.0)) == C.open_interval(0.0, 1.0)
    assert image(C.unit_interval) == C.interval(1.0, np.e)
    assert image(C.ordered_vector) == C.positive_ordered_vector
    assert image(C.simplex) == C.dependent(event_dim=1)


def test_domains_and_codomains_of_parts() -> None:
    cat = biject_to(C.cat([C.simplex, C.positive], -1, [3, 2]))
    assert cat.lengths == (2, 2) and cat.inverse_shape((7, 5)) == (7, 4)
    assert cat.codomain == C.cat([C.simplex, C.positive], -1, [3, 2])
    assert cat.domain == C.cat([C.real_vector, C.real], -1, [2, 2])
    over_batch = biject_to(C.cat([C.positive, C.real], 0, [1, 2]))
    y, log_det = over_batch.call_with_log_det(jnp.arange(3.0))
    np.testing.assert_allclose(y, [1.0, 1.0, 2.0])
    np.testing.assert_allclose(log_det, [0.0, 0.0, 0.0])
    assert T.CumulativeDistributionTransform(dist.Gamma(np.ones(3), 1.0)).domain == C.positive
    assert T.CumulativeDistributionTransform(dist.Gamma(np.ones(3), 1.0)).forward_shape(()) == (3,)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: biject_to(C.lower_cholesky)(jnp.zeros(5)), ShapeError, "5 entries"),
        (lambda: biject_to(C.corr_cholesky)(jnp.zeros(5)), ShapeError, "5 entries"),
        (lambda: biject_to(C.simplex).forward_shape(()), ShapeError, "at least 1 axes"),
        (lambda: T.ReshapeTransform((2,), (3,)), ShapeError, "unlike numbers"),
        (lambda: T.PermuteTransform((0, 0)), ShapeError, "permutation"),
        (lambda: T.Transform().inv(1.0), ArgumentError, "no inverse"),
        (lambda: T.StickBreakingTransform().sign, ArgumentError, "monotone"),
        (lambda: T.ComplexTransform()(jnp.zeros(3)), ShapeError, "takes pairs"),
        (lambda: T.HaarTransform(0), ArgumentError, "dim counts from the right"),
        (lambda: T.DiscreteCosineTransform(-2)(jnp.zeros(3)), ShapeError, "at least 2 axes"),
        (lambda: T.RealFastFourierTransform((3, 3)), ShapeError, "one length for each axis"),
        (lambda: T.RealFastFourierTransform(3)(jnp.zeros(4)), ShapeError, "wrong last axes"),
        (lambda: T.PackRealFastFourierCoefficientsTransform((2, 2)), ShapeError, "for vectors"),
        (
            lambda: T.PackRealFastFourierCoefficientsTransform().inv(jnp.zeros(3, complex)),
            ShapeError,
            r"transform_shape=\(n,\)",
        ),
        (lambda: T.RecursiveLinearTransform(np.ones((2, 3))), ShapeError, "not square"),
        (lambda: T.RecursiveLinearTransform(np.eye(2), np.ones(3)), ShapeError, "initial_value"),
        (lambda: T.LeakyReLUTransform(0.0), ArgumentError, "slope is positive"),
        (lambda: T.CatTransform([]), ArgumentError, "one part at least"),
        (lambda: T.CatTransform([T.ExpTransform()], 0, [1, 2]), ArgumentError, "one length >= 0"),
        (lambda: T.CatTransform([T.ReshapeTransform((1,), ())]), ArgumentError, "number of axes"),
        (lambda: T.CatTransform([T.ExpTransform()], 1)(jnp.zeros(1)), ShapeError, "no axis 1"),
        (lambda: T.StackTransform([T.ExpTransform()])(jnp.zeros(2)), ShapeError, "wrong length of axis -1"),
        (lambda: T.StackTransform([T.ExpTransform()]).forward_shape((2,)), ShapeError, "wrong length"),
        (lambda: T.CatTransform([T.ExpTransform()]).forward_shape((2,)), ShapeError, "wrong length"),
        (lambda: T.UnpackTransform(jnp.sin).inv(jnp.zeros(2)), ArgumentError, "without pack_fn"),
        (lambda: T.UnpackTransform(jnp.sin).forward_shape((2,)), ArgumentError, "no one shape"),
        (
            lambda: T.BlockNeuralAutoregressiveTransform(jnp.sin).inv(1.0),
            ArgumentError,
            "sample_with_log_prob",
        ),
        (lambda: T.GeneralizedChannelPermute(np.eye(2), np.eye(3)), ShapeError, "of one size"),
        (
            lambda: T.GeneralizedChannelPermute(np.eye(2), np.eye(2))(jnp.zeros((3, 1, 1))),
            ShapeError,
            "number of channels",
        ),
        (lambda: C.zero_sum(0), ArgumentError, "one axis at least"),
        (lambda: C.cat([C.real], -1, [2])(np.zeros(3)), ShapeError, "wrong length"),
        (lambda: C.stack([C.real], -1)(np.zeros(3)), ShapeError, "wrong length"),
    ],
)
def test_wrong_arguments_are_named(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_traced_bounds_go_through() -> None:
    def pull(low: Any) -> Any:
        return biject_to(C.greater_than(low))(0.0)

    assert jax.grad(pull)(2.0) == 1.0
    np.testing.assert_allclose(jax.vmap(pull)(jnp.arange(3.0)), [1.0, 2.0, 3.0])


def test_second_derivatives_of_log_dets_at_the_centre() -> None:
    def curvature(t: Any) -> Any:
        return jax.hessian(lambda x: t.log_abs_det_jacobian(x, t(x)))(0.0)

    np.testing.assert_allclose(curvature(T.SigmoidTransform()), -0.5, rtol=1e-6)
    np.testing.assert_allclose(curvature(T.TanhTransform()), -2.0, rtol=1e-6)
