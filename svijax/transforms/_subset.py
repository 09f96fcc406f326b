"""Which constraint lies inside which, as far as it is known without running anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from svijax.base import is_concrete

from ._constraint import Constraint, Dependent, IndependentConstraint, Point
from ._ranges import Complex, Range
from ._side_by_side import SideBySide
from ._square import Square
from ._structured import Structured, ZeroSum

# Families of vectors and matrices, and those that they lie directly inside.
_INSIDE = {
    "corr_cholesky": ("lower_cholesky", "sphere"),
    "corr_matrix": ("positive_definite",),
    "lower_cholesky": ("lower_triangular",),
    "lower_triangular": ("square",),
    "one_hot": ("simplex", "sphere"),
    "positive_definite": ("positive_semidefinite",),
    "positive_ordered_vector": ("ordered_vector",),
    "positive_semidefinite": ("symmetric",),
    "simplex": ("l1_ball",),
    "symmetric": ("square",),
    "unit_lower_cholesky": ("lower_cholesky",),
}


def is_subset(a: Constraint, b: Constraint) -> bool | None:
    """Whether every value in ``a`` is in ``b``: True, False, or None where that is not known.

    Axes that ``independent`` adds do not count: a vector is held against a scalar constraint entry by entry.
    None also where only end points tell the two apart, since no continuous draw lands on them.
    The question is about sets: the integers lie inside the reals.
    """
    if a == b:
        return True
    while isinstance(a, IndependentConstraint):
        a = a.base
    while isinstance(b, IndependentConstraint):
        b = b.base
    if isinstance(a, Dependent) or isinstance(b, Dependent):
        return None
    if isinstance(a, Point):
        return _point_in(a, b)
    if isinstance(a, SideBySide) or isinstance(b, SideBySide):
        return _parts_in(a, b)
    if isinstance(a, Complex) or isinstance(b, Complex):
        return isinstance(b, Complex)
    if isinstance(a, Structured) and isinstance(b, Structured):
        return _structured_in(a, b)
    if isinstance(a, Structured) and isinstance(b, Range):
        return _range_in(a.entries, b)
    if isinstance(a, Range) and isinstance(b, Range):
        return _range_in(a, b)
    if isinstance(a, Range) and isinstance(b, Structured):
        # Of square matrices only the shape is asked.
        return None if type(b) is Square else False
    return None


def _point_in(a: Point, b: Constraint) -> bool | None:
    readable = all(is_concrete(leaf) for leaf in (a.value, *(getattr(b, name) for name in b._fields)))
    if not readable or isinstance(b, Point) or np.ndim(a.value) < b.event_dim:
        return None
    return bool(np.all(b(a.value)))


def _parts_in(a: Constraint, b: Constraint) -> bool | None:
    if isinstance(a, SideBySide) and isinstance(b, SideBySide):
        if type(a) is not type(b) or any(getattr(a, name) != getattr(b, name) for name in a._static):
            return None
        answers = [is_subset(x, y) for x, y in zip(a.cseq, b.cseq)]
    else:
        answers = [is_subset(x, y) for x in _parts(a) for y in _parts(b)]
    if False in answers:
        return False
    return None if None in answers else True


def _parts(a: Constraint) -> tuple[Constraint, ...]:
    return a.cseq if isinstance(a, SideBySide) else (a,)


def _structured_in(a: Structured, b: Structured) -> bool | None:
    if a._fields or b._fields:
        return None if a.family == b.family else False
    if isinstance(a, ZeroSum) and isinstance(b, ZeroSum):
        return a.event_dim >= b.event_dim
    return _family_in(a.family, b.family)


def _family_in(a: str, b: str) -> bool:
    return a == b or any(_family_in(wider, b) for wider in _INSIDE.get(a, ()))


def _range_in(a: Range, b: Range) -> bool | None:
    if b.is_discrete and not a.is_discrete:
        return False
    ends = [_end_in(_lowest(a), _lowest(b), 1), _end_in(_highest(a), _highest(b), -1)]
    if False in ends:
        return False
    return None if None in ends else True


def _end_in(a: tuple[Any, bool], b: tuple[Any, bool], sign: int) -> bool | None:
    """Whether the end ``a`` is not beyond the end ``b``; ``sign`` 1 for lower ends, -1 for upper ends."""
    (x, x_closed), (y, y_closed) = a, b
    if np.ndim(y) == 0 and is_concrete(y) and math.isinf(y):
        return True
    if x is not y and not (is_concrete(x) and is_concrete(y)):
        return None
    if x is not y:
        low, high = sign * np.asarray(x), sign * np.asarray(y)
        if low.shape != high.shape and low.ndim and high.ndim:
            # Batches of unlike shape: hold the extremes against each other.
            if low.min() < high.max() and not low.max() < high.min():
                return None
            low, high = low.min(), high.max()
        if np.any(low < high):
            return False
        if np.all(low > high):
            return True
    return True if y_closed or not x_closed else None


def _lowest(a: Range) -> tuple[Any, bool]:
    if a.lower is None:
        return -math.inf, False
    return (a.lower + 1, True) if a.is_discrete and not a.closed[0] else (a.lower, a.closed[0])


def _highest(a: Range) -> tuple[Any, bool]:
    return (math.inf, False) if a.upper is None else (a.upper, a.closed[1])
