"""TensorFlow Probability and Distrax, which imports it, on JAX versions newer than their last release."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest


def import_tfp() -> Any:
    """``tensorflow_probability.substrates.jax``; its import reads a table that JAX no longer has."""
    from jax.interpreters import xla

    if not hasattr(xla, "pytype_aval_mappings"):
        xla.pytype_aval_mappings = {np.ndarray: jax.typeof}  # type: ignore[attr-defined]
    return pytest.importorskip("tensorflow_probability.substrates.jax")


def import_distrax() -> Any:
    import_tfp()
    return pytest.importorskip("distrax")
