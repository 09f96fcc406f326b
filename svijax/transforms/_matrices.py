"""Bijections onto triangular and positive definite matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, log_sigmoid, message, softplus, softplus_inverse

from . import constraints
from ._constraint import Constraint
from ._transform import Transform, need_axes


class _TriangularTransform(Transform):
    """From vectors of n (n + 1) / 2 numbers: first the strict lower triangle by rows, then the diagonal."""

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        n = _side(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 2)
        n = shape[-1]
        return (*shape[:-2], n * (n + 1) // 2)


def _side(size: int) -> int:
    n = (math.isqrt(8 * size + 1) - 1) // 2
    if n * (n + 1) // 2 != size:
        raise ShapeError(
            message("a triangular matrix with n rows has n (n + 1) / 2 entries.", got=f"{size} entries")
        )
    return n


def _split(x: Any) -> tuple[Any, Any]:
    """The strict lower triangle of zeros and x, as a matrix, and the numbers for the diagonal."""
    n = _side(np.shape(x)[-1])
    rows, columns = np.tril_indices(n, -1)
    strict = jnp.zeros((*np.shape(x)[:-1], n, n), x.dtype).at[..., rows, columns].set(x[..., : len(rows)])
    return strict, x[..., len(rows) :]


def _join(matrix: Any, diagonal: Any) -> Any:
    rows, columns = np.tril_indices(np.shape(matrix)[-1], -1)
    return jnp.concatenate([matrix[..., rows, columns], diagonal], axis=-1)


def _diagonal(matrix: Any) -> Any:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _with_diagonal(strict: Any, diagonal: Any) -> Any:
    return jnp.where(np.eye(np.shape(strict)[-1], dtype=bool), diagonal[..., None], strict)


class LowerCholeskyTransform(_TriangularTransform):
    """L with the strict triangle of x and the diagonal exp(d): log |det| = sum d."""

    @property
    def codomain(self) -> Constraint:
        return constraints.lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        return _with_diagonal(strict, jnp.exp(diagonal))

    def _inverse(self, y: Any) -> Any:
        return _join(y, jnp.log(_diagonal(y)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(_split(x)[1], axis=-1)


class SoftplusLowerCholeskyTransform(_TriangularTransform):
    """L with the strict triangle of x and the diagonal softplus(d)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.softplus_lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        return _with_diagonal(strict, softplus(diagonal))

    def _inverse(self, y: Any) -> Any:
        return _join(y, softplus_inverse(_diagonal(y)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(log_sigmoid(_split(x)[1]), axis=-1)


class ScaledUnitLowerCholeskyTransform(_TriangularTransform):
    """L = S U: U unit triangular with the strict triangle of x, S the diagonal softplus(d)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.scaled_unit_lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        scale = softplus(diagonal)
        return _with_diagonal(strict * scale[..., None], scale)

    def _inverse(self, y: Any) -> Any:
        scale = _diagonal(y)
        return _join(y / scale[..., None], softplus_inverse(scale))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        # Row i has i entries below the diagonal, each scaled by s_i.
        diagonal = _split(x)[1]
        below = np.arange(np.shape(diagonal)[-1], dtype=x.dtype)
        return jnp.sum(below * jnp.log(softplus(diagonal)) + log_sigmoid(diagonal), axis=-1)


class CholeskyTransform(Transform):
    """The lower factor L of a positive definite matrix X = L L^T; the entries of the lower triangle count.

    log |det dL/dX| = -n log 2 - sum_i (n - i) log L_ii, i from 0.
    """

    @property
    def domain(self) -> Constraint:
        return constraints.positive_definite

    @property
    def codomain(self) -> Constraint:
        return constraints.lower_cholesky

    def __call__(self, x: Any) -> Any:
        return jnp.linalg.cholesky(x)

    def _inverse(self, y: Any) -> Any:
        return jnp.matmul(y, jnp.swapaxes(y, -2, -1))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        n = np.shape(y)[-1]
        order = np.arange(n, 0, -1, dtype=y.dtype)
        return -n * math.log(2.0) - jnp.sum(order * jnp.log(_diagonal(y)), axis=-1)
