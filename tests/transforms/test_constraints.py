"""Constraints: what they hold, what they compare to, and which lies inside which."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from svijax.base import ArgumentError
from svijax.transforms import constraints as C
from svijax.transforms import is_subset

EYE = np.eye(2)
LOW = np.array([[1.0, 0.0], [0.5, 2.0]])
PD = np.array([[2.0, 0.5], [0.5, 1.0]])
UNIT = np.array([[1.0, 0.0], [-3.0, 1.0]])
CORR = np.array([[1.0, 0.0], [-0.6, 0.8]])
SUMLESS = np.array([[1.0, -1.0], [-1.0, 1.0]])


@dataclass(frozen=True)
class ConstraintCase:
    constraint: Any
    good: list[Any]
    bad: list[Any]
    shown: str
    shape: tuple[int, ...] = ()


CASES = [
    ConstraintCase(C.real, [0.0, -1e30], [np.nan, np.inf, -np.inf], "real"),
    ConstraintCase(C.positive, [1e-30, 3.0], [0.0, -1.0, np.nan, np.inf], "positive"),
    ConstraintCase(C.softplus_positive, [1e-30, 3.0], [0.0, -1.0], "softplus_positive"),
    ConstraintCase(C.nonnegative, [0.0, 3.0], [-1e-30, np.nan], "nonnegative"),
    ConstraintCase(C.unit_interval, [0.0, 1.0, 0.5], [-0.1, 1.1], "unit_interval"),
    ConstraintCase(C.greater_than(2.0), [2.1], [2.0, 1.0], "greater_than(lower=2.0)"),
    ConstraintCase(C.greater_than_eq(2.0), [2.0], [1.9], "greater_than_eq(lower=2.0)"),
    ConstraintCase(C.less_than(2.0), [1.9], [2.0], "less_than(upper=2.0)"),
    ConstraintCase(C.less_than_eq(2.0), [2.0], [2.1], "less_than_eq(upper=2.0)"),
    ConstraintCase(C.interval(0.0, 1.0), [0.0, 1.0], [-0.1, 1.1], "interval(lower=0.0, upper=1.0)"),
    ConstraintCase(C.open_interval(-1, 1), [0.0], [-1.0, 1.0], "open_interval(lower=-1, upper=1)"),
    ConstraintCase(C.boolean, [0, 1], [2, -1, 0.5], "boolean"),
    ConstraintCase(C.nonnegative_integer, [0, 7], [-1, 0.5], "nonnegative_integer"),
    ConstraintCase(C.positive_integer, [1, 7], [0, 1.5], "positive_integer"),
    ConstraintCase(C.integer_interval(1, 3), [1, 3], [0, 4, 1.5], "integer_interval(lower=1, upper=3)"),
    ConstraintCase(C.integer_greater_than(1), [2], [1, 2.5], "integer_greater_than(lower=1)"),
    ConstraintCase(C.simplex, [[0.2, 0.8], [0.0, 1.0]], [[0.2, 0.7], [-0.1, 1.1]], "simplex", (3,)),
    ConstraintCase(C.sphere, [[0.6, 0.8]], [[0.6, 0.7]], "sphere", (3,)),
    ConstraintCase(C.ordered_vector, [[-1.0, 2.0]], [[2.0, -1.0], [1.0, 1.0]], "ordered_vector", (3,)),
    ConstraintCase(
        C.positive_ordered_vector, [[1.0, 2.0]], [[-1.0, 2.0], [2.0, 1.0]], "positive_ordered_vector", (3,)
    ),
    ConstraintCase(C.multinomial(4), [[1, 3], [0, 4]], [[1, 2], [-1, 5]], "multinomial(upper=4)", (3,)),
    ConstraintCase(C.lower_cholesky, [EYE, LOW], [-EYE, LOW.T], "lower_cholesky", (3, 3)),
    ConstraintCase(C.scaled_unit_lower_cholesky, [EYE, LOW], [-EYE], "scaled_unit_lower_cholesky", (3, 3)),
    ConstraintCase(C.softplus_lower_cholesky, [EYE, LOW], [-EYE], "softplus_lower_cholesky", (3, 3)),
    ConstraintCase(
        C.positive_definite, [EYE, PD], [LOW, -EYE, EYE * np.nan, PD - 3 * EYE], "positive_definite", (3, 3)
    ),
    ConstraintCase(C.real_vector, [[0.0, 1.0]], [[0.0, np.nan]], "real_vector", (3,)),
    ConstraintCase(C.real_matrix, [EYE], [EYE * np.nan], "real_matrix", (2, 3)),
    ConstraintCase(
        C.independent(C.positive, 1), [[1.0, 2.0]], [[1.0, 0.0]], "independent(positive, 1)", (3,)
    ),
    ConstraintCase(C.point(2.0), [2.0], [1.0], "point(2.0)"),
    ConstraintCase(C.circular, [-np.pi, np.pi, 0.1], [3.2, -3.2, np.nan], "circular"),
    ConstraintCase(
        C.half_open_interval(0, 2), [0.0, 1.9], [2.0, -0.1], "half_open_interval(lower=0, upper=2)"
    ),
    ConstraintCase(C.integer, [-3, 0, 7.0], [0.5, np.inf, np.nan], "integer"),
    ConstraintCase(C.complex, [1 + 2j, 0.5], [np.inf * 1j, np.nan], "complex"),
    ConstraintCase(C.one_hot, [[0, 1], [1, 0]], [[1, 1], [0, 0], [0.5, 0.5]], "one_hot", (3,)),
    ConstraintCase(C.l1_ball, [[0.5, -0.5], [0.0, 0.0]], [[0.6, -0.5], [np.nan, 0]], "l1_ball", (3,)),
    ConstraintCase(
        C.positive_definite_circulant_vector,
        [[1.0, 0.3, 0.1, 0.3], [1.0, 0.0, 0.0, 0.0]],
        [[1.0, 0.3, 0.1, 0.2], [0.1, 0.5, 0.0, 0.5], [np.inf, 0, 0, 0]],
        "positive_definite_circulant_vector",
        (4,),
    ),
    ConstraintCase(C.zero_sum(), [[0.5, -1.5, 1.0], [1e8, -1e8, 0]], [[0.5, -1.5, 1.1]], "zero_sum(1)", (3,)),
    ConstraintCase(C.zero_sum(2), [PD - PD, SUMLESS], [[[1.0, -1.0], [0.5, -0.5]]], "zero_sum(2)", (2, 3)),
    ConstraintCase(C.square, [PD, LOW], [np.full((2, 2), np.inf)], "square", (3, 3)),
    ConstraintCase(C.symmetric, [PD, -EYE], [LOW, EYE * np.nan], "symmetric", (3, 3)),
    ConstraintCase(
        C.lower_triangular, [LOW, -EYE], [LOW.T, PD, np.full((2, 2), np.inf)], "lower_triangular", (3, 3)
    ),
    ConstraintCase(C.unit_lower_cholesky, [EYE, UNIT], [LOW, -EYE, UNIT.T], "unit_lower_cholesky", (3, 3)),
    ConstraintCase(
        C.positive_semidefinite,
        [PD, EYE, np.ones((2, 2)), np.zeros((2, 2))],
        [-EYE, LOW, np.eye(2)[::-1], EYE * np.nan],
        "positive_semidefinite",
        (3, 3),
    ),
    ConstraintCase(C.corr_cholesky, [EYE, CORR], [LOW, CORR.T, -EYE], "corr_cholesky", (3, 3)),
    ConstraintCase(
        C.corr_matrix,
        [EYE, CORR @ CORR.T],
        [PD, np.ones((2, 2)), LOW, np.eye(2)[::-1]],
        "corr_matrix",
        (3, 3),
    ),
    ConstraintCase(
        C.cat([C.simplex, C.positive], -1, [2, 1]),
        [[0.2, 0.8, 3.0]],
        [[0.3, 0.8, 3.0], [0.2, 0.8, -3.0]],
        "cat([simplex, positive], dim=-1, lengths=(2, 1))",
        (3,),
    ),
    ConstraintCase(
        C.stack([C.simplex, C.real_vector], -1),
        [[[0.2, -3.0], [0.8, 2.0]]],
        [[[0.2, -3.0], [0.7, 2.0]], [[0.2, np.nan], [0.8, 2.0]]],
        "stack([simplex, real_vector], dim=-1)",
        (3, 2),
    ),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.shown)


@every_case
def test_check_tells_inside_from_outside_in_numpy_and_in_jax(case: ConstraintCase) -> None:
    for values, expected in ((case.good, True), (case.bad, False)):
        for value in values:
            on_host = case.constraint(np.asarray(value))
            assert not isinstance(on_host, jax.Array)
            assert bool(on_host) is expected, value
            assert bool(case.constraint(jnp.asarray(value))) is expected, value
        stacked = np.stack([np.asarray(value) for value in values])
        assert case.constraint.check(stacked).shape == (len(values),)


@every_case
def test_feasible_value_is_inside_and_like_its_prototype(case: ConstraintCase) -> None:
    dtype = np.dtype(np.int32 if case.constraint.is_discrete else np.float32)
    value = case.constraint.feasible_like(jax.ShapeDtypeStruct((4, *case.shape), dtype))
    assert value.shape == (4, *case.shape) and value.dtype == dtype
    assert not isinstance(value, jax.Array)
    assert np.all(case.constraint(value))
    traced = jax.eval_shape(case.constraint.feasible_like, jnp.zeros((4, *case.shape), dtype))
    assert traced.shape == value.shape and traced.dtype == dtype


@every_case
def test_equality_hash_repr_and_pytree_are_by_value(case: ConstraintCase) -> None:
    leaves, tree = jax.tree.flatten(case.constraint)
    again = jax.tree.unflatten(tree, leaves)
    assert again == case.constraint and hash(again) == hash(case.constraint)
    assert repr(again) == case.shown
    assert all(other.constraint != case.constraint for other in CASES if other is not case)
    assert isinstance(jax.tree.unflatten(tree, [None] * len(leaves)), type(case.constraint))
    with pytest.raises(FrozenInstanceError):
        case.constraint.lower = 3.0


def test_bounds_are_equal_by_value_whatever_holds_them() -> None:
    same = [
        C.interval(0, 1),
        C.interval(0.0, 1.0),
        C.interval(np.float32(0), np.array(1.0)),
        C.interval(-0.0, jnp.ones(())),
    ]
    assert len(set(same)) == 1 and all(a == b for a in same for b in same)
    assert C.interval(0, 1) != C.interval(0, 2) and C.interval(0, 1) != C.open_interval(0, 1)
    assert C.greater_than(np.zeros(2)) != C.greater_than(np.zeros(3))


def test_traced_bounds_are_leaves_equal_to_themselves_only() -> None:
    @jax.jit
    def inside(constraint: Any, x: jax.Array) -> jax.Array:
        assert constraint == constraint and hash(constraint) == hash(constraint)
        assert constraint != C.interval(0.0, 1.0)
        assert "traced" in repr(constraint)
        assert is_subset(constraint, C.real) is True
        assert is_subset(constraint, C.positive) is None
        return constraint(x)

    np.testing.assert_array_equal(inside(C.interval(0.0, 1.0), jnp.array([0.5, 2.0])), [True, False])
    np.testing.assert_array_equal(inside(C.interval(0.0, 3.0), jnp.array([0.5, 2.0])), [True, True])


def test_bounds_broadcast_over_the_batch() -> None:
    constraint = C.greater_than(np.array([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(constraint(np.full((2, 3), 1.5)), [[True, True, False]] * 2)
    np.testing.assert_array_equal(constraint(np.full(1, 1.5)), [True, True, False])
    np.testing.assert_array_equal(
        jax.vmap(lambda c, x: c(x))(constraint, jnp.full(3, 1.5)), [True, True, False]
    )


def test_independent_is_canonical() -> None:
    assert C.independent(C.real, 0) == C.real
    assert C.independent(C.real, 1) == C.real_vector
    assert C.independent(C.real_vector, 1) == C.real_matrix
    assert C.independent(C.simplex, 1).event_dim == 2
    assert C.independent(C.boolean, 1).is_discrete
    with pytest.raises(ArgumentError, match="at least 1 axes"):
        C.real_vector(1.0)
    with pytest.raises(ArgumentError, match="not negative"):
        C.independent(C.real, -1)


def test_dependent_states_what_it_knows_and_checks_nothing() -> None:
    constraint = C.dependent(is_discrete=True, event_dim=2)
    assert constraint.is_discrete and constraint.event_dim == 2 and C.dependent.event_dim == 0
    with pytest.raises(ArgumentError):
        C.dependent(1.0)
    with pytest.raises(ArgumentError):
        C.dependent.feasible_like(1.0)


@pytest.mark.parametrize(
    "inner, outer, expected",
    [
        (C.positive, C.nonnegative, True),
        (C.positive, C.real, True),
        (C.interval(0.0, 1.0), C.real, True),
        (C.interval(0.0, 1.0), C.unit_interval, True),
        (C.interval(0.2, 0.8), C.unit_interval, True),
        (C.interval(0.2, 1.2), C.unit_interval, False),
        (C.real, C.positive, False),
        (C.real, C.unit_interval, False),
        (C.positive, C.unit_interval, False),
        (C.less_than(0.0), C.positive, False),
        (C.greater_than(1.0), C.positive, True),
        (C.greater_than(-1.0), C.positive, False),
        (C.softplus_positive, C.positive, True),
        (C.nonnegative, C.positive, None),
        (C.unit_interval, C.open_interval(0.0, 1.0), None),
        (C.open_interval(0.0, 1.0), C.interval(0.0, 1.0), True),
        (C.real_vector, C.real, True),
        (C.real, C.real_vector, True),
        (C.simplex, C.unit_interval, True),
        (C.simplex, C.independent(C.positive, 1), None),
        (C.simplex, C.real_vector, True),
        (C.real_vector, C.simplex, False),
        (C.simplex, C.ordered_vector, False),
        (C.positive_ordered_vector, C.ordered_vector, True),
        (C.ordered_vector, C.positive_ordered_vector, False),
        (C.ordered_vector, C.positive, False),
        (C.softplus_lower_cholesky, C.lower_cholesky, True),
        (C.lower_cholesky, C.positive_definite, False),
        (C.boolean, C.nonnegative_integer, True),
        (C.boolean, C.integer_interval(0, 1), True),
        (C.integer_interval(0, 5), C.integer_interval(0, 4), False),
        (C.nonnegative_integer, C.boolean, False),
        (C.positive_integer, C.integer_greater_than(0), True),
        (C.integer_greater_than(0), C.positive_integer, True),
        (C.nonnegative_integer, C.real, True),
        (C.real, C.nonnegative_integer, False),
        (C.interval(np.zeros(3), np.ones(3)), C.unit_interval, True),
        (C.interval(np.zeros(3), np.array([1.0, 1.0, 2.0])), C.unit_interval, False),
        (C.interval(np.zeros(3), np.ones(3)), C.interval(np.zeros(2), np.array([1.0, 0.5])), None),
        (C.point(0.5), C.unit_interval, True),
        (C.point(2.0), C.unit_interval, False),
        (C.point(np.array([0.2, 0.8]), 1), C.simplex, True),
        (C.real, C.point(0.5), None),
        (C.dependent, C.real, None),
        (C.multinomial(3), C.multinomial(3), True),
        (C.multinomial(3), C.multinomial(4), None),
        (C.multinomial(3), C.nonnegative_integer, True),
    ],
    ids=repr,
)
def test_is_subset(inner: Any, outer: Any, expected: bool | None) -> None:
    assert is_subset(inner, outer) is expected
