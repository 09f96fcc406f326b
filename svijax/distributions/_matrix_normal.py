"""The matrix normal distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ShapeError,
    as_array,
    log_det_tril,
    matmul,
    message,
    on_columns,
    solve_tril,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._scale_tril import need_square

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class MatrixNormal(Distribution):
    """X = loc + A Z B^T with standard normal Z (n, p), A = scale_tril_row (n, n), B = scale_tril_column (p, p).

    Cov(X_ij, X_kl) = (A A^T)_ik (B B^T)_jl. loc (…, n, p); A and B are lower triangular, with a positive diagonal.
    """

    arg_constraints = parameters(
        loc=constraints.real_matrix,
        scale_tril_row=constraints.lower_cholesky,
        scale_tril_column=constraints.lower_cholesky,
    )
    support = constraints.real_matrix
    _noise_kind = "normal"
    loc: jax.Array
    scale_tril_row: jax.Array
    scale_tril_column: jax.Array

    def __init__(
        self,
        loc: Any,
        scale_tril_row: Any,
        scale_tril_column: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        n = need_square(owner, "scale_tril_row", scale_tril_row)
        p = need_square(owner, "scale_tril_column", scale_tril_column)
        loc = as_array(loc)
        if np.ndim(loc) >= 2 and np.shape(loc)[-2:] != (n, p):
            raise ShapeError(
                message(
                    f"{owner}: loc and the factors are of unlike size.",
                    expected=f"loc (…, {n}, {p})",
                    got=f"loc {np.shape(loc)}",
                )
            )
        self._init(validate_args, loc=loc, scale_tril_row=scale_tril_row, scale_tril_column=scale_tril_column)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-2:]

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self._on_both_sides(matmul, noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), self._log_density(noise)

    def log_prob(self, value: Any) -> Any:
        return self._log_density(self._on_both_sides(solve_tril, value - self.loc))

    def _on_both_sides(self, function: Any, x: Any) -> Any:
        """``function`` of the rows' factor, and of the columns'; the axis not acted on stands in front."""
        x = on_columns(function, self.scale_tril_row, jnp.moveaxis(x, -1, 0))
        x = on_columns(function, self.scale_tril_column, jnp.swapaxes(x, 0, -1))
        return jnp.moveaxis(x, 0, -2)

    def _log_density(self, z: Any) -> Any:
        return -0.5 * jnp.sum(z * z, axis=(-2, -1)) - self._log_norm()

    def _log_norm(self) -> Any:
        n, p = self.event_shape
        log_dets = p * log_det_tril(self.scale_tril_row) + n * log_det_tril(self.scale_tril_column)
        return log_dets + n * p * _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        rows, columns = ((tril**2).sum(axis=-1) for tril in (self.scale_tril_row, self.scale_tril_column))
        return rows[..., :, None] * columns[..., None, :]

    def entropy(self) -> Any:
        n, p = self.event_shape
        return 0.5 * n * p + self._log_norm()
