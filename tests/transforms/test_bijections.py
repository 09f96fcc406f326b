"""Bijections: onto their constraint, invertible, and with the log-determinant that autodiff finds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bijection_cases import CASES, ONTO, BijectionCase, costly_for, every_case, every_onto, points

import svijax.transforms as T
from svijax.transforms import constraints as C

# Where the value at x = 80 is beyond single precision.
OVERFLOWING = ("positive_definite", "positive_semidefinite", "zero_sum")


@pytest.fixture
def double(x64: None) -> Iterator[None]:
    yield


@every_case
def test_round_trip_and_shapes(case: BijectionCase, double: None, getkey: Any) -> None:
    t = case.transform
    x = points(case, getkey())
    y, log_det, alone, known, back, of_inverse = _round_trip(t, x, case.invertible)
    np.testing.assert_allclose(y, alone, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(log_det, known, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_det, -of_inverse, rtol=1e-12, atol=1e-12)
    assert t.inv.inv == t
    if case.invertible:
        np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-9)
    assert t.forward_shape(x.shape) == y.shape and t.inverse_shape(y.shape) == x.shape
    assert log_det.shape == x.shape[: x.ndim - t.domain.event_dim]
    assert y.ndim - t.codomain.event_dim == log_det.ndim
    assert np.all(t.codomain(y)) and np.all(t.domain(x))
    assert y.dtype == (np.complex128 if jnp.iscomplexobj(y) else np.float64)
    assert log_det.dtype == np.float64


@partial(jax.jit, static_argnums=2)
def _round_trip(t: Any, x: Any, invertible: bool) -> Any:
    y, log_det = t.call_with_log_det(x)
    back = t.inv(y) if invertible else x
    return y, log_det, t(x), t.log_abs_det_jacobian(x, y), back, t.inv.log_abs_det_jacobian(y, x)


@every_case
def test_log_det_is_that_of_the_jacobian(case: BijectionCase, double: None, getkey: Any) -> None:
    t = case.transform
    x = points(case, getkey(), ())
    flat_of, x_of = case.chart or (jnp.ravel, lambda flat: flat.reshape(x.shape))
    np.testing.assert_allclose(x_of(flat_of(x)), x, rtol=1e-12, atol=1e-12)
    jacobian = jax.jit(jax.jacobian(lambda flat: case.coordinates(t(x_of(flat)))))(flat_of(x))
    square = jacobian.reshape((flat_of(x).size,) * 2)
    log_det = np.sum(t.log_abs_det_jacobian(x, t(x)))
    np.testing.assert_allclose(log_det, np.linalg.slogdet(square)[1], rtol=1e-8, atol=1e-9)


@costly_for(CASES)
def test_derivatives_of_the_inverse_undo_those_of_the_map(
    case: BijectionCase, double: None, getkey: Any
) -> None:
    t = case.transform
    x = points(case, getkey(), ())
    if case.invertible and case.chart is None:
        back = jax.jit(jax.jacobian(lambda x: t.inv(t(x))))(x).reshape((x.size, x.size))
        np.testing.assert_allclose(back, np.eye(x.size), rtol=1e-7, atol=1e-7)


@costly_for(ONTO)
def test_far_out_everything_stays_finite_in_single_precision(case: BijectionCase) -> None:
    name = next(name for name, other in ONTO.items() if other is case)
    sizes = np.array([-80.0, -20.0, 0.0, 20.0, 80.0]).reshape((5, *(1,) * len(case.shape)))
    x = jnp.asarray(sizes * np.ones(case.shape), jnp.float32)
    (y, log_det), slope = _far_out(case.transform, x)
    with jax.enable_x64(True):
        (_, wide), _ = _far_out(case.transform, jnp.asarray(x, jnp.float64))
    assert log_det.dtype == np.float32
    np.testing.assert_allclose(_by_size(log_det), _by_size(wide), rtol=2e-5, atol=1e-5)
    assert name.startswith(OVERFLOWING) or np.all(np.isfinite(y))
    assert np.all(np.isfinite(slope))


@jax.jit
def _far_out(t: Any, x: Any) -> Any:
    return t.call_with_log_det(x), jax.grad(lambda x: jnp.sum(t.call_with_log_det(x)[1]))(x)


def _by_size(log_det: Any) -> Any:
    return np.asarray(log_det).reshape((5, -1)).sum(-1)


@pytest.mark.parametrize(
    "constraint",
    [C.unit_interval, C.simplex, C.interval(-0.1, 0.3), C.positive, C.circular, C.l1_ball, C.corr_cholesky],
    ids=repr,
)
def test_draws_stay_inside_where_rounding_would_leave(constraint: Any) -> None:
    t = T.biject_to(constraint)
    shape = (9, *t.inverse_shape((4,) * constraint.event_dim))
    x = jnp.linspace(-85.0, 85.0, 9).reshape((9, *(1,) * (len(shape) - 1))) * jnp.ones(shape)
    y = t(x)
    assert np.all(constraint(y))
    if constraint in (C.unit_interval, C.simplex, C.positive):
        assert np.all(y > 0)


@pytest.mark.parametrize("transform", [T.TanhTransform(), T.ELUTransform(), T.SigmoidTransform()], ids=repr)
def test_single_numbers_stay_strictly_inside_and_come_back_finite(transform: Any) -> None:
    x = jnp.array([-80.0, -1e-3, 0.0, 1e-20, 80.0])
    y = transform(x)
    assert np.all(transform.codomain(y)) and np.all(jnp.abs(y[:1]) != 1)
    back = transform.inv(y)
    assert np.all(np.isfinite(back))
    if not isinstance(transform, T.SigmoidTransform):
        np.testing.assert_allclose(back[1:4], x[1:4], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", [name for name in ONTO if not name.startswith("complex")])
def test_dtypes_are_kept(name: str, dtype: Any) -> None:
    case = ONTO[name]
    y, log_det = jax.eval_shape(case.transform.call_with_log_det, jnp.ones(case.shape, dtype))
    assert (y.dtype, log_det.dtype) == (dtype, dtype)
    assert not y.weak_type and not log_det.weak_type


@costly_for(CASES)
def test_vmap_and_jit_agree_with_one_call(case: BijectionCase, getkey: Any) -> None:
    x = points(case, getkey())
    y, log_det = jax.jit(jax.vmap(lambda t, x: t.call_with_log_det(x), in_axes=(None, 0)))(case.transform, x)
    expected, expected_log_det = case.transform.call_with_log_det(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    if log_det.shape == (4,):
        np.testing.assert_allclose(log_det, np.broadcast_to(expected_log_det, (4,)), rtol=1e-4, atol=1e-4)


@every_onto
def test_codomain_is_the_constraint(case: BijectionCase) -> None:
    name = next(name for name, other in ONTO.items() if other is case)
    same = {
        "nonnegative": "positive",
        "open_interval(lower=-1.0, upper=3.0)": "interval",
        "half_open_interval(lower=-1.0, upper=3.0)": "interval",
        "circular": "interval",
        "positive_semidefinite": "positive_definite",
        "square": "real_matrix",
    }
    shown = repr(case.transform.codomain)
    assert shown.startswith(same.get(name, name.replace("_eq", ""))) or shown == name


@every_case
def test_transforms_are_pytrees_equal_by_value(case: BijectionCase) -> None:
    leaves, tree = jax.tree.flatten(case.transform)
    again = jax.tree.unflatten(tree, leaves)
    assert again == case.transform and hash(again) == hash(case.transform)
    assert isinstance(repr(again), str)
    assert sum(case.transform == other.transform for other in CASES.values()) in (1, 2, 3, 4)


def test_a_bijection_of_ones_own_without_parameters() -> None:
    class Cube(T.ParameterFreeTransform):
        def __call__(self, x: Any) -> Any:
            return x**3

        def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
            return jnp.log(3.0 * x**2)

    class Other(Cube):
        pass

    assert Cube() == Cube() and hash(Cube()) == hash(Cube()) and Cube() != Other()
    assert jax.tree.leaves(Cube()) == [] and jax.jit(lambda t, x: t(x))(Cube(), 2.0) == 8.0


def test_equality_sees_parameters_and_classes() -> None:
    assert T.AffineTransform(0, 1) == T.AffineTransform(0.0, np.ones(()))
    assert T.AffineTransform(0, 1) != T.AffineTransform(0, 2)
    assert T.ExpTransform() != T.SigmoidTransform()
    assert T.ExpTransform() != T.ExpTransform(C.ordered_vector)
    assert T.ComposeTransform([T.ExpTransform()]) == T.ComposeTransform([T.ExpTransform()])
    assert T.ExpTransform().inv.inv == T.ExpTransform()
    assert T.HaarTransform(-1) != T.HaarTransform(-1, flip=True)
    assert T.DiscreteCosineTransform(smooth=1.0) != T.DiscreteCosineTransform()
    assert T.CatTransform([T.ExpTransform()], -1, [2]) != T.CatTransform([T.ExpTransform()], -1, [3])
    assert T.Spline(np.ones(3), np.ones(3), np.ones(2)) != T.Spline(
        np.ones(3), np.ones(3), np.ones(2), bound=1
    )


@pytest.mark.parametrize(
    "transform, sign",
    [
        (T.ExpTransform(), 1),
        (T.TanhTransform(), 1),
        (T.ELUTransform(), 1),
        (T.PositivePowerTransform(0.5), 1),
        (T.PowerTransform(-1.0), -1),
        (T.AffineTransform(0.0, -1.0), -1),
        (T.ComposeTransform([T.AffineTransform(0.0, -1.0), T.PowerTransform(-2.0)]), 1),
    ],
    ids=repr,
)
def test_signs(transform: Any, sign: int) -> None:
    assert np.all(transform.sign == sign)
