"""Stochastic variational inference for JAX, functional to the core."""

from . import distributions as distributions
from . import guides as guides
from . import handlers as handlers
from . import optim as optim
from ._version import __version__ as __version__
from .base import clear_caches as clear_caches
from .effects import deterministic as deterministic
from .effects import factor as factor
from .effects import get_mask as get_mask
from .effects import mutable as mutable
from .effects import param as param
from .effects import plate as plate
from .effects import plate_stack as plate_stack
from .effects import prng_key as prng_key
from .effects import sample as sample
from .effects import scan as scan
from .effects import subsample as subsample
from .fitting import SVI as SVI
from .fitting import Status as Status
from .fitting import SVIRunResult as SVIRunResult
from .fitting import SVIState as SVIState
from .objectives import Trace_ELBO as Trace_ELBO
from .objectives import TraceGraph_ELBO as TraceGraph_ELBO
from .objectives import TraceMeanField_ELBO as TraceMeanField_ELBO
from .posterior import Predictive as Predictive
