"""The registry from constraints to bijections of an unconstrained space onto them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from svijax.base import ArgumentError, SupportError, message

from . import _ranges, _square, _structured, constraints
from ._constraint import Constraint, Dependent, Independent, Point
from ._elementwise import AffineTransform, ExpTransform, SigmoidTransform, SoftplusTransform
from ._matrices import (
    CholeskyTransform,
    LowerCholeskyTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
)
from ._transform import ComposeTransform, IdentityTransform, IndependentTransform, Transform
from ._vectors import OrderedTransform, PositiveOrderedTransform, StickBreakingTransform

Rule = Callable[[Any], Transform]


class BijectionRegistry:
    """``biject_to(constraint)``: a bijection from R, R^n, … onto the constraint.

    Rules are found by the exact class of the constraint. ``@biject_to.register(MyConstraint)`` adds one.
    Raises ``SupportError`` for a constraint without a bijection: discrete ones, the sphere, points.
    """

    def __init__(self) -> None:
        self._rules: dict[type[Constraint], Rule] = {}

    def register(self, kind: type[Constraint]) -> Callable[[Rule], Rule]:
        if kind in self._rules:
            raise ArgumentError(message(f"biject_to: {kind.__name__} has a bijection already."))

        def add(rule: Rule) -> Rule:
            self._rules[kind] = rule
            return rule

        return add

    def __call__(self, constraint: Constraint) -> Transform:
        rule = self._rules.get(type(constraint))
        if rule is None:
            raise SupportError(message(f"no bijection leads onto {constraint!r}.", fix=_advice(constraint)))
        return rule(constraint)


def _advice(constraint: Any) -> str:
    if not isinstance(constraint, Constraint):
        return "pass a constraint of svijax.distributions.constraints."
    if constraint.is_discrete:
        return "a discrete value has no unconstrained form: enumerate it, or give it a guide site of its own."
    if isinstance(constraint, Point):
        return "a value fixed at a point needs no guide: use svijax.deterministic."
    if isinstance(constraint, Dependent):
        return "state the constraint itself in place of `dependent`."
    if isinstance(constraint, _structured.Sphere):
        return "use an unconstrained vector and divide it by its length in the model."
    return f"register one with @biject_to.register({type(constraint).__name__})."


def _constant(transform: Transform, constraint: Constraint) -> Transform:
    return transform


biject_to = BijectionRegistry()

for _kind, _transform in {
    _ranges.Real: IdentityTransform(),
    _ranges.Positive: ExpTransform(),
    _ranges.SoftplusPositive: SoftplusTransform(),
    _ranges.UnitInterval: SigmoidTransform(),
    _structured.Simplex: StickBreakingTransform(),
    _structured.OrderedVector: OrderedTransform(),
    _structured.PositiveOrderedVector: PositiveOrderedTransform(),
    _square.LowerCholesky: LowerCholeskyTransform(),
    _square.SoftplusLowerCholesky: SoftplusLowerCholeskyTransform(),
    _square.ScaledUnitLowerCholesky: ScaledUnitLowerCholeskyTransform(),
    _square.PositiveDefinite: ComposeTransform([LowerCholeskyTransform(), CholeskyTransform().inv]),
    # exp(x) reaches all but the end point, on which no draw lands.
    _ranges.Nonnegative: ExpTransform(),
}.items():
    biject_to.register(_kind)(partial(_constant, _transform))


@biject_to.register(_ranges.GreaterThan)
@biject_to.register(_ranges.GreaterThanEq)
def _above(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.lower, 1.0, constraints.positive)])


@biject_to.register(_ranges.LessThan)
@biject_to.register(_ranges.LessThanEq)
def _below(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.upper, -1.0, constraints.positive)])


@biject_to.register(_ranges.Interval)
@biject_to.register(_ranges.OpenInterval)
def _between(constraint: Any) -> Transform:
    low, high = constraint.lower, constraint.upper
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low, constraints.unit_interval)])


@biject_to.register(Independent)
def _independent(constraint: Independent) -> Transform:
    return IndependentTransform(biject_to(constraint.base), constraint.ndims)
