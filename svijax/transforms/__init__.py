"""Constraints, bijections with log-determinants, and ``biject_to``, the registry between them."""

from . import constraints as constraints
from ._biject import BijectionRegistry as BijectionRegistry
from ._biject import biject_to as biject_to
from ._constraint import Constraint as Constraint
from ._elementwise import AffineTransform as AffineTransform
from ._elementwise import ExpTransform as ExpTransform
from ._elementwise import PowerTransform as PowerTransform
from ._elementwise import SigmoidTransform as SigmoidTransform
from ._elementwise import SoftplusTransform as SoftplusTransform
from ._matrices import CholeskyTransform as CholeskyTransform
from ._matrices import LowerCholeskyTransform as LowerCholeskyTransform
from ._matrices import ScaledUnitLowerCholeskyTransform as ScaledUnitLowerCholeskyTransform
from ._matrices import SoftplusLowerCholeskyTransform as SoftplusLowerCholeskyTransform
from ._record import Record as Record
from ._shapes import PermuteTransform as PermuteTransform
from ._shapes import ReshapeTransform as ReshapeTransform
from ._subset import is_subset as is_subset
from ._transform import ComposeTransform as ComposeTransform
from ._transform import IdentityTransform as IdentityTransform
from ._transform import IndependentTransform as IndependentTransform
from ._transform import InverseTransform as InverseTransform
from ._transform import Transform as Transform
from ._vectors import LowerCholeskyAffine as LowerCholeskyAffine
from ._vectors import OrderedTransform as OrderedTransform
from ._vectors import PositiveOrderedTransform as PositiveOrderedTransform
from ._vectors import StickBreakingTransform as StickBreakingTransform
