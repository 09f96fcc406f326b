"""Bijections that only move entries: |det| = 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, broadcast, message

from . import constraints
from ._constraint import Constraint, independent
from ._transform import Transform, need_axes


class ReshapeTransform(Transform):
    """The last axes ``inverse_shape`` of x become the last axes ``forward_shape`` of y."""

    _static = ("_forward", "_inverse_shape")

    def __init__(self, forward_shape: Sequence[int], inverse_shape: Sequence[int]) -> None:
        if math.prod(forward_shape) != math.prod(inverse_shape):
            raise ShapeError(
                message(
                    "ReshapeTransform: the two shapes have unlike numbers of entries.",
                    got=f"{tuple(forward_shape)} and {tuple(inverse_shape)}",
                )
            )
        self._assign(_forward=tuple(forward_shape), _inverse_shape=tuple(inverse_shape))

    @property
    def domain(self) -> Constraint:
        return independent(constraints.real, len(self.__dict__["_inverse_shape"]))

    @property
    def codomain(self) -> Constraint:
        return independent(constraints.real, len(self.__dict__["_forward"]))

    def __call__(self, x: Any) -> Any:
        return jnp.reshape(x, self.forward_shape(np.shape(x)))

    def _inverse(self, y: Any) -> Any:
        return jnp.reshape(y, self.inverse_shape(np.shape(y)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        batch = np.shape(x)[: np.ndim(x) - self.domain.event_dim]
        return broadcast(np.zeros((), x.dtype), batch)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._swap(shape, self.__dict__["_inverse_shape"], self.__dict__["_forward"])

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._swap(shape, self.__dict__["_forward"], self.__dict__["_inverse_shape"])

    def _swap(self, shape: Sequence[int], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
        need_axes(self, shape, len(old))
        cut = len(shape) - len(old)
        if tuple(shape[cut:]) != old:
            raise ShapeError(
                message("ReshapeTransform: wrong last axes.", expected=old, got=tuple(shape[cut:]))
            )
        return (*shape[:cut], *new)


class PermuteTransform(Transform):
    """y_i = x_(permutation_i) along the last axis."""

    _static = ("permutation",)
    permutation: tuple[int, ...]

    def __init__(self, permutation: Sequence[int]) -> None:
        order = tuple(int(i) for i in permutation)
        if sorted(order) != list(range(len(order))):
            raise ShapeError(message("PermuteTransform needs a permutation of 0, …, n - 1.", got=order))
        self._assign(permutation=order)

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.real_vector

    def __call__(self, x: Any) -> Any:
        return x[..., np.array(self.permutation)]

    def _inverse(self, y: Any) -> Any:
        return y[..., np.argsort(self.permutation)]

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])


class UnpackTransform(Transform):
    """A vector unpacked into a pytree of arrays by ``unpack_fn``; ``pack_fn`` undoes it."""

    _static = ("unpack_fn", "pack_fn")
    unpack_fn: Any
    pack_fn: Any

    def __init__(self, unpack_fn: Any, pack_fn: Any = None) -> None:
        self._assign(unpack_fn=unpack_fn, pack_fn=pack_fn)

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.dependent

    def __call__(self, x: Any) -> Any:
        unpack = self.unpack_fn
        for _ in range(np.ndim(x) - 1):
            unpack = jax.vmap(unpack)
        return unpack(x)

    def _inverse(self, y: Any) -> Any:
        if self.pack_fn is None:
            raise ArgumentError(message("UnpackTransform was made without pack_fn, so it has no inverse."))
        return self.pack_fn(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), np.shape(x)[:-1])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        raise ArgumentError(message("UnpackTransform leads to a pytree, which has no one shape."))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        raise ArgumentError(message("UnpackTransform starts from a vector whose length pack_fn only knows."))
