"""Bijections onto triangular and positive definite matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, broadcast, diagonal_of, log_sigmoid, message, softplus, softplus_inverse

from . import constraints
from ._constraint import Constraint
from ._transform import Transform, need_axes


class TriangleTransform(Transform):
    """From vectors: first the strict lower triangle by rows, then the diagonal, unless ``_strict`` leaves it out."""

    _strict: ClassVar[bool] = False

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        n = side_of(shape[-1]) + self._strict
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 2)
        n = shape[-1] - self._strict
        return (*shape[:-2], n * (n + 1) // 2)


def side_of(size: int) -> int:
    """The number of rows of a triangle with this many entries."""
    n = (math.isqrt(8 * size + 1) - 1) // 2
    if n * (n + 1) // 2 != size:
        raise ShapeError(
            message("a triangular matrix with n rows has n (n + 1) / 2 entries.", got=f"{size} entries")
        )
    return n


def strict_lower(x: Any, n: int) -> Any:
    """The n x n matrix whose strict lower triangle holds the first entries of x by rows; 0 elsewhere."""
    rows, columns = np.tril_indices(n, -1)
    zeros = jnp.zeros((*np.shape(x)[:-1], n, n), x.dtype)
    return zeros.at[..., rows, columns].set(x[..., : len(rows)])


def _split(x: Any) -> tuple[Any, Any]:
    """The strict lower triangle of x, as a matrix, and the numbers for the diagonal."""
    return strict_lower(x, side_of(np.shape(x)[-1])), _diagonal_part(x)


def _diagonal_part(x: Any) -> Any:
    n = side_of(np.shape(x)[-1])
    return x[..., n * (n - 1) // 2 :]


def _join(matrix: Any, diagonal: Any) -> Any:
    rows, columns = np.tril_indices(np.shape(matrix)[-1], -1)
    return jnp.concatenate([matrix[..., rows, columns], diagonal], axis=-1)


def _with_diagonal(strict: Any, diagonal: Any) -> Any:
    return jnp.where(np.eye(np.shape(strict)[-1], dtype=bool), diagonal[..., None], strict)


class LowerTriangularTransform(TriangleTransform):
    """L with the strict triangle of x and its diagonal."""

    @property
    def codomain(self) -> Constraint:
        return constraints.lower_triangular

    def __call__(self, x: Any) -> Any:
        return _with_diagonal(*_split(x))

    def _inverse(self, y: Any) -> Any:
        return _join(y, diagonal_of(y))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])


class SymmetricTransform(LowerTriangularTransform):
    """Symmetric matrices with the strict triangle of x and its diagonal; the lower triangle counts."""

    @property
    def codomain(self) -> Constraint:
        return constraints.symmetric

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        return _with_diagonal(strict + jnp.swapaxes(strict, -2, -1), diagonal)


class UnitLowerCholeskyTransform(TriangleTransform):
    """L with the strict triangle of x, by rows, and ones on the diagonal."""

    _strict = True

    @property
    def codomain(self) -> Constraint:
        return constraints.unit_lower_cholesky

    def __call__(self, x: Any) -> Any:
        n = self.forward_shape(np.shape(x))[-1]
        return strict_lower(x, n) + np.eye(n, dtype=x.dtype)

    def _inverse(self, y: Any) -> Any:
        return y[..., *np.tril_indices(np.shape(y)[-1], -1)]

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])


class LowerCholeskyTransform(TriangleTransform):
    """L with the strict triangle of x and the diagonal exp(d): log |det| = sum d."""

    @property
    def codomain(self) -> Constraint:
        return constraints.lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        return _with_diagonal(strict, jnp.exp(diagonal))

    def _inverse(self, y: Any) -> Any:
        return _join(y, jnp.log(diagonal_of(y)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(_diagonal_part(x), axis=-1)


class SoftplusLowerCholeskyTransform(TriangleTransform):
    """L with the strict triangle of x and the diagonal softplus(d)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.softplus_lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        return _with_diagonal(strict, softplus(diagonal))

    def _inverse(self, y: Any) -> Any:
        return _join(y, softplus_inverse(diagonal_of(y)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(log_sigmoid(_diagonal_part(x)), axis=-1)


class ScaledUnitLowerCholeskyTransform(TriangleTransform):
    """L = S U: U unit triangular with the strict triangle of x, S the diagonal softplus(d)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.scaled_unit_lower_cholesky

    def __call__(self, x: Any) -> Any:
        strict, diagonal = _split(x)
        scale = softplus(diagonal)
        return _with_diagonal(strict * scale[..., None], scale)

    def _inverse(self, y: Any) -> Any:
        scale = diagonal_of(y)
        return _join(y / scale[..., None], softplus_inverse(scale))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        # Row i has i entries below the diagonal, each scaled by s_i.
        diagonal = _diagonal_part(x)
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
        return -n * math.log(2.0) - jnp.sum(order * jnp.log(diagonal_of(y)), axis=-1)


class PositiveDefiniteTransform(TriangleTransform):
    """X = L L^T with L of ``LowerCholeskyTransform``, in one step; the lower triangle of X counts.

    log |det| = n log 2 + sum_i (n - i + 1) d_i, i from 0: no logarithm of what was an exponential.
    """

    @property
    def codomain(self) -> Constraint:
        return constraints.positive_definite

    def __call__(self, x: Any) -> Any:
        return CholeskyTransform()._inverse(LowerCholeskyTransform()(x))

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform()._inverse(jnp.linalg.cholesky(y))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        n = side_of(np.shape(x)[-1])
        order = np.arange(n + 1, 1, -1, dtype=x.dtype)
        return n * math.log(2.0) + jnp.sum(order * _diagonal_part(x), axis=-1)
