"""Bijections onto correlation matrices and their Cholesky factors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import diagonal_of

from . import constraints
from ._activations import log_sech
from ._constraint import Constraint
from ._matrices import CholeskyTransform, TriangleTransform, side_of, strict_lower


class CorrCholeskyTransform(TriangleTransform):
    """L_ij = tanh(x_ij) prod_{k<j} sech(x_ik) for j < i, and L_ii = prod_{k<i} sech(x_ik): rows of length 1.

    Stick breaking of the unit length with logarithms, so that no diagonal entry is rounded to 0 before it must
    be. log |det| = sum_ij (i - j + 1) log sech(x_ij), over the entries of the strict lower triangle of L.
    """

    _strict = True

    @property
    def codomain(self) -> Constraint:
        return constraints.corr_cholesky

    def __call__(self, x: Any) -> Any:
        n = side_of(np.shape(x)[-1]) + 1
        free = strict_lower(x, n)
        before = jnp.cumsum(log_sech(free)[..., :-1], axis=-1)
        left = jnp.exp(jnp.concatenate([jnp.zeros_like(free[..., :1]), before], axis=-1))
        left = jnp.maximum(left, float(jnp.finfo(x.dtype).tiny))
        return jnp.where(np.eye(n, dtype=bool), left, jnp.tanh(free) * left)

    def _inverse(self, y: Any) -> Any:
        rows, columns = np.tril_indices(np.shape(y)[-1], -1)
        # What is left of a row after entry j is the sum of the later squares: no difference from 1.
        left = jnp.flip(jnp.cumsum(jnp.flip(y[..., 1:] ** 2, axis=-1), axis=-1), axis=-1)
        left = jnp.maximum(left[..., rows, columns], float(jnp.finfo(y.dtype).tiny))
        return jnp.arcsinh(y[..., rows, columns] / jnp.sqrt(left))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        rows, columns = np.tril_indices(side_of(np.shape(x)[-1]) + 1, -1)
        return jnp.sum((rows - columns + 1).astype(x.dtype) * log_sech(x), axis=-1)


class CorrMatrixCholeskyTransform(CholeskyTransform):
    """The lower factor L of a correlation matrix X = L L^T; the entries of the strict lower triangle count.

    log |det dL/dX| = -sum_i (n - 1 - i) log L_ii, i from 0.
    """

    @property
    def domain(self) -> Constraint:
        return constraints.corr_matrix

    @property
    def codomain(self) -> Constraint:
        return constraints.corr_cholesky

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        order = np.arange(np.shape(y)[-1] - 1, -1, -1, dtype=y.dtype)
        return -jnp.sum(order * jnp.log(diagonal_of(y)), axis=-1)


class CorrMatrixTransform(TriangleTransform):
    """X = L L^T with L of ``CorrCholeskyTransform``, in one step.

    log |det| = sum_ij (n - j) log sech(x_ij), j from 0: no logarithm of a diagonal that was rounded.
    """

    _strict = True

    @property
    def codomain(self) -> Constraint:
        return constraints.corr_matrix

    def __call__(self, x: Any) -> Any:
        return CorrMatrixCholeskyTransform()._inverse(CorrCholeskyTransform()(x))

    def _inverse(self, y: Any) -> Any:
        return CorrCholeskyTransform()._inverse(jnp.linalg.cholesky(y))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        n = side_of(np.shape(x)[-1]) + 1
        columns = np.tril_indices(n, -1)[1]
        return jnp.sum((n - columns).astype(x.dtype) * log_sech(x), axis=-1)
