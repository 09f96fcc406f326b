"""Linear bijections of whole arrays: |det| = 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, array_module, as_array, broadcast, message

from . import constraints
from ._constraint import Constraint, independent
from ._transform import Transform, need_axes


class ZeroSumTransform(Transform):
    """An isometry of R^(n-1) onto the vectors in R^n that sum to 0, along each of the last ``transform_ndims`` axes.

    y_i = x_i - s / (n + sqrt(n)) for i < n and y_n = -s / sqrt(n), with s = x_1 + … + x_(n-1).
    """

    _static = ("transform_ndims",)
    transform_ndims: int

    def __init__(self, transform_ndims: int = 1) -> None:
        self._assign(transform_ndims=int(transform_ndims))

    @property
    def domain(self) -> Constraint:
        return independent(constraints.real, self.transform_ndims)

    @property
    def codomain(self) -> Constraint:
        return constraints.zero_sum(self.transform_ndims)

    def __call__(self, x: Any) -> Any:
        for axis in range(-self.transform_ndims, 0):
            root = math.sqrt(np.shape(x)[axis] + 1)
            last = jnp.sum(x, axis=axis, keepdims=True) / -root
            x = jnp.concatenate([x + last / (1.0 + root), last], axis=axis)
        return x

    def _inverse(self, y: Any) -> Any:
        for axis in range(-self.transform_ndims, 0):
            n = np.shape(y)[axis]
            rest = (slice(None),) * (-axis - 1)
            y = y[(..., slice(n - 1), *rest)] - y[(..., slice(n - 1, n), *rest)] / (1.0 + math.sqrt(n))
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[: -self.transform_ndims])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._resized(shape, 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._resized(shape, -1)

    def _resized(self, shape: Sequence[int], change: int) -> tuple[int, ...]:
        need_axes(self, shape, self.transform_ndims)
        cut = len(shape) - self.transform_ndims
        return (*shape[:cut], *(size + change for size in shape[cut:]))


class RecursiveLinearTransform(Transform):
    """y_t = A y_(t-1) + x_t with y_0 = ``initial_value`` (None: 0); x and y are (…, T, n), A is (…, n, n)."""

    _fields = ("transition_matrix", "initial_value")
    transition_matrix: Any
    initial_value: Any

    def __init__(self, transition_matrix: Any, initial_value: Any = None) -> None:
        matrix = as_array(transition_matrix)
        start = None if initial_value is None else as_array(initial_value)
        shape = np.shape(matrix)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ShapeError(
                message("RecursiveLinearTransform: transition_matrix is not square.", got=f"shape {shape}")
            )
        if start is not None and np.shape(start)[-1:] != shape[-1:]:
            raise ShapeError(
                message(
                    "RecursiveLinearTransform: initial_value has not the length of the state.",
                    expected=f"(…, {shape[-1]})",
                    got=np.shape(start),
                )
            )
        self._assign(transition_matrix=matrix, initial_value=start)

    @property
    def domain(self) -> Constraint:
        return constraints.real_matrix

    @property
    def codomain(self) -> Constraint:
        return constraints.real_matrix

    def __call__(self, x: Any) -> Any:
        shape = self.forward_shape(np.shape(x))
        x = jnp.moveaxis(jnp.broadcast_to(x, shape), -2, 0)

        def step(state: Any, noise: Any) -> tuple[Any, Any]:
            state = self._moved(state) + noise
            return state, state

        start = jnp.zeros(x.shape[1:], x.dtype) if self.initial_value is None else self.initial_value
        return jnp.moveaxis(
            jax.lax.scan(step, jnp.broadcast_to(start, x.shape[1:]).astype(x.dtype), x)[1], 0, -2
        )

    def _inverse(self, y: Any) -> Any:
        shape = self.forward_shape(np.shape(y))
        y = jnp.broadcast_to(y, shape)
        start = jnp.zeros((), y.dtype) if self.initial_value is None else self.initial_value[..., None, :]
        first = jnp.broadcast_to(start, (*shape[:-2], 1, shape[-1])).astype(y.dtype)
        before = jnp.concatenate([first, y[..., :-1, :]], axis=-2)
        return y - jnp.matmul(
            before, array_module(self.transition_matrix).swapaxes(self.transition_matrix, -2, -1)
        )

    def _moved(self, state: Any) -> Any:
        return jnp.matmul(self.transition_matrix, state[..., None])[..., 0]

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), self.forward_shape(np.shape(x))[:-2])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 2)
        start = () if self.initial_value is None else np.shape(self.initial_value)[:-1]
        batch = np.broadcast_shapes(tuple(shape[:-2]), np.shape(self.transition_matrix)[:-2], start)
        return (*batch, *shape[-2:])

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)
