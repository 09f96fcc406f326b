"""Maps of single numbers that networks and folded distributions use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_array, message, open_unit, softplus

from . import constraints
from ._constraint import Constraint
from ._transform import Transform


def log_sech(x: Any) -> Any:
    """log(1 / cosh(x)), half the log derivative of tanh."""
    return x + math.log(2.0) - softplus(2.0 * x)


def open_tanh(x: Any) -> Any:
    """tanh(x), kept strictly inside (-1, 1)."""
    edge = 1.0 - float(jnp.finfo(x.dtype).eps)
    return jnp.clip(jnp.tanh(x), -edge, edge)


def inverse_tanh(y: Any) -> Any:
    """artanh(y), finite at -1 and 1, with relative precision at 0."""
    sign = jnp.where(y < 0, -1.0, 1.0).astype(y.dtype)
    size = sign * y
    return 0.5 * sign * jnp.log1p(2.0 * size / jnp.maximum(1.0 - size, float(jnp.finfo(y.dtype).tiny)))


class AbsTransform(Transform):
    """y = |x|. Not a bijection: ``inv(y)`` is y, and there is no log-determinant."""

    @property
    def codomain(self) -> Constraint:
        return constraints.positive

    def __call__(self, x: Any) -> Any:
        return jnp.abs(x)

    def _inverse(self, y: Any) -> Any:
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        raise ArgumentError(
            message(
                "AbsTransform is no bijection: two values lead to the same one.",
                fix="fold the distribution in place of transforming it: FoldedDistribution.",
            )
        )


class _Increasing(Transform):
    @property
    def sign(self) -> Any:
        return 1


class TanhTransform(_Increasing):
    """y = tanh(x), kept strictly inside (-1, 1); log |dy/dx| = -2 log cosh(x)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        return open_tanh(x)

    def _inverse(self, y: Any) -> Any:
        return inverse_tanh(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return 2.0 * log_sech(x)


class ELUTransform(_Increasing):
    """y = x for x > 0, else exp(x) - 1, kept above -1; log |dy/dx| = min(x, 0)."""

    @property
    def codomain(self) -> Constraint:
        return constraints.greater_than(-1.0)

    def __call__(self, x: Any) -> Any:
        low = float(jnp.finfo(x.dtype).eps) - 1.0
        return jnp.where(x > 0, x, jnp.maximum(jnp.expm1(jnp.minimum(x, 0.0)), low))

    def _inverse(self, y: Any) -> Any:
        return jnp.where(y > 0, y, jnp.log1p(jnp.minimum(y, 0.0)))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.minimum(x, 0.0)


class LeakyReLUTransform(_Increasing):
    """y = x for x > 0, else ``negative_slope`` * x."""

    _static = ("negative_slope",)
    negative_slope: float

    def __init__(self, negative_slope: float = 0.01) -> None:
        if not negative_slope > 0:
            raise ArgumentError(message("LeakyReLUTransform: the slope is positive.", got=negative_slope))
        self._assign(negative_slope=float(negative_slope))

    def __call__(self, x: Any) -> Any:
        return jnp.where(x > 0, x, self.negative_slope * x)

    def _inverse(self, y: Any) -> Any:
        return jnp.where(y > 0, y, y / self.negative_slope)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.where(x > 0, 0.0, math.log(self.negative_slope)).astype(x.dtype)


class PositivePowerTransform(_Increasing):
    """y = sign(x) |x|^exponent on all real numbers, exponent > 0; the derivative at 0 is 0 or infinite."""

    _fields = ("exponent",)
    exponent: Any

    def __init__(self, exponent: Any) -> None:
        self._assign(exponent=as_array(exponent))

    def __call__(self, x: Any) -> Any:
        return _signed_power(x, self.exponent)

    def _inverse(self, y: Any) -> Any:
        return _signed_power(y, 1.0 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return jnp.log(jnp.asarray(self.exponent, x.dtype)) + (self.exponent - 1.0) * jnp.log(jnp.abs(x))

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(shape), np.shape(self.exponent))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)


def _signed_power(x: Any, exponent: Any) -> Any:
    return jnp.sign(x) * jnp.power(jnp.abs(x), exponent)


class CumulativeDistributionTransform(_Increasing):
    """y = P(X <= x) under ``distribution``, kept strictly inside (0, 1); log |dy/dx| is the log density."""

    _fields = ("distribution",)
    distribution: Any

    def __init__(self, distribution: Any) -> None:
        self._assign(distribution=distribution)

    @property
    def domain(self) -> Constraint:
        support: Constraint = self.distribution.support
        return support

    @property
    def codomain(self) -> Constraint:
        return constraints.unit_interval

    def __call__(self, x: Any) -> Any:
        return open_unit(self.distribution.cdf(x))

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.distribution.log_prob(x)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(shape), tuple(self.distribution.batch_shape))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)
