"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, array_module, as_array, broadcast, cast, float_dtype, message
from svijax.transforms import constraints

from ._distribution import Distribution
from ._logits import take_one
from ._parameters import check, parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class MultivariateNormal(Distribution):
    """p(x) = exp(-|L^-1 (x - loc)|^2 / 2) / ((2 pi)^(n/2) det L), L the lower factor of the covariance L L^T.

    loc (…, n); exactly one of covariance_matrix, precision_matrix, scale_tril = L, each (…, n, n); L is kept.
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        covariance_matrix=constraints.positive_definite,
        precision_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
    )
    support = constraints.real_vector
    _fields = ("loc", "scale_tril")
    _noise_kind = "normal"
    loc: jax.Array
    scale_tril: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        take_one("MultivariateNormal", **given)
        name, matrix = next((name, as_array(x)) for name, x in given.items() if x is not None)
        shape = np.shape(matrix)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ShapeError(
                message(f"MultivariateNormal: {name!r} is not made of square matrices.", got=f"shape {shape}")
            )
        matrix = cast(matrix, float_dtype(matrix))
        if validate_args is not False:
            check("MultivariateNormal", name, matrix, self.arg_constraints[name])
        if name != "scale_tril":
            matrix = _tril_of(name, matrix)
        self._init(validate_args, loc=_to_vectors(loc, shape[-1]), scale_tril=matrix)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    @property
    def covariance_matrix(self) -> Any:
        return jnp.matmul(self.scale_tril, jnp.swapaxes(self.scale_tril, -2, -1))

    @property
    def precision_matrix(self) -> Any:
        eye = jnp.broadcast_to(jnp.eye(self.event_shape[0], dtype=self.dtype), self.scale_tril.shape)
        inverse = jax.scipy.linalg.solve_triangular(self.scale_tril, eye, lower=True)
        return jnp.matmul(jnp.swapaxes(inverse, -2, -1), inverse)

    def from_noise(self, noise: Any) -> Any:
        if self.scale_tril.ndim == 2:
            return self.loc + jnp.matmul(noise, self.scale_tril.T)
        return self.loc + jnp.squeeze(jnp.matmul(self.scale_tril, noise[..., None]), -1)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * jnp.sum(noise * noise, axis=-1) - self._log_norm()

    def log_prob(self, value: Any) -> Any:
        gap = jnp.asarray(value - self.loc)
        front = gap.ndim - self.loc.ndim
        if front == 0:
            z = jax.scipy.linalg.solve_triangular(self.scale_tril, gap[..., None], lower=True)
            return -0.5 * jnp.sum(z * z, axis=(-2, -1)) - self._log_norm()
        # Sample axes become columns of one system, so that no copy of the factor is made for each sample.
        columns = jnp.moveaxis(gap.reshape((-1, *self.loc.shape)), 0, -1)
        z = jax.scipy.linalg.solve_triangular(self.scale_tril, columns, lower=True)
        squares = jnp.moveaxis(jnp.sum(z * z, axis=-2), -1, 0).reshape(gap.shape[:-1])
        return -0.5 * squares - self._log_norm()

    def _log_norm(self) -> Any:
        diagonal = array_module(self.scale_tril).diagonal(self.scale_tril, axis1=-2, axis2=-1)
        return jnp.sum(jnp.log(diagonal), axis=-1) + self.event_shape[0] * _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return (self.scale_tril**2).sum(axis=-1)

    def entropy(self) -> Any:
        return 0.5 * self.event_shape[0] + self._log_norm()


def _to_vectors(loc: Any, size: int) -> Any:
    loc = as_array(loc)
    shape = np.shape(loc) or (1,)
    if shape[-1] not in (1, size):
        raise ShapeError(
            message(
                "MultivariateNormal: loc and the matrix are of unlike size.",
                got=f"loc {np.shape(loc)} and matrices of {size} rows",
            )
        )
    return loc if shape[-1] == size and np.ndim(loc) else broadcast(loc, (*shape[:-1], size))


def _tril_of(name: str, matrix: Any) -> Any:
    """The lower factor of the covariance, from the covariance or the precision; not in half precision."""
    dtype = matrix.dtype
    matrix = cast(matrix, jnp.promote_types(dtype, jnp.float32))
    if name == "covariance_matrix":
        return cast(array_module(matrix).linalg.cholesky(matrix), dtype)
    return cast(_tril_of_precision(matrix), dtype)


def _tril_of_precision(matrix: Any) -> Any:
    """L with L L^T = P^-1: P = U U^T with U upper triangular, from the Cholesky factor of P turned over."""
    xp = array_module(matrix)
    upper = xp.linalg.cholesky(matrix[..., ::-1, ::-1])[..., ::-1, ::-1]
    transposed = xp.swapaxes(upper, -2, -1)
    if xp is np:
        return np.tril(np.linalg.inv(transposed))
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return jax.scipy.linalg.solve_triangular(transposed, eye, lower=True)
