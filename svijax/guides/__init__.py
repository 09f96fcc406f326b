"""Autoguides, and the strategies for where they start."""

from ._auto import AutoGuide as AutoGuide
from ._auto import latent_values as latent_values
from ._initial import init_to_feasible as init_to_feasible
from ._initial import init_to_mean as init_to_mean
from ._initial import init_to_median as init_to_median
from ._initial import init_to_sample as init_to_sample
from ._initial import init_to_uniform as init_to_uniform
from ._initial import init_to_value as init_to_value
from ._joint import AutoContinuous as AutoContinuous
from ._joint import AutoDiagonalNormal as AutoDiagonalNormal
from ._joint import AutoMultivariateNormal as AutoMultivariateNormal
from ._normal import AutoNormal as AutoNormal
from ._particles import Particles as Particles
from ._point import AutoDelta as AutoDelta
