"""Weighted graphs that are known when a distribution is made."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import array_module, cast


class Graph:
    """The edges i < j of a symmetric matrix of weights, and its diagonal; equal and hashed by what it holds."""

    def __init__(self, weights: Any) -> None:
        self.size = len(weights)
        self.ends = np.nonzero(np.triu(weights, 1))
        self.weights = np.asarray(weights, np.float64)[self.ends]
        self.diagonal = np.asarray(weights, np.float64).diagonal().copy()
        self._key = (self.size, *(x.tobytes() for x in (*self.ends, self.weights, self.diagonal)))
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def dense(self) -> Any:
        """The matrix of weights."""
        matrix = np.diag(self.diagonal)
        matrix[self.ends] = self.weights
        matrix[self.ends[::-1]] = self.weights
        return matrix

    def degrees(self) -> Any:
        """The sums of rows."""
        sums = self.diagonal.copy()
        for end in self.ends:
            np.add.at(sums, end, self.weights)
        return sums

    def log_degrees(self) -> Any:
        """The sum of the logarithms of the degrees."""
        return np.log(self.degrees()).sum()

    def roughness(self, x: Any, correlation: Any) -> Any:
        """x^T (D - rho W) x, as a sum of terms that are not negative.

        (1 - |rho|) sum_i d_i x_i^2 + |rho| sum_edges w (x_i - sign(rho) x_j)^2, and what a diagonal of W adds.
        """
        sign, size = jnp.where(correlation >= 0, 1.0, -1.0).astype(x.dtype), jnp.abs(correlation)
        degrees, weights, diagonal = (cast(a, x.dtype) for a in (self.degrees(), self.weights, self.diagonal))
        first, second = self.ends
        gaps = x[..., first] - jnp.asarray(sign)[..., None] * x[..., second]
        level = jnp.sum(degrees * x * x, axis=-1)
        rough = jnp.sum(weights * gaps * gaps, axis=-1)
        own = jnp.where(correlation >= 0, 0.0, 2.0).astype(x.dtype) * jnp.sum(diagonal * x * x, axis=-1)
        return (1 - size) * level + size * (rough + own)


def laplacian_eigenvalues(weights: Any) -> Any:
    """Of I - D^(-1/2) W D^(-1/2), between 0 and 2; in double precision where W is numpy."""
    xp = array_module(weights)
    wide = np.asarray(weights, np.float64) if xp is np else weights
    wide = wide if xp is np or wide.dtype.itemsize >= 4 else wide.astype(jnp.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = wide.sum(axis=-1) ** -0.5
    scaled = wide * root[..., :, None] * root[..., None, :]
    scaled = xp.where(xp.isfinite(scaled), scaled, 0.0)
    eigenvalues = 1 - xp.linalg.eigvalsh(scaled)
    return xp.clip(eigenvalues, 0.0, 2.0)
