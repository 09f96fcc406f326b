"""Linear algebra on batches of matrices: triangular factors, and systems whose sample axes are columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._numerics import array_module, broadcast, cast


def widened(value: Any) -> Any:
    """The value in single precision at least: matrices are not factored in half precision."""
    dtype = jnp.result_type(value)
    return cast(value, jnp.promote_types(dtype, jnp.float32))


def transposed(matrix: Any) -> Any:
    """The last two axes exchanged."""
    return array_module(matrix).swapaxes(matrix, -2, -1)


def diagonal_of(matrix: Any) -> Any:
    """The diagonals, along the last axis."""
    return array_module(matrix).diagonal(matrix, axis1=-2, axis2=-1)


def matmul(a: Any, b: Any) -> jax.Array:
    """The product of matrices; accelerators would else round the factors to ten bits."""
    return jnp.matmul(a, b, precision="highest")


def on_columns(function: Callable[[Any, Any], Any], matrix: Any, vectors: Any) -> jax.Array:
    """``function(matrix, columns)`` for vectors (…, *batch, n), the matrix having the axes (*batch, m, n).

    Axes of the vectors that the matrix has not, or has in size 1, become columns of one system, so that no
    copy of the matrix is made for each of them. The result has the axes (…, *batch, k) of k rows.
    """
    batch = np.shape(matrix)[:-2]
    front = np.ndim(vectors) - 1 - len(batch)
    shape = np.shape(vectors)
    grown = [front + i for i, size in enumerate(batch) if shape[front + i] != size]
    free = [*range(front), *grown]
    last = range(-len(free), 0)
    columns = jnp.moveaxis(jnp.asarray(vectors), free, last)
    kept = columns.shape[: columns.ndim - len(free) - 1]
    result = function(matrix, columns.reshape((*batch, shape[-1], -1)))
    result = result.reshape((*kept, result.shape[-2], *(shape[axis] for axis in free)))
    return jnp.moveaxis(result, last, free)


def matvec(matrix: Any, vectors: Any) -> jax.Array:
    """The products of the matrix with vectors (…, *batch, n)."""
    if np.ndim(matrix) == 2:
        # One product over all rows; in this form XLA makes the draws of the rows in the least time.
        return jnp.squeeze(matmul(matrix, vectors[..., None]), -1)
    return on_columns(matmul, matrix, vectors)


def solve_tril(tril: Any, right: Any, *, transpose: bool = False) -> jax.Array:
    """L^-1 times matrices (…, n, k) of L's own batch; with ``transpose`` L^-T times them."""
    dtype = jnp.result_type(tril, right)
    wide, right = widened(tril), jnp.asarray(widened(right))
    solved = jax.scipy.linalg.solve_triangular(wide, right, lower=True, trans=int(transpose))
    return solved.astype(dtype)


def solve_rows(tril: Any, vectors: Any) -> jax.Array:
    """L^-1 v for vectors v (…, *batch, n)."""
    if np.ndim(tril) > 2:
        return on_columns(solve_tril, tril, vectors)
    # x L^T = v, row by row: as columns, the rows would be transposed and back.
    dtype = jnp.result_type(tril, vectors)
    wide, rows = jnp.promote_types(dtype, jnp.float32), jnp.reshape(vectors, (-1, np.shape(vectors)[-1]))
    solved = jax.lax.linalg.triangular_solve(
        jnp.asarray(tril, wide), jnp.asarray(rows, wide), lower=True, transpose_a=True
    )
    return solved.astype(dtype).reshape(np.shape(vectors))


def mahalanobis(tril: Any, vectors: Any) -> jax.Array:
    """|L^-1 v|^2 for vectors v (…, *batch, n)."""
    z = solve_rows(tril, vectors)
    return jnp.sum(z * z, axis=-1)


def log_det_tril(tril: Any) -> jax.Array:
    """log det of triangular matrices with a positive diagonal."""
    return jnp.sum(jnp.log(diagonal_of(tril)), axis=-1)


def gram(factor: Any) -> jax.Array:
    """F F^T."""
    return matmul(factor, transposed(factor))


def inverse_gram(tril: Any) -> jax.Array:
    """(L L^T)^-1."""
    eye = broadcast(np.eye(np.shape(tril)[-1], dtype=jnp.result_type(tril)), np.shape(tril))
    inverse = solve_tril(tril, eye)
    return matmul(transposed(inverse), inverse)


def cholesky(matrix: Any) -> Any:
    """The lower Cholesky factor, by numpy where the matrix is numpy."""
    xp = array_module(matrix)
    return cast(xp.linalg.cholesky(widened(matrix)), jnp.result_type(matrix))


def cholesky_of_inverse(matrix: Any) -> Any:
    """L with L L^T = P^-1: P = U U^T with U upper triangular, from the Cholesky factor of P turned over."""
    xp, dtype = array_module(matrix), jnp.result_type(matrix)
    upper = xp.linalg.cholesky(widened(matrix)[..., ::-1, ::-1])[..., ::-1, ::-1]
    lower = xp.swapaxes(upper, -2, -1)
    if xp is np:
        return cast(np.tril(np.linalg.inv(lower)), dtype)
    eye = broadcast(np.eye(matrix.shape[-1], dtype=lower.dtype), matrix.shape)
    return cast(solve_tril(lower, eye), dtype)


def cholesky_or_eye(matrix: Any) -> tuple[jax.Array, jax.Array]:
    """The Cholesky factor and whether there is one; where there is none, the unit matrix, with derivative 0."""
    tril, inside = _cholesky_or_eye(jnp.asarray(widened(matrix)))
    return tril.astype(jnp.result_type(matrix)), inside > 0


@jax.custom_jvp
def _cholesky_or_eye(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    tril = jnp.linalg.cholesky(matrix)
    inside = jnp.all(diagonal_of(tril) > 0, axis=-1)
    tril = jnp.where(inside[..., None, None], tril, np.eye(matrix.shape[-1], dtype=matrix.dtype))
    return tril, inside.astype(matrix.dtype)


@_cholesky_or_eye.defjvp
def _cholesky_or_eye_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    # dL = L F(L^-1 dA L^-T), where F takes the lower triangle and half of the diagonal.
    tril, inside = _cholesky_or_eye(*primals)
    (slope,) = tangents
    slope = jnp.where(inside[..., None, None] > 0, 0.5 * (slope + transposed(slope)), 0.0)
    middle = solve_tril(tril, transposed(solve_tril(tril, slope)))
    half = np.tril(np.ones(tril.shape[-2:], tril.dtype)) - 0.5 * np.eye(tril.shape[-1], dtype=tril.dtype)
    return (tril, inside), (matmul(tril, half * middle), jnp.zeros_like(inside))
