"""KL divergences in closed form. The modules of rules enter them in the registry as they are imported."""

from . import _kl_cross, _kl_discrete, _kl_same, _kl_vectors, _kl_wrappers  # noqa: F401
from ._kl_registry import describe as describe
from ._kl_registry import has_kl as has_kl
from ._kl_registry import kl_divergence as kl_divergence
from ._kl_registry import register_kl as register_kl
