"""Networks of flax (nnx and linen) and equinox, and plain functions, as parameters or as random variables of a program.

Neither package is imported before a module of it is used.
"""

from ._equinox import StatefulModule as StatefulModule
from ._equinox import eqx_module as eqx_module
from ._equinox import random_eqx_module as random_eqx_module
from ._fitted import get_module as get_module
from ._functional import functional_module as functional_module
from ._functional import random_functional_module as random_functional_module
from ._linen import flax_module as flax_module
from ._linen import random_flax_module as random_flax_module
from ._network import Network as Network
from ._nnx import nnx_module as nnx_module
from ._nnx import random_nnx_module as random_nnx_module
from ._report import initial_values as initial_values
from ._report import prior_table as prior_table
