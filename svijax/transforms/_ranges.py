"""Constraints on single numbers: ranges, of reals or of integers, and the complex numbers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from svijax.base import array_module, as_array

from ._constraint import Constraint, filled


class Range(Constraint):
    """Finite numbers from ``lower`` to ``upper`` (None: no bound); ``closed`` tells which ends belong."""

    closed: ClassVar[tuple[bool, bool]] = (True, True)
    lower: Any = None
    upper: Any = None

    @property
    def lower_bound(self) -> Any:
        """``lower``, by the name that NumPyro has."""
        return self.lower

    @property
    def upper_bound(self) -> Any:
        """``upper``, by the name that NumPyro has."""
        return self.upper

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, self.lower, self.upper)
        x = xp.asarray(x)
        inside = xp.isfinite(x)
        if self.lower is not None:
            inside = inside & ((x >= self.lower) if self.closed[0] else (x > self.lower))
        if self.upper is not None:
            inside = inside & ((x <= self.upper) if self.closed[1] else (x < self.upper))
        if self.is_discrete:
            inside = inside & (x == xp.floor(x))
        return inside

    def feasible_like(self, prototype: Any) -> Any:
        return filled(self._feasible(), prototype)

    def _feasible(self) -> Any:
        if self.lower is None:
            return 0.0 if self.upper is None else self.upper - 1
        if self.upper is None:
            return self.lower if self.is_discrete else self.lower + 1
        # Half of each and not half of the sum, which can overflow.
        return self.lower if self.is_discrete else 0.5 * self.lower + 0.5 * self.upper


class Real(Range):
    """Finite real numbers."""

    name = "real"


class Positive(Range):
    """x > 0."""

    name = "positive"
    lower = 0.0
    closed = (False, True)


class SoftplusPositive(Positive):
    """x > 0, reached through the softplus."""

    name = "softplus_positive"


class Nonnegative(Range):
    """x >= 0."""

    name = "nonnegative"
    lower = 0.0


class UnitInterval(Range):
    """0 <= x <= 1."""

    name = "unit_interval"
    lower, upper = 0.0, 1.0


class _Above(Range):
    _fields = ("lower",)

    def __init__(self, lower_bound: Any) -> None:
        self._assign(lower=as_array(lower_bound))


class _Below(Range):
    _fields = ("upper",)

    def __init__(self, upper_bound: Any) -> None:
        self._assign(upper=as_array(upper_bound))


class _Between(Range):
    _fields = ("lower", "upper")

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self._assign(lower=as_array(lower_bound), upper=as_array(upper_bound))


class GreaterThan(_Above):
    """x > lower."""

    name = "greater_than"
    closed = (False, True)


class GreaterThanEq(_Above):
    """x >= lower."""

    name = "greater_than_eq"


class LessThan(_Below):
    """x < upper."""

    name = "less_than"
    closed = (True, False)


class LessThanEq(_Below):
    """x <= upper."""

    name = "less_than_eq"


class Interval(_Between):
    """lower <= x <= upper."""

    name = "interval"


class HalfOpenInterval(_Between):
    """lower <= x < upper."""

    name = "half_open_interval"
    closed = (True, False)


class Circular(Range):
    """Angles: -pi <= x <= pi."""

    name = "circular"
    lower, upper = -math.pi, math.pi


class OpenInterval(_Between):
    """lower < x < upper."""

    name = "open_interval"
    closed = (False, False)


class Boolean(Range):
    """0 or 1."""

    name = "boolean"
    is_discrete = True
    lower, upper = 0, 1

    def __call__(self, x: Any) -> Any:
        x = array_module(x).asarray(x)
        return (x == 0) | (x == 1)


class Integer(Range):
    """Integers."""

    name = "integer"
    is_discrete = True


class NonnegativeInteger(Range):
    """0, 1, 2, …"""

    name = "nonnegative_integer"
    is_discrete = True
    lower = 0


class PositiveInteger(Range):
    """1, 2, 3, …"""

    name = "positive_integer"
    is_discrete = True
    lower = 1


class IntegerInterval(_Between):
    """Integers with lower <= x <= upper."""

    name = "integer_interval"
    is_discrete = True


class IntegerGreaterThan(_Above):
    """Integers with x > lower."""

    name = "integer_greater_than"
    is_discrete = True
    closed = (False, True)

    def _feasible(self) -> Any:
        return np.floor(self.lower) + 1 if array_module(self.lower) is np else self.lower + 1


class Complex(Constraint):
    """Finite complex numbers."""

    name = "complex"

    def __call__(self, x: Any) -> Any:
        return array_module(x).isfinite(x)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(0.0, prototype)
