"""The registries from constraints to maps of an unconstrained space onto them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from svijax.base import ArgumentError, SupportError, message

from . import _ranges, _side_by_side, _square, _structured, constraints
from ._constraint import Constraint, Dependent, IndependentConstraint, Point
from ._correlations import CorrCholeskyTransform, CorrMatrixTransform
from ._elementwise import AffineTransform, ExpTransform, SigmoidTransform, SoftplusTransform
from ._fourier import ComplexTransform
from ._linear import ZeroSumTransform
from ._matrices import (
    LowerCholeskyTransform,
    LowerTriangularTransform,
    PositiveDefiniteTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
    SymmetricTransform,
    UnitLowerCholeskyTransform,
)
from ._parts import StackTransform, cat_of
from ._simplices import L1BallTransform, Normalize, SoftmaxTransform
from ._transform import ComposeTransform, IdentityTransform, IndependentTransform, Transform
from ._vectors import OrderedTransform, PositiveOrderedTransform, StickBreakingTransform

Rule = Callable[[Any], Transform]


class BijectionRegistry:
    """``biject_to(constraint)``: a bijection from R, R^n, … onto the constraint.

    Rules are found by the exact class of the constraint. ``@biject_to.register(MyConstraint)`` adds one.
    Raises ``SupportError`` for a constraint without a bijection: discrete ones, the sphere, points. A registry
    with a ``fallback`` uses the rules of that one where it has none of its own.
    """

    def __init__(self, fallback: BijectionRegistry | None = None) -> None:
        self._rules: dict[type[Constraint], Rule] = {}
        self._fallback = fallback

    def register(
        self, kind: type[Constraint] | Constraint, factory: Rule | None = None
    ) -> Callable[[Rule], Rule]:
        """Enter ``factory``, or the function that this decorates, for a class of constraints."""
        key = kind if isinstance(kind, type) else type(kind)
        if key in self._rules:
            raise ArgumentError(message(f"register: {key.__name__} has a rule in this registry already."))

        def add(rule: Rule) -> Rule:
            self._rules[key] = rule
            return rule

        if factory is not None:
            add(factory)
        return add

    def __call__(self, constraint: Constraint) -> Transform:
        rule = self._rules.get(type(constraint))
        if rule is not None:
            return rule(constraint)
        if self._fallback is not None:
            return self._fallback(constraint)
        raise SupportError(message(f"no bijection leads onto {constraint!r}.", fix=_advice(constraint)))


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
        return (
            "use an unconstrained vector and divide it by its length in the model; "
            "transform_to(sphere) does that, for point estimates."
        )
    if isinstance(constraint, _structured.PositiveDefiniteCirculantVector):
        return "use positive eigenvalues, and take their inverse Fourier transform in the model."
    return f"register one with @biject_to.register({type(constraint).__name__})."


def _constant(transform: Transform, constraint: Constraint) -> Transform:
    return transform


biject_to = BijectionRegistry()
transform_to = BijectionRegistry(biject_to)

for _kind, _transform in {
    _ranges.Real: IdentityTransform(),
    _ranges.Complex: ComplexTransform(),
    _ranges.Positive: ExpTransform(),
    _ranges.SoftplusPositive: SoftplusTransform(),
    _ranges.UnitInterval: SigmoidTransform(),
    _structured.Simplex: StickBreakingTransform(),
    _structured.L1Ball: L1BallTransform(),
    _structured.OrderedVector: OrderedTransform(),
    _structured.PositiveOrderedVector: PositiveOrderedTransform(),
    _square.Square: IndependentTransform(IdentityTransform(), 2),
    _square.LowerTriangular: LowerTriangularTransform(),
    _square.LowerCholesky: LowerCholeskyTransform(),
    _square.SoftplusLowerCholesky: SoftplusLowerCholeskyTransform(),
    _square.ScaledUnitLowerCholesky: ScaledUnitLowerCholeskyTransform(),
    _square.UnitLowerCholesky: UnitLowerCholeskyTransform(),
    _square.CorrCholesky: CorrCholeskyTransform(),
    _square.CorrMatrix: CorrMatrixTransform(),
    _square.Symmetric: SymmetricTransform(),
    _square.PositiveDefinite: PositiveDefiniteTransform(),
    # What is left out are end points and singular matrices, on which no draw lands.
    _square.PositiveSemidefinite: PositiveDefiniteTransform(),
    _ranges.Nonnegative: ExpTransform(),
}.items():
    biject_to.register(_kind)(partial(_constant, _transform))

for _kind, _transform in {
    _structured.Simplex: SoftmaxTransform(),
    _structured.Sphere: Normalize(),
}.items():
    transform_to.register(_kind)(partial(_constant, _transform))


@biject_to.register(_ranges.GreaterThan)
@biject_to.register(_ranges.GreaterThanEq)
def _above(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.lower, 1.0, constraints.positive)])


@biject_to.register(_ranges.LessThan)
@biject_to.register(_ranges.LessThanEq)
def _below(constraint: Any) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(constraint.upper, -1.0, constraints.positive)])


@biject_to.register(_ranges.Interval)
@biject_to.register(_ranges.HalfOpenInterval)
@biject_to.register(_ranges.OpenInterval)
@biject_to.register(_ranges.Circular)
def _between(constraint: Any) -> Transform:
    low, high = constraint.lower, constraint.upper
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low, constraints.unit_interval)])


@biject_to.register(_structured.ZeroSum)
def _zero_sum(constraint: _structured.ZeroSum) -> Transform:
    return ZeroSumTransform(constraint.event_dim)


def _register_nested(registry: BijectionRegistry) -> None:
    """The rules for constraints that are made of others, whose parts ``registry`` itself maps."""

    @registry.register(IndependentConstraint)
    def _independent(constraint: IndependentConstraint) -> Transform:
        return IndependentTransform(registry(constraint.base), constraint.ndims)

    @registry.register(_side_by_side.Cat)
    def _cat(constraint: _side_by_side.Cat) -> Transform:
        return cat_of([registry(part) for part in constraint.cseq], constraint)

    @registry.register(_side_by_side.Stack)
    def _stack(constraint: _side_by_side.Stack) -> Transform:
        return StackTransform([registry(part) for part in constraint.cseq], constraint.dim)


_register_nested(biject_to)
_register_nested(transform_to)
