"""Distributions: immutable pytrees with densities, draws and the noise that draws are made of."""

from svijax import transforms as transforms
from svijax.transforms import biject_to as biject_to
from svijax.transforms import constraints as constraints

from ._bernoulli import Bernoulli as Bernoulli
from ._delta import Delta as Delta
from ._distribution import Distribution as Distribution
from ._expanded import ExpandedDistribution as ExpandedDistribution
from ._independent import Independent as Independent
from ._masked import MaskedDistribution as MaskedDistribution
from ._masked import masked_log_prob as masked_log_prob
from ._normal import HalfNormal as HalfNormal
from ._normal import LogNormal as LogNormal
from ._normal import Normal as Normal
from ._protocol import DistributionLike as DistributionLike
from ._transformed import TransformedDistribution as TransformedDistribution
