"""Constraints on vectors and matrices as wholes."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from svijax.base import array_module, as_array, broadcast

from ._constraint import Constraint, _dtype_of, filled
from ._ranges import Interval, NonnegativeInteger, Positive, Range, Real, UnitInterval


class Structured(Constraint):
    """Vectors or matrices: ``entries`` holds each entry; constraints of one ``family`` are one set."""

    entries: ClassVar[Range] = Real()
    family: ClassVar[str] = ""


class _Vectors(Structured):
    @property
    def event_dim(self) -> int:
        return 1


class _Matrices(Structured):
    @property
    def event_dim(self) -> int:
        return 2


class Simplex(_Vectors):
    """Vectors of probabilities: entries >= 0 that sum to 1, up to rounding."""

    name = family = "simplex"
    entries = UnitInterval()

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        eps = float(jnp.finfo(x.dtype).eps) if jnp.issubdtype(x.dtype, jnp.inexact) else 0.0
        tolerance = max(1e-6, 8 * eps * x.shape[-1])
        return xp.all(x >= 0, axis=-1) & (abs(xp.sum(x, axis=-1) - 1) <= tolerance)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(1.0 / np.shape(prototype)[-1], prototype)


class OrderedVector(_Vectors):
    """x_1 < x_2 < … < x_n."""

    name = family = "ordered_vector"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return xp.all(x[..., 1:] > x[..., :-1], axis=-1) & xp.all(xp.isfinite(x), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(np.shape(prototype)[-1]), prototype)


class PositiveOrderedVector(OrderedVector):
    """0 < x_1 < x_2 < … < x_n."""

    name = family = "positive_ordered_vector"
    entries = Positive()

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return super().__call__(x) & xp.all(x > 0, axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(1, np.shape(prototype)[-1] + 1), prototype)


class Sphere(_Vectors):
    """Vectors of Euclidean length 1, up to rounding."""

    name = family = "sphere"
    entries = Interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        eps = float(jnp.finfo(x.dtype).eps) if jnp.issubdtype(x.dtype, jnp.inexact) else 0.0
        return abs(xp.sum(x * x, axis=-1) - 1) <= max(1e-6, 16 * eps * x.shape[-1])

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.shape(prototype)[-1] ** -0.5, prototype)


class Multinomial(_Vectors):
    """Vectors of counts that sum to ``upper``."""

    name = family = "multinomial"
    is_discrete = True
    entries = NonnegativeInteger()
    _fields = ("upper",)
    upper: Any

    def __init__(self, upper_bound: Any) -> None:
        self._assign(upper=as_array(upper_bound))

    @property
    def upper_bound(self) -> Any:
        return self.upper

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, self.upper)
        x = xp.asarray(x)
        counts = (x >= 0) & (x == xp.floor(x))
        return xp.all(counts, axis=-1) & (xp.sum(x, axis=-1) == self.upper)

    def feasible_like(self, prototype: Any) -> Any:
        xp = array_module(self.upper)
        first = np.arange(np.shape(prototype)[-1]) == 0
        return filled(xp.asarray(self.upper)[..., None] * first, prototype)


class LowerCholesky(_Matrices):
    """Lower triangular matrices with a positive diagonal."""

    name = family = "lower_cholesky"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        triangular = xp.all(xp.tril(x) == x, axis=(-2, -1))
        return triangular & xp.all(xp.diagonal(x, axis1=-2, axis2=-1) > 0, axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return _eye_like(prototype)


class ScaledUnitLowerCholesky(LowerCholesky):
    """Lower triangular matrices with a positive diagonal, reached as diagonal times unit triangular."""

    name = "scaled_unit_lower_cholesky"


class SoftplusLowerCholesky(LowerCholesky):
    """Lower triangular matrices with a positive diagonal, reached through the softplus."""

    name = "softplus_lower_cholesky"


class PositiveDefinite(_Matrices):
    """Symmetric positive definite matrices; symmetric up to rounding."""

    name = family = "positive_definite"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        eps = float(jnp.finfo(x.dtype).eps) if jnp.issubdtype(x.dtype, jnp.inexact) else 0.0
        # numpy has no eigenvalues in half precision.
        x = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
        finite = xp.all(xp.isfinite(x), axis=(-2, -1))
        # eigvalsh fails on what is not finite, which must be False and no exception.
        x = xp.where(finite[..., None, None], x, 0)
        transposed = xp.swapaxes(x, -2, -1)
        gap = xp.max(abs(x - transposed), axis=(-2, -1))
        symmetric = gap <= 16 * eps * xp.max(abs(x), axis=(-2, -1))
        return finite & symmetric & (xp.linalg.eigvalsh(0.5 * (x + transposed))[..., 0] > 0)

    def feasible_like(self, prototype: Any) -> Any:
        return _eye_like(prototype)


def _eye_like(prototype: Any) -> Any:
    shape = np.shape(prototype)
    return broadcast(np.eye(shape[-1], dtype=_dtype_of(prototype)), shape)
