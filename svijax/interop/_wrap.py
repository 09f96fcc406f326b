"""The door to distributions of other libraries."""

from __future__ import annotations

from typing import Any

from svijax.base import ArgumentError, message
from svijax.distributions import Distribution
from svijax.transforms import Constraint

from ._distrax import DistraxDistribution
from ._distreqx import DistreqxDistribution
from ._foreign import ForeignDistribution
from ._numpyro import NumPyroDistribution
from ._tfp import TFPDistribution

_LIBRARIES: dict[str, type[ForeignDistribution]] = {
    "numpyro": NumPyroDistribution,
    "tensorflow_probability": TFPDistribution,
    "distrax": DistraxDistribution,
    "distreqx": DistreqxDistribution,
}


def wrap(d: Any, support: Constraint | None = None, *, has_rsample: bool | None = None) -> Distribution:
    """A distribution of NumPyro, TensorFlow Probability on JAX, Distrax or Distreqx as one of this library.

    :param support: the set of its values. None: what the library says; Distrax and Distreqx say nothing, so
        that only families with a known name can do without.
    :param has_rsample: whether its draws have pathwise derivatives in all parameters. None: what the library
        says; of Distrax and Distreqx the families with a known name.
    :raises ArgumentError: the object is none of those, or its support is not known.
    """
    if isinstance(d, Distribution):
        return d
    wrapper = None if isinstance(d, type) else _library_of(d)
    if wrapper is None:
        raise ArgumentError(
            message(
                "svijax.interop.wrap: this is no distribution of a library that it knows.",
                expected=f"an instance of a distribution of {', '.join(_LIBRARIES)}",
                got=f"{type(d).__module__}.{type(d).__qualname__}",
                fix="write a subclass of svijax.distributions.Distribution with log_prob and _sample.",
            )
        )
    wrapped = wrapper(d, support, has_rsample)
    # Asked here, so that a support that is not known is an error at this line.
    _ = wrapped.support
    return wrapped


def _library_of(d: Any) -> type[ForeignDistribution] | None:
    # The class's own bases too: users derive from the classes of these libraries.
    for base in type(d).__mro__:
        package = base.__module__.partition(".")[0]
        if package in _LIBRARIES and hasattr(d, "log_prob"):
            return _LIBRARIES[package]
    return None
