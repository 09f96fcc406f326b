"""From real to complex numbers: Fourier coefficients, and pairs of reals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, broadcast, message

from . import constraints
from ._constraint import Constraint, independent
from ._transform import Transform, need_axes


class RealFastFourierTransform(Transform):
    """The Fourier coefficients of a real array over its last ``transform_ndims`` axes, the last one halved.

    ``transform_shape`` is the length of those axes; the inverse needs it where the last one is odd. The
    log-determinant is that of the map to the real and imaginary parts that are free.
    """

    _static = ("transform_shape", "transform_ndims")
    transform_shape: tuple[int, ...] | None
    transform_ndims: int

    def __init__(self, transform_shape: int | Sequence[int] | None = None, transform_ndims: int = 1) -> None:
        shape = (transform_shape,) if isinstance(transform_shape, int) else transform_shape
        shape = None if shape is None else tuple(int(size) for size in shape)
        if shape is not None and len(shape) != transform_ndims:
            raise ShapeError(
                message(
                    "RealFastFourierTransform: transform_shape has not one length for each axis.",
                    expected=f"{transform_ndims} lengths",
                    got=shape,
                )
            )
        self._assign(transform_shape=shape, transform_ndims=int(transform_ndims))

    @property
    def domain(self) -> Constraint:
        return independent(constraints.real, self.transform_ndims)

    @property
    def codomain(self) -> Constraint:
        return independent(constraints.complex, self.transform_ndims)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.transform_ndims, 0))

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        return jnp.fft.rfftn(x, axes=self._axes)

    def _inverse(self, y: Any) -> Any:
        shape = self.inverse_shape(np.shape(y))
        return jnp.fft.irfftn(y, s=shape[-self.transform_ndims :], axes=self._axes)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        sizes = np.shape(x)[-self.transform_ndims :]
        size = math.prod(sizes)
        # Coefficients that are real by symmetry: one for each axis of odd length, two for an even one.
        real = math.prod(2 - n % 2 for n in sizes)
        value = 0.5 * (size * math.log(size) - (size - real) * math.log(2.0))
        return broadcast(np.asarray(value, x.dtype), np.shape(x)[: -self.transform_ndims])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, self.transform_ndims)
        self._need(shape, self.transform_shape)
        return (*shape[:-1], shape[-1] // 2 + 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, self.transform_ndims)
        if self.transform_shape is None:
            return (*shape[:-1], 2 * (shape[-1] - 1))
        self._need(shape, (*self.transform_shape[:-1], self.transform_shape[-1] // 2 + 1))
        return (*shape[: -self.transform_ndims], *self.transform_shape)

    def _need(self, shape: Sequence[int], last: tuple[int, ...] | None) -> None:
        got = tuple(shape[len(shape) - self.transform_ndims :])
        if last is not None and got != last:
            raise ShapeError(message(f"{type(self).__name__}: wrong last axes.", expected=last, got=got))


class PackRealFastFourierCoefficientsTransform(Transform):
    """The coefficients of a real Fourier transform from the n numbers that are free: real parts, imaginary parts.

    ``transform_shape`` is (n,); the inverse needs it.
    """

    _static = ("shape",)
    shape: tuple[int, ...] | None

    def __init__(self, transform_shape: Sequence[int] | None = None) -> None:
        shape = None if transform_shape is None else tuple(int(size) for size in transform_shape)
        if shape is not None and len(shape) != 1:
            raise ShapeError(
                message(
                    "PackRealFastFourierCoefficientsTransform is for vectors.", expected="(n,)", got=shape
                )
            )
        self._assign(shape=shape)

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return independent(constraints.complex, 1)

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        n_real = np.shape(x)[-1] // 2 + 1
        real, imaginary = x[..., :n_real], x[..., n_real:]
        # The first coefficient is real, and of an even number of entries the last one.
        widths = ((0, 0),) * (np.ndim(x) - 1) + ((1, n_real - 1 - np.shape(imaginary)[-1]),)
        return _complex(real, jnp.pad(imaginary, widths))

    def _inverse(self, y: Any) -> Any:
        n = self.inverse_shape(np.shape(y))[-1]
        return jnp.concatenate([jnp.real(y), jnp.imag(y)[..., 1 : n - n // 2]], axis=-1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        if self.shape is not None and shape[-1] != self.shape[0]:
            raise ShapeError(
                message(f"{type(self).__name__}: wrong last axis.", expected=self.shape[0], got=shape[-1])
            )
        return (*shape[:-1], shape[-1] // 2 + 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        if self.shape is None or shape[-1] != self.shape[0] // 2 + 1:
            raise ShapeError(
                message(
                    f"{type(self).__name__}: the number of entries is not known from that of the coefficients.",
                    got=f"transform_shape={self.shape}, {shape[-1]} coefficients",
                    fix="pass transform_shape=(n,), with n // 2 + 1 coefficients.",
                )
            )
        return (*shape[:-1], self.shape[0])


class ComplexTransform(Transform):
    """x_1 + i x_2 of pairs x along the last axis."""

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.complex

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        return _complex(x[..., 0], x[..., 1])

    def _inverse(self, y: Any) -> Any:
        return jnp.stack([jnp.real(y), jnp.imag(y)], axis=-1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        if shape[-1] != 2:
            raise ShapeError(
                message("ComplexTransform takes pairs.", expected="a last axis of length 2", got=tuple(shape))
            )
        return tuple(shape[:-1])

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape, 2)


def _complex(real: Any, imaginary: Any) -> Any:
    """real + i imaginary; there are no complex numbers below single precision."""
    dtype = jnp.promote_types(real.dtype, jnp.float32)
    return jax.lax.complex(real.astype(dtype), imaginary.astype(dtype))
