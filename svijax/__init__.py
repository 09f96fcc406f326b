"""Stochastic variational inference for JAX, functional to the core."""

from ._version import __version__ as __version__
