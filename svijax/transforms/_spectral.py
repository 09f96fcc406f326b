"""Orthogonal changes of basis along an axis: cosines and Haar wavelets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, broadcast, message

from . import constraints
from ._constraint import Constraint, independent
from ._transform import Transform, need_axes


class _AlongAxis(Transform):
    """An orthogonal map along the axis ``dim`` < 0."""

    dim: int

    @property
    def domain(self) -> Constraint:
        return independent(constraints.real, -self.dim)

    @property
    def codomain(self) -> Constraint:
        return independent(constraints.real, -self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[: self.dim])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, -self.dim)
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)

    def _need_negative(self, dim: int) -> int:
        if dim >= 0:
            raise ArgumentError(
                message(f"{type(self).__name__}: dim counts from the right and is negative.", got=dim)
            )
        return int(dim)


class DiscreteCosineTransform(_AlongAxis):
    """The orthonormal cosine transform of type II along ``dim``, its coefficients weighted by frequency^``smooth``.

    The weights have the geometric mean 1, so |det| = 1. With ``smooth`` = 1 white noise is the image of
    Brownian noise, with 2 that of integrated Brownian noise.
    """

    _static = ("dim", "smooth")
    smooth: float

    def __init__(self, dim: int = -1, smooth: float = 0.0) -> None:
        self._assign(dim=self._need_negative(dim), smooth=float(smooth))

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        y = jax.scipy.fft.dct(x, type=2, norm="ortho", axis=self.dim)
        return y * self._weights(y) if self.smooth else y

    def _inverse(self, y: Any) -> Any:
        self.inverse_shape(np.shape(y))
        y = y / self._weights(y) if self.smooth else y
        return jax.scipy.fft.idct(y, type=2, norm="ortho", axis=self.dim)

    def _weights(self, y: Any) -> np.ndarray:
        logs = self.smooth * np.log(np.arange(np.shape(y)[self.dim]) + 0.5)
        return np.exp(logs - logs.mean()).astype(y.dtype).reshape((-1, *(1,) * (-self.dim - 1)))


class HaarTransform(_AlongAxis):
    """The orthonormal Haar wavelet transform along ``dim``, after a reversal of the axis if ``flip``.

    y = (mean, coarsest differences, …, finest differences). At a level of odd length the last entry stays as it is
    and follows the differences of the level.
    """

    _static = ("dim", "flip")
    flip: bool

    def __init__(self, dim: int = -1, flip: bool = False) -> None:
        self._assign(dim=self._need_negative(dim), flip=bool(flip))

    def __call__(self, x: Any) -> Any:
        self.forward_shape(np.shape(x))
        low = jnp.swapaxes(x, self.dim, -1)
        low = jnp.flip(low, -1) if self.flip else low
        parts: list[Any] = []
        while (n := low.shape[-1] // 2) > 0:
            even, odd = low[..., 0 : 2 * n : 2], low[..., 1 : 2 * n : 2]
            parts = [(even - odd) * math.sqrt(0.5), low[..., 2 * n :], *parts]
            low = (even + odd) * math.sqrt(0.5)
        return jnp.swapaxes(jnp.concatenate([low, *parts], axis=-1), self.dim, -1)

    def _inverse(self, y: Any) -> Any:
        self.inverse_shape(np.shape(y))
        y = jnp.swapaxes(y, self.dim, -1)
        size = y.shape[-1]
        lengths = [size >> level for level in range(max(size.bit_length() - 1, 0))]
        low, start = y[..., :1], 1
        for length in reversed(lengths):
            n = length // 2
            high, rest = y[..., start : start + n], y[..., start + n : start + length - n]
            pairs = jnp.stack([low + high, low - high], axis=-1) * math.sqrt(0.5)
            low = jnp.concatenate([pairs.reshape((*high.shape[:-1], 2 * n)), rest], axis=-1)
            start += length - n
        low = jnp.flip(low, -1) if self.flip else low
        return jnp.swapaxes(low, self.dim, -1)
