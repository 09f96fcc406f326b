"""Bijections between vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import log_sigmoid

from . import constraints
from ._constraint import Constraint
from ._transform import Transform, need_axes


class _VectorTransform(Transform):
    @property
    def domain(self) -> Constraint:
        return constraints.real_vector


class StickBreakingTransform(_VectorTransform):
    """From R^(n-1) onto the simplex in R^n: y_i = z_i prod_{j<i} (1 - z_j), z_i = sigmoid(x_i - log(n - i)).

    x = 0 is the centre of the simplex. Everything is done with logarithms, so that no entry is rounded to 0
    before it must be; none is smaller than the smallest normal number.
    """

    @property
    def codomain(self) -> Constraint:
        return constraints.simplex

    def __call__(self, x: Any) -> Any:
        return self._pass(x)[0]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        return self._pass(x)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self._pass(x)[1]

    def _pass(self, x: Any) -> tuple[Any, Any]:
        x = x - _stick_offsets(np.shape(x)[-1], x.dtype)
        log_taken, log_left = log_sigmoid(x), log_sigmoid(-x)
        zero = jnp.zeros((*np.shape(x)[:-1], 1), x.dtype)
        log_before = jnp.concatenate([zero, jnp.cumsum(log_left, axis=-1)], axis=-1)
        log_y = log_before + jnp.concatenate([log_taken, zero], axis=-1)
        # dy_i/dx_i = y_i (1 - z_i), and the matrix is triangular.
        log_det = jnp.sum(log_y[..., :-1] + log_left, axis=-1)
        return jnp.maximum(jnp.exp(log_y), jnp.finfo(x.dtype).tiny), log_det

    def _inverse(self, y: Any) -> Any:
        # What is left after stick i is the sum of the later entries: no difference from 1, no cancellation.
        left = jnp.flip(jnp.cumsum(jnp.flip(y[..., 1:], axis=-1), axis=-1), axis=-1)
        return jnp.log(y[..., :-1]) - jnp.log(left) + _stick_offsets(np.shape(y)[-1] - 1, y.dtype)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        return (*shape[:-1], shape[-1] - 1)


def _stick_offsets(size: int, dtype: Any) -> np.ndarray:
    return np.log(np.arange(size, 0, -1)).astype(dtype)


class OrderedTransform(_VectorTransform):
    """y_1 = x_1, y_i = y_(i-1) + exp(x_i): from R^n onto the increasing vectors."""

    @property
    def codomain(self) -> Constraint:
        return constraints.ordered_vector

    def __call__(self, x: Any) -> Any:
        return jnp.cumsum(jnp.concatenate([x[..., :1], jnp.exp(x[..., 1:])], axis=-1), axis=-1)

    def _inverse(self, y: Any) -> Any:
        return jnp.concatenate([y[..., :1], jnp.log(y[..., 1:] - y[..., :-1])], axis=-1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(x[..., 1:], axis=-1)


class PositiveOrderedTransform(_VectorTransform):
    """y_i = y_(i-1) + exp(x_i) with y_0 = 0: from R^n onto the positive increasing vectors."""

    @property
    def codomain(self) -> Constraint:
        return constraints.positive_ordered_vector

    def __call__(self, x: Any) -> Any:
        return jnp.cumsum(jnp.exp(x), axis=-1)

    def _inverse(self, y: Any) -> Any:
        return jnp.log(jnp.concatenate([y[..., :1], y[..., 1:] - y[..., :-1]], axis=-1))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.sum(x, axis=-1)


class LowerCholeskyAffine(_VectorTransform):
    """y = loc + L x with L lower triangular and of positive diagonal: loc (…, n), L (…, n, n)."""

    _fields = ("loc", "scale_tril")
    loc: Any
    scale_tril: Any

    def __init__(self, loc: Any, scale_tril: Any) -> None:
        self._assign(loc=loc, scale_tril=scale_tril)

    @property
    def codomain(self) -> Constraint:
        return constraints.real_vector

    def __call__(self, x: Any) -> Any:
        return self.loc + jnp.squeeze(jnp.matmul(self.scale_tril, x[..., None]), -1)

    def _inverse(self, y: Any) -> Any:
        gap = y - self.loc
        tril = jnp.broadcast_to(self.scale_tril, (*gap.shape[:-1], *np.shape(self.scale_tril)[-2:]))
        return jnp.squeeze(jax.scipy.linalg.solve_triangular(tril, gap[..., None], lower=True), -1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        diagonal = jnp.diagonal(jnp.asarray(self.scale_tril), axis1=-2, axis2=-1)
        return jnp.broadcast_to(jnp.sum(jnp.log(diagonal), axis=-1), self.forward_shape(np.shape(x))[:-1])

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        batch = np.broadcast_shapes(
            tuple(shape[:-1]), np.shape(self.loc)[:-1], np.shape(self.scale_tril)[:-2]
        )
        return (*batch, shape[-1])

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)
