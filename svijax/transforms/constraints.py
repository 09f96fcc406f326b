"""Constraints under the names that the field uses: ``positive``, ``interval(0, 1)``, ``simplex``."""

from ._constraint import Constraint as Constraint
from ._constraint import Dependent, Independent, Point
from ._constraint import independent as independent
from ._ranges import (
    Boolean,
    GreaterThan,
    GreaterThanEq,
    IntegerGreaterThan,
    IntegerInterval,
    Interval,
    LessThan,
    LessThanEq,
    Nonnegative,
    NonnegativeInteger,
    OpenInterval,
    Positive,
    PositiveInteger,
    Real,
    SoftplusPositive,
    UnitInterval,
)
from ._structured import (
    LowerCholesky,
    Multinomial,
    OrderedVector,
    PositiveDefinite,
    PositiveOrderedVector,
    ScaledUnitLowerCholesky,
    Simplex,
    SoftplusLowerCholesky,
    Sphere,
)
from ._subset import is_subset as is_subset

boolean = Boolean()
dependent = Dependent()
greater_than = GreaterThan
greater_than_eq = GreaterThanEq
integer_greater_than = IntegerGreaterThan
integer_interval = IntegerInterval
interval = Interval
less_than = LessThan
less_than_eq = LessThanEq
lower_cholesky = LowerCholesky()
multinomial = Multinomial
nonnegative = Nonnegative()
nonnegative_integer = NonnegativeInteger()
open_interval = OpenInterval
ordered_vector = OrderedVector()
point = Point
positive = Positive()
positive_definite = PositiveDefinite()
positive_integer = PositiveInteger()
positive_ordered_vector = PositiveOrderedVector()
real = Real()
real_matrix = Independent(real, 2)
real_vector = Independent(real, 1)
scaled_unit_lower_cholesky = ScaledUnitLowerCholesky()
simplex = Simplex()
softplus_lower_cholesky = SoftplusLowerCholesky()
softplus_positive = SoftplusPositive()
sphere = Sphere()
unit_interval = UnitInterval()
