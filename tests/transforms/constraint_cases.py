"""The table of constraints that the property tests go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from svijax.transforms import constraints as C

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
