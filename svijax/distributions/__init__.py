"""Distributions: immutable pytrees with densities, draws and the noise that draws are made of."""

from svijax.transforms import biject_to as biject_to

from . import constraints as constraints
from . import transforms as transforms
from ._bernoulli import Bernoulli as Bernoulli
from ._beta import Beta as Beta
from ._beta import Dirichlet as Dirichlet
from ._binomial import Binomial as Binomial
from ._categorical import Categorical as Categorical
from ._cauchy import Cauchy as Cauchy
from ._cauchy import HalfCauchy as HalfCauchy
from ._delta import Delta as Delta
from ._distribution import Distribution as Distribution
from ._expanded import ExpandedDistribution as ExpandedDistribution
from ._exponential import Exponential as Exponential
from ._gamma import Gamma as Gamma
from ._independent import Independent as Independent
from ._kl import has_kl as has_kl
from ._kl import kl_divergence as kl_divergence
from ._kl import register_kl as register_kl
from ._masked import MaskedDistribution as MaskedDistribution
from ._masked import masked_log_prob as masked_log_prob
from ._multivariate_normal import MultivariateNormal as MultivariateNormal
from ._normal import HalfNormal as HalfNormal
from ._normal import LogNormal as LogNormal
from ._normal import Normal as Normal
from ._poisson import Poisson as Poisson
from ._protocol import DistributionLike as DistributionLike
from ._student_t import StudentT as StudentT
from ._transformed import TransformedDistribution as TransformedDistribution
from ._uniform import ImproperUniform as ImproperUniform
from ._uniform import Uniform as Uniform
