"""Constraints: what they hold, what they compare to, and which lies inside which."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from constraint_cases import CASES, ConstraintCase, every_case

from svijax.base import ArgumentError
from svijax.transforms import constraints as C
from svijax.transforms import is_subset


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


def test_matrices_that_are_not_square_lie_outside_and_raise_nothing() -> None:
    for constraint in (C.square, C.symmetric, C.lower_triangular, C.positive_semidefinite):
        np.testing.assert_array_equal(constraint(np.ones((4, 2, 3))), [False] * 4)


def test_half_precision_matrices_are_checked_in_single_precision() -> None:
    low = np.eye(3, dtype=np.float16)
    for constraint in (C.positive_definite, C.positive_semidefinite, C.corr_matrix):
        assert constraint(low) and constraint(jnp.asarray(low))
    assert C.positive_definite_circulant_vector(np.array([1.0, 0.5, 0.5], np.float16))
    assert not C.positive_definite_circulant_vector(np.array([0.1, 0.5, 0.5], np.float16))


def test_rounding_is_forgiven_and_more_is_not() -> None:
    smooth = np.exp((np.cos(2 * np.pi * np.arange(64) / 64) - 1) / 0.1)
    assert C.positive_definite_circulant_vector(smooth)
    low_rank = np.outer(np.arange(1.0, 30), np.arange(1.0, 30)).astype(np.float32)
    assert C.positive_semidefinite(low_rank) and not C.positive_semidefinite(-low_rank)
    third = np.full(3, 1 / 3, np.float32)
    assert C.l1_ball(third) and C.l1_ball(-third) and not C.l1_ball(third * 1.0001)
    centred = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    centred -= centred.mean(0)
    assert not C.zero_sum(2)(centred)
    centred -= centred.mean(1, keepdims=True)
    assert C.zero_sum(2)(centred) and C.zero_sum(1)(centred).shape == (50,)


def test_cat_and_stack_keep_a_batch_axis_and_join_an_event_axis() -> None:
    x = np.array([[1.0, -1.0, 2.0], [-1.0, -1.0, 2.0]])
    side = C.cat([C.positive, C.real], -1, [1, 2])
    np.testing.assert_array_equal(side(x), [[True, True, True], [False, True, True]])
    rows = C.cat([C.positive, C.independent(C.real, 1)], -2, [1, 1])
    assert rows.event_dim == 1
    np.testing.assert_array_equal(rows(x), [False, True])
    first = C.cat([C.boolean, C.positive], 0)
    np.testing.assert_array_equal(first(np.array([1.0, 0.5])), [True, True])
    np.testing.assert_array_equal(first(np.array([0.5, 0.5])), [False, True])
    assert first.is_discrete
    across = C.stack([C.positive, C.ordered_vector], -2)
    assert across.event_dim == 1
    np.testing.assert_array_equal(across(x), [False, False])
    np.testing.assert_array_equal(across(-x[::-1]), [False, False])
    np.testing.assert_array_equal(across(np.array([[1.0, 2.0], [1.0, 2.0]])), [True, True])
    assert C.stack([C.simplex, C.real], -1).event_dim == 2
    assert C.stack([C.positive, C.real], 0)(np.array([[-1.0, 1.0], [-1.0, 1.0]])).tolist() == [
        [False, True],
        [True, True],
    ]


def test_cat_with_traced_bounds_goes_through() -> None:
    @jax.jit
    def inside(low: Any, x: Any) -> Any:
        return C.cat([C.greater_than(low), C.real], -1)(x)

    np.testing.assert_array_equal(inside(1.0, np.zeros(2)), [False, True])


def test_the_constraint_of_a_mixture_is_what_all_components_allow() -> None:
    mixed = C.mixture_same_family
    assert mixed(C.simplex) == C.simplex and mixed(C.real_vector) == C.real_vector
    low, high = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([3.0, 2.5])
    assert mixed(C.interval(low, high)) == C.interval(np.array([1.0, 2.0]), 2.5)
    vectors = mixed(C.independent(C.greater_than(np.arange(6.0).reshape(3, 2)), 1))
    assert vectors == C.independent(C.greater_than(np.array([4.0, 5.0])), 1)
    assert mixed(C.greater_than(1.0)) == C.greater_than(1.0)
    assert mixed(C.multinomial(np.array([4, 4]))) == C.multinomial(4)
    assert mixed(C.point(np.zeros(2))) == C.dependent
    assert C.MixtureSameFamilyConstraint is mixed


def test_dependent_property_says_what_is_known_and_is_a_property() -> None:
    class Family:
        @C.dependent_property(is_discrete=True, event_dim=1)
        def support(self) -> Any:
            return C.one_hot

    assert Family().support == C.one_hot
    known = Family.__dict__["support"]
    assert known.is_discrete and known.event_dim == 1
    assert C.is_dependent(known) and C.is_dependent(C.dependent) and not C.is_dependent(C.real)
