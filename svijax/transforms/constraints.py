"""Constraints under the names that the field uses: ``constraints.positive``, ``constraints.interval(0, 1)``."""

from ._constraint import Constraint as Constraint
from ._constraint import Dependent, Independent
from ._constraint import independent as independent
from ._ranges import (
    Boolean,
    Nonnegative,
    NonnegativeInteger,
    Positive,
    PositiveInteger,
    Real,
    SoftplusPositive,
    UnitInterval,
)
from ._structured import (
    LowerCholesky,
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
lower_cholesky = LowerCholesky()
nonnegative = Nonnegative()
nonnegative_integer = NonnegativeInteger()
ordered_vector = OrderedVector()
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
