"""Distributions of other JAX libraries as distributions of this one. None of those libraries is imported."""

from ._foreign import ForeignDistribution as ForeignDistribution
from ._wrap import wrap as wrap
