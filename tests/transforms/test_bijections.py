"""Bijections: onto their constraint, invertible, and with the log-determinant that autodiff finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.transforms as T
from svijax.base import ArgumentError, ShapeError, SupportError
from svijax.transforms import biject_to
from svijax.transforms import constraints as C


def _entries(y: Any) -> Any:
    return y.reshape(-1)


def _tril(y: Any) -> Any:
    return y[..., *np.tril_indices(y.shape[-1])]


@dataclass(frozen=True)
class BijectionCase:
    transform: Any
    shape: tuple[int, ...] = ()
    coordinates: Callable[[Any], Any] = _entries  # as many numbers as x has, to take the Jacobian of
    start: Callable[[Any], Any] = lambda x: x  # from R^n into the domain
    wide: bool = True


def _onto(constraint: Any, *args: Any, **kwargs: Any) -> BijectionCase:
    return BijectionCase(biject_to(constraint), *args, **kwargs)


ONTO = {
    repr(constraint): _onto(constraint, *rest)
    for constraint, *rest in [
        (C.real,),
        (C.positive,),
        (C.softplus_positive,),
        (C.nonnegative,),
        (C.unit_interval,),
        (C.greater_than(2.0),),
        (C.greater_than_eq(-2.0),),
        (C.less_than(2.0),),
        (C.less_than_eq(2.0),),
        (C.interval(-1.0, 3.0),),
        (C.open_interval(-1.0, 3.0),),
        (C.real_vector, (3,)),
        (C.real_matrix, (2, 2)),
        (C.independent(C.positive, 1), (3,)),
        (C.independent(C.simplex, 1), (2, 3), lambda y: y[..., :-1].reshape(-1)),
        (C.simplex, (3,), lambda y: y[..., :-1]),
        (C.ordered_vector, (4,)),
        (C.positive_ordered_vector, (4,)),
        (C.lower_cholesky, (6,), _tril),
        (C.softplus_lower_cholesky, (6,), _tril),
        (C.scaled_unit_lower_cholesky, (6,), _tril),
        (C.positive_definite, (6,), _tril),
    ]
}
LOWER = np.array([[1.0, 0.0], [0.5, 2.0]])
OTHERS = {
    "affine": BijectionCase(T.AffineTransform(1.0, -2.0)),
    "power": BijectionCase(T.PowerTransform(-1.5), start=jnp.exp),
    "cholesky": BijectionCase(
        T.CholeskyTransform(), (2, 2), _tril, lambda x: x @ jnp.swapaxes(x, -2, -1) + np.eye(2)
    ),
    "lower_cholesky_affine": BijectionCase(T.LowerCholeskyAffine(np.ones(2), LOWER), (2,)),
    "reshape": BijectionCase(T.ReshapeTransform((3, 2), (6,)), (6,)),
    "permute": BijectionCase(T.PermuteTransform((2, 0, 1)), (3,)),
    "compose": BijectionCase(
        T.ComposeTransform([T.AffineTransform(0.5, 2.0), T.StickBreakingTransform()]),
        (3,),
        lambda y: y[..., :-1],
    ),
    "inverse": BijectionCase(T.ExpTransform().inv, start=jnp.exp),
    "identity": BijectionCase(T.IdentityTransform()),
}
CASES = ONTO | OTHERS
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_onto = pytest.mark.parametrize("case", ONTO.values(), ids=ONTO)


@pytest.fixture
def double(x64: None) -> Iterator[None]:
    yield


def _points(case: BijectionCase, getkey: Callable[[], jax.Array], batch: tuple[int, ...] = (4,)) -> jax.Array:
    return case.start(1.5 * jax.random.normal(getkey(), (*batch, *case.shape)))


@every_case
def test_round_trip_and_shapes(case: BijectionCase, double: None, getkey: Any) -> None:
    t = case.transform
    x = _points(case, getkey)
    y, log_det = t.call_with_log_det(x)
    np.testing.assert_allclose(y, t(x), rtol=1e-14)
    np.testing.assert_allclose(t.inv(y), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(t.inv.inv(x), y, rtol=1e-14)
    np.testing.assert_allclose(t.log_abs_det_jacobian(x, y), log_det, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(t.inv.log_abs_det_jacobian(y, x), -log_det, rtol=1e-12, atol=1e-12)
    assert t.forward_shape(x.shape) == y.shape and t.inverse_shape(y.shape) == x.shape
    assert log_det.shape == x.shape[: x.ndim - t.domain.event_dim]
    assert np.all(t.codomain(y)) and np.all(t.domain(x))
    assert y.dtype == log_det.dtype == np.float64


@every_case
def test_log_det_is_that_of_the_jacobian(case: BijectionCase, double: None, getkey: Any) -> None:
    t = case.transform
    x = _points(case, getkey, ())

    def coordinates(flat: Any) -> Any:
        return case.coordinates(t(flat.reshape(x.shape)))

    if case.transform.domain == C.positive_definite:
        # Move along symmetric matrices: both entries of a pair at once.
        def coordinates(flat: Any) -> Any:
            low = jnp.zeros((2, 2)).at[np.tril_indices(2)].set(flat)
            return _tril(t(low + low.T - jnp.diag(jnp.diag(low))))

        jacobian = jax.jacobian(coordinates)(_tril(x))
    else:
        jacobian = jax.jacobian(coordinates)(x.reshape(-1))
    square = jacobian.reshape((x.size if jacobian.size == x.size**2 else 3, -1))
    log_det = np.sum(t.log_abs_det_jacobian(x, t(x)))
    np.testing.assert_allclose(log_det, np.linalg.slogdet(square)[1], rtol=1e-8, atol=1e-9)


@every_onto
def test_far_out_everything_stays_finite_in_single_precision(case: BijectionCase, getkey: Any) -> None:
    for size in (-80.0, -20.0, 0.0, 20.0, 80.0):
        x = jnp.full(case.shape, size, jnp.float32)
        y, log_det = case.transform.call_with_log_det(x)
        with jax.enable_x64(True):
            wide_x = jnp.full(case.shape, size, jnp.float64)
            wide = np.asarray(case.transform.log_abs_det_jacobian(wide_x, case.transform(wide_x)))
        assert y.dtype == log_det.dtype == np.float32
        np.testing.assert_allclose(np.sum(log_det), np.sum(wide), rtol=2e-5, atol=1e-5)
        if case.shape in ((), (3,)):
            assert np.all(np.isfinite(y))
        slope = jax.grad(lambda x: jnp.sum(case.transform.call_with_log_det(x)[1]))(x)
        assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("constraint", [C.unit_interval, C.simplex, C.interval(-0.1, 0.3), C.positive])
def test_draws_stay_inside_where_rounding_would_leave(constraint: Any) -> None:
    t = biject_to(constraint)
    shape = (7, *t.inverse_shape((4,))) if constraint.event_dim else (7,)
    x = jnp.linspace(-85.0, 85.0, 7).reshape((7, *(1,) * constraint.event_dim)) * jnp.ones(shape)
    y = t(x)
    assert np.all(constraint(y))
    if constraint in (C.unit_interval, C.simplex, C.positive):
        assert np.all(y > 0)


@every_onto
def test_codomain_is_the_constraint(case: BijectionCase) -> None:
    name = next(name for name, other in ONTO.items() if other is case)
    same = {"nonnegative": "positive", "open_interval(lower=-1.0, upper=3.0)": "interval"}
    shown = repr(case.transform.codomain)
    assert shown.startswith(same.get(name, name.replace("_eq", ""))) or shown == name


@every_case
def test_transforms_are_pytrees_equal_by_value(case: BijectionCase, getkey: Any) -> None:
    leaves, tree = jax.tree.flatten(case.transform)
    again = jax.tree.unflatten(tree, leaves)
    assert again == case.transform and hash(again) == hash(case.transform)
    x = _points(case, getkey)
    np.testing.assert_allclose(jax.jit(lambda t, x: t(x))(again, x), case.transform(x), rtol=1e-5, atol=1e-6)
    assert isinstance(repr(again), str)


def test_equality_sees_parameters_and_classes() -> None:
    assert T.AffineTransform(0, 1) == T.AffineTransform(0.0, np.ones(()))
    assert T.AffineTransform(0, 1) != T.AffineTransform(0, 2)
    assert T.ExpTransform() != T.SigmoidTransform()
    assert T.ComposeTransform([T.ExpTransform()]) == T.ComposeTransform([T.ExpTransform()])
    assert T.ExpTransform().inv.inv == T.ExpTransform()


@pytest.mark.parametrize(
    "constraint, advice",
    [
        (C.boolean, "enumerate"),
        (C.nonnegative_integer, "discrete"),
        (C.sphere, "divide it by its length"),
        (C.dependent, "in place of `dependent`"),
        (C.point(1.0), "deterministic"),
        (C.independent(C.boolean, 1), "discrete"),
        (object(), "svijax.distributions.constraints"),
    ],
    ids=["boolean", "count", "sphere", "dependent", "point", "booleans", "foreign"],
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


def test_affine_images_of_ranges() -> None:
    affine = T.AffineTransform
    assert affine(1.0, 2.0, C.positive).codomain == C.greater_than(1.0)
    assert affine(1.0, -2.0, C.nonnegative).codomain == C.less_than_eq(1.0)
    assert affine(1.0, -2.0, C.unit_interval).codomain == C.interval(-1.0, 1.0)
    assert affine(1.0, np.array([1.0, -1.0]), C.positive).codomain == C.dependent
    assert affine(jnp.zeros(3), 1.0).forward_shape((2, 1)) == (2, 3)


def test_wrong_shapes_and_missing_inverses_are_named() -> None:
    with pytest.raises(ShapeError, match="5 entries"):
        biject_to(C.lower_cholesky)(jnp.zeros(5))
    with pytest.raises(ShapeError, match="at least 1 axes"):
        biject_to(C.simplex).forward_shape(())
    with pytest.raises(ShapeError, match="unlike numbers"):
        T.ReshapeTransform((2,), (3,))
    with pytest.raises(ShapeError, match="permutation"):
        T.PermuteTransform((0, 0))
    with pytest.raises(ArgumentError, match="no inverse"):
        T.Transform().inv(1.0)
    with pytest.raises(ArgumentError, match="monotone"):
        _ = T.StickBreakingTransform().sign


def test_traced_bounds_go_through() -> None:
    def pull(low: Any) -> Any:
        return biject_to(C.greater_than(low))(0.0)

    assert jax.grad(pull)(2.0) == 1.0
    np.testing.assert_allclose(jax.vmap(pull)(jnp.arange(3.0)), [1.0, 2.0, 3.0])


def test_second_derivatives_of_the_sigmoid_log_det_at_the_centre() -> None:
    t = T.SigmoidTransform()
    curvature = jax.hessian(lambda x: t.log_abs_det_jacobian(x, t(x)))(0.0)
    np.testing.assert_allclose(curvature, -0.5, rtol=1e-6)
