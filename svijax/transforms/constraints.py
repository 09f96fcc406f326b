"""Constraints under the names that the field uses: ``positive``, ``interval(0, 1)``, ``simplex``."""

from ._constraint import Constraint as Constraint
from ._constraint import Dependent, IndependentConstraint, Point
from ._constraint import dependent_property as dependent_property
from ._constraint import independent as independent
from ._constraint import is_dependent as is_dependent
from ._ranges import (
    Boolean,
    Circular,
    Complex,
    GreaterThan,
    GreaterThanEq,
    HalfOpenInterval,
    Integer,
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
from ._side_by_side import Cat, Stack
from ._side_by_side import mixture_same_family as mixture_same_family
from ._square import (
    CorrCholesky,
    CorrMatrix,
    LowerCholesky,
    LowerTriangular,
    PositiveDefinite,
    PositiveSemidefinite,
    ScaledUnitLowerCholesky,
    SoftplusLowerCholesky,
    Square,
    Symmetric,
    UnitLowerCholesky,
)
from ._structured import (
    L1Ball,
    Multinomial,
    OneHot,
    OrderedVector,
    PositiveDefiniteCirculantVector,
    PositiveOrderedVector,
    Simplex,
    Sphere,
    ZeroSum,
)
from ._subset import is_subset as is_subset

boolean = Boolean()
cat = Cat
circular = Circular()
complex = Complex()
corr_cholesky = CorrCholesky()
corr_cholesky_constraint = corr_cholesky
corr_matrix = CorrMatrix()
dependent = Dependent()
greater_than = GreaterThan
greater_than_eq = GreaterThanEq
half_open_interval = HalfOpenInterval
integer = Integer()
integer_greater_than = IntegerGreaterThan
integer_interval = IntegerInterval
interval = Interval
l1_ball = L1Ball()
less_than = LessThan
less_than_eq = LessThanEq
lower_cholesky = LowerCholesky()
lower_triangular = LowerTriangular()
MixtureSameFamilyConstraint = mixture_same_family
multinomial = Multinomial
nonnegative = Nonnegative()
nonnegative_integer = NonnegativeInteger()
one_hot = OneHot()
open_interval = OpenInterval
ordered_vector = OrderedVector()
point = Point
positive = Positive()
positive_definite = PositiveDefinite()
positive_definite_circulant_vector = PositiveDefiniteCirculantVector()
positive_integer = PositiveInteger()
positive_ordered_vector = PositiveOrderedVector()
positive_semidefinite = PositiveSemidefinite()
real = Real()
real_matrix = IndependentConstraint(real, 2)
real_vector = IndependentConstraint(real, 1)
scaled_unit_lower_cholesky = ScaledUnitLowerCholesky()
simplex = Simplex()
softplus_lower_cholesky = SoftplusLowerCholesky()
softplus_positive = SoftplusPositive()
sphere = Sphere()
square = Square()
stack = Stack
symmetric = Symmetric()
unit_interval = UnitInterval()
unit_lower_cholesky = UnitLowerCholesky()
zero_sum = ZeroSum
