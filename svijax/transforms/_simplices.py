"""Maps of vectors onto simplices, spheres and balls, and from simplices to cut points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_array, message, softplus

from . import constraints
from ._activations import log_sech
from ._constraint import Constraint
from ._transform import Transform, need_axes


class L1BallTransform(Transform):
    """y_i = tanh(x_i) prod_{j<i} (1 - |tanh(x_j)|): from R^n onto the ball |y_1| + … + |y_n| <= 1."""

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.l1_ball

    def __call__(self, x: Any) -> Any:
        before = jnp.cumsum(_log_rest(x[..., :-1]), axis=-1)
        return jnp.tanh(x) * jnp.exp(jnp.concatenate([jnp.zeros_like(x[..., :1]), before], axis=-1))

    def _inverse(self, y: Any) -> Any:
        sign = jnp.where(y < 0, -1.0, 1.0).astype(y.dtype)
        size = sign * y
        left = jnp.maximum(1.0 - jnp.cumsum(size, axis=-1), float(jnp.finfo(y.dtype).tiny))
        # artanh of y relative to what is left with it: half the log of (left + 2 |y|) / left.
        return 0.5 * sign * jnp.log1p(2.0 * size / left)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        after = np.arange(np.shape(x)[-1] - 1, -1, -1, dtype=x.dtype)
        return jnp.sum(2.0 * log_sech(x) + after * _log_rest(x), axis=-1)


def _log_rest(x: Any) -> Any:
    """log(1 - |tanh(x)|)."""
    return math.log(2.0) - softplus(2.0 * jnp.abs(x))


class SimplexToOrderedTransform(Transform):
    """y_i = logit(x_1 + … + x_i) + anchor_point: from a simplex in R^n onto increasing vectors in R^(n-1).

    The cut points at which an ordered logistic response of location ``anchor_point`` has the probabilities x.
    Betancourt, Ordinal Regression (2019), section 2.2.
    """

    _fields = ("anchor_point",)
    anchor_point: Any

    def __init__(self, anchor_point: Any = 0.0) -> None:
        self._assign(anchor_point=as_array(anchor_point))

    @property
    def domain(self) -> Constraint:
        return constraints.simplex

    @property
    def codomain(self) -> Constraint:
        return constraints.ordered_vector

    def __call__(self, x: Any) -> Any:
        below = jnp.cumsum(x[..., :-1], axis=-1)
        above = jnp.flip(jnp.cumsum(jnp.flip(x[..., 1:], axis=-1), axis=-1), axis=-1)
        return jnp.log(below) - jnp.log(above) + self._anchor

    def _inverse(self, y: Any) -> Any:
        y = y - self._anchor
        below, above = jax.nn.sigmoid(y), jax.nn.sigmoid(-y)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), without cancellation.
        inner = below[..., 1:] * above[..., :-1] * -jnp.expm1(y[..., :-1] - y[..., 1:])
        return jnp.concatenate([below[..., :1], inner, above[..., -1:]], axis=-1)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        y = y - self._anchor
        return jnp.sum(2.0 * softplus(y) - y, axis=-1)

    @property
    def _anchor(self) -> Any:
        return self.anchor_point[..., None] if np.ndim(self.anchor_point) else self.anchor_point

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._resized(shape, -1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._resized(shape, 1)

    def _resized(self, shape: Sequence[int], change: int) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        batch = np.broadcast_shapes(tuple(shape[:-1]), np.shape(self.anchor_point))
        return (*batch, shape[-1] + change)


class _Projection(Transform):
    """A map of R^n onto fewer dimensions, for point estimates: many values lead to the same one."""

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    def log_abs_det_jacobian(self, x: Any, y: Any) -> NoReturn:
        raise ArgumentError(
            message(
                f"{type(self).__name__} is no bijection: many values lead to the same one.",
                fix="use it for point estimates only, and biject_to where there is a density.",
            )
        )


class SoftmaxTransform(_Projection):
    """y_i = exp(x_i) / sum_j exp(x_j): R^n onto the simplex in R^n; ``inv(y)`` is log y."""

    @property
    def codomain(self) -> Constraint:
        return constraints.simplex

    def __call__(self, x: Any) -> Any:
        return jax.nn.softmax(x, axis=-1)

    def _inverse(self, y: Any) -> Any:
        return jnp.log(jnp.maximum(y, float(jnp.finfo(y.dtype).tiny)))


class Normalize(_Projection):
    """y = x / |x|_p, and the direction of the first axis for x = 0; ``inv(y)`` is y."""

    _static = ("p",)
    p: float

    def __init__(self, p: float = 2) -> None:
        if not p >= 1:
            raise ArgumentError(message("Normalize: the order of a norm is at least 1.", got=p))
        self._assign(p=p)

    @property
    def codomain(self) -> Constraint:
        return constraints.sphere if self.p == 2 else constraints.real_vector

    def __call__(self, x: Any) -> Any:
        largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
        first = np.arange(np.shape(x)[-1]) == 0
        # Relative to the largest entry: no square overflows, or is rounded to 0.
        x = jnp.where(largest > 0, x / jnp.where(largest > 0, largest, 1.0), first.astype(x.dtype))
        return x / jnp.linalg.norm(x, ord=self.p, axis=-1, keepdims=True)

    def _inverse(self, y: Any) -> Any:
        return y
