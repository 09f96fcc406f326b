"""Linear bijections with free parameters: matrix exponentials and mixtures of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, as_array, message

from . import constraints
from ._constraint import Constraint, independent
from ._flows import VectorFlow
from ._transform import Transform, need_axes


class MatrixExponential(VectorFlow):
    """y = exp(W) x with ``weights`` W (…, n, n): log |det| = tr W. Hoogeboom et al. (2020)."""

    _fields = ("weights",)
    weights: Any

    def __init__(self, weights: Any) -> None:
        self._assign(weights=as_array(weights))

    def _batch(self) -> tuple[int, ...]:
        return np.shape(self.weights)[:-2]

    def __call__(self, x: Any) -> Any:
        return self._flow(x, 1)

    def _inverse(self, y: Any) -> Any:
        return self._flow(y, -1)

    def _flow(self, x: Any, time: int) -> Any:
        return jnp.matmul(jax.scipy.linalg.expm(time * jnp.asarray(self.weights)), x[..., None])[..., 0]

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        trace = jnp.trace(jnp.asarray(self.weights), axis1=-2, axis2=-1)
        return jnp.broadcast_to(trace, self.forward_shape(np.shape(x))[:-1])


class GeneralizedChannelPermute(Transform):
    """y = P L U x over the channels of images x (…, channels, height, width): log |det| = height width sum log |U_ii|.

    ``permutation`` is the matrix P; ``LU`` holds L, of unit diagonal, below its diagonal and U above and on it;
    both are (channels, channels). Kingma and Dhariwal (2018), section 3.2.
    """

    _fields = ("permutation", "LU")
    permutation: Any
    LU: Any

    def __init__(self, permutation: Any, LU: Any) -> None:
        shapes = np.shape(permutation), np.shape(LU)
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][0] != shapes[0][1]:
            raise ShapeError(
                message(
                    "GeneralizedChannelPermute: permutation and LU are not square matrices of one size.",
                    expected="(channels, channels) for both",
                    got=f"{shapes[0]} and {shapes[1]}",
                )
            )
        self._assign(permutation=as_array(permutation), LU=as_array(LU))

    @property
    def domain(self) -> Constraint:
        return independent(constraints.real, 3)

    @property
    def codomain(self) -> Constraint:
        return independent(constraints.real, 3)

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        lower = jnp.tril(self.LU, -1) + np.eye(np.shape(self.LU)[-1], dtype=x.dtype)
        matrix = self.permutation @ lower @ jnp.triu(self.LU)
        return jnp.einsum("ij,...jhw->...ihw", matrix, x)

    def _inverse(self, y: Any) -> Any:
        shape = self.inverse_shape(np.shape(y))
        flat = jnp.moveaxis(y.reshape((*shape[:-2], -1)), -2, 0)
        flat = (jnp.asarray(self.permutation).T @ flat.reshape((shape[-3], -1))).astype(y.dtype)
        flat = jax.scipy.linalg.solve_triangular(self.LU, flat, lower=True, unit_diagonal=True)
        flat = jax.scipy.linalg.solve_triangular(self.LU, flat)
        return jnp.moveaxis(flat.reshape((shape[-3], *shape[:-3], *shape[-2:])), 0, -3)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        shape = np.shape(x)
        one = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(jnp.asarray(self.LU)))))
        return jnp.broadcast_to(shape[-1] * shape[-2] * one, shape[:-3])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 3)
        channels = np.shape(self.LU)[-1]
        if shape[-3] != channels:
            raise ShapeError(
                message(
                    "GeneralizedChannelPermute: wrong number of channels.",
                    expected=channels,
                    got=tuple(shape),
                )
            )
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)
