"""Constraints on matrices as wholes."""

from __future__ import annotations

from typing import Any

import numpy as np

from svijax.base import array_module, broadcast

from ._constraint import _dtype_of
from ._ranges import Interval
from ._structured import Structured, in_single, rounding, tolerance


class Square(Structured):
    """Square matrices of finite numbers."""

    name = family = "square"

    @property
    def event_dim(self) -> int:
        return 2

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        finite = xp.all(xp.isfinite(x), axis=(-2, -1))
        return finite if x.shape[-2] == x.shape[-1] else xp.zeros_like(finite)

    def feasible_like(self, prototype: Any) -> Any:
        shape = np.shape(prototype)
        return broadcast(np.eye(shape[-1], dtype=_dtype_of(prototype)), shape)


class LowerTriangular(Square):
    """Lower triangular matrices."""

    name = family = "lower_triangular"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return super().__call__(x) & xp.all(xp.tril(x) == x, axis=(-2, -1))


class LowerCholesky(LowerTriangular):
    """Lower triangular matrices with a positive diagonal."""

    name = family = "lower_cholesky"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return super().__call__(x) & xp.all(xp.diagonal(x, axis1=-2, axis2=-1) > 0, axis=-1)


class ScaledUnitLowerCholesky(LowerCholesky):
    """Lower triangular matrices with a positive diagonal, reached as diagonal times unit triangular."""

    name = "scaled_unit_lower_cholesky"


class SoftplusLowerCholesky(LowerCholesky):
    """Lower triangular matrices with a positive diagonal, reached through the softplus."""

    name = "softplus_lower_cholesky"


class UnitLowerCholesky(LowerTriangular):
    """Lower triangular matrices with ones on the diagonal."""

    name = family = "unit_lower_cholesky"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return super().__call__(x) & xp.all(xp.diagonal(x, axis1=-2, axis2=-1) == 1, axis=-1)


class CorrCholesky(LowerCholesky):
    """Cholesky factors of correlation matrices: a positive diagonal, and rows of length 1 up to rounding."""

    name = family = "corr_cholesky"
    entries = Interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        unit = abs(xp.sum(x * x, axis=-1) - 1) <= tolerance(x, 16)
        return super().__call__(x) & xp.all(unit, axis=-1)


class Symmetric(Square):
    """Symmetric matrices, up to rounding."""

    name = family = "symmetric"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        inside = super().__call__(x)
        if x.shape[-2] != x.shape[-1]:
            return inside
        x = xp.where(inside[..., None, None], x, 0)
        gap = xp.max(abs(x - xp.swapaxes(x, -2, -1)), axis=(-2, -1), initial=0)
        return inside & (gap <= 16 * rounding(x) * xp.max(abs(x), axis=(-2, -1), initial=0))


class PositiveSemidefinite(Symmetric):
    """Symmetric matrices without negative eigenvalues; both up to rounding."""

    name = family = "positive_semidefinite"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        inside = super().__call__(x)
        if x.shape[-2] != x.shape[-1] or x.shape[-1] == 0:
            return inside
        # eigvalsh fails on what is not finite, which must be False and no exception.
        y = in_single(xp.where(inside[..., None, None], x, 0))
        eigenvalues = xp.linalg.eigvalsh(0.5 * (y + xp.swapaxes(y, -2, -1)))
        return inside & self._eigenvalues_inside(eigenvalues, 16 * rounding(x) * x.shape[-1])

    def _eigenvalues_inside(self, increasing: Any, tolerance: float) -> Any:
        return increasing[..., 0] >= -tolerance * increasing[..., -1]


class PositiveDefinite(PositiveSemidefinite):
    """Symmetric positive definite matrices; symmetric up to rounding."""

    name = family = "positive_definite"

    def _eigenvalues_inside(self, increasing: Any, tolerance: float) -> Any:
        return increasing[..., 0] > 0


class CorrMatrix(PositiveDefinite):
    """Correlation matrices: positive definite with ones on the diagonal, up to rounding."""

    name = family = "corr_matrix"
    entries = Interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        unit = abs(xp.diagonal(x, axis1=-2, axis2=-1) - 1) <= tolerance(x, 16)
        return super().__call__(x) & xp.all(unit, axis=-1)
