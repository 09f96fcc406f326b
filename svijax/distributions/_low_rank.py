"""Multivariate normal distributions whose covariance is of low rank plus a diagonal."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    NoiseSpec,
    ShapeError,
    as_array,
    broadcast,
    gram,
    log_det_tril,
    matmul,
    matvec,
    message,
    on_columns,
    solve_tril,
    transposed,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._scale_tril import over_batch

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class LowRankMultivariateNormal(Distribution):
    """N(x; loc, W W^T + diag(d)): loc (…, n), W = cov_factor (…, n, r), d = cov_diag (…, n) > 0.

    A draw is loc + W e + sqrt(d) f, of n + r normals (f, e). Densities cost O(n r^2), by the Cholesky factor of
    the capacitance I + W^T diag(1 / d) W (Woodbury). The square is min_u |(x - loc - W u) / sqrt(d)|^2 + |u|^2,
    a sum of squares: Woodbury's difference would lose its digits where W is large beside d. W and d
    are kept once for all rows that share them.
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        cov_factor=constraints.real_matrix,
        cov_diag=constraints.independent(constraints.positive, 1),
    )
    support = constraints.real_vector
    _noise_kind = "normal"
    _own_batch = ("cov_factor", "cov_diag")
    loc: jax.Array

    def __init__(
        self, loc: Any, cov_factor: Any, cov_diag: Any, *, validate_args: bool | None = None
    ) -> None:
        loc, cov_factor, cov_diag = as_array(loc), as_array(cov_factor), as_array(cov_diag)
        sizes = {np.shape(loc)[-1:], np.shape(cov_factor)[-2:-1], np.shape(cov_diag)[-1:]}
        if len(sizes) > 1 and all(sizes):
            raise ShapeError(
                message(
                    f"{type(self).__name__}: loc, cov_factor and cov_diag are of unlike size.",
                    expected="loc (…, n), cov_factor (…, n, r), cov_diag (…, n)",
                    got=f"loc {np.shape(loc)}, cov_factor {np.shape(cov_factor)}, cov_diag {np.shape(cov_diag)}",
                )
            )
        self._init(validate_args, loc=loc, cov_factor=cov_factor, cov_diag=cov_diag)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    @property
    def cov_factor(self) -> Any:
        """W, over the whole batch."""
        return over_batch(self, "cov_factor")

    @property
    def cov_diag(self) -> Any:
        """d, over the whole batch."""
        return over_batch(self, "cov_diag")

    @property
    def _factor(self) -> Any:
        return self._held("cov_factor")

    @property
    def _diag(self) -> Any:
        return self._held("cov_diag")

    def _noise_spec(self) -> NoiseSpec:
        n, r = np.shape(self._factor)[-2:]
        return NoiseSpec("normal", (*self.batch_shape, n + r), self.dtype)

    def _gap(self, noise: Any) -> Any:
        n = self.event_shape[0]
        return jnp.sqrt(self._diag) * noise[..., :n] + matvec(self._factor, noise[..., n:])

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self._gap(noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        gap = self._gap(noise)
        return self.loc + gap, self._log_density(gap)

    def log_prob(self, value: Any) -> Any:
        return self._log_density(value - self.loc)

    def _whitened(self) -> tuple[Any, Any]:
        """diag(d)^(-1/2) W, and the Cholesky factor of the capacitance."""
        factor = self._factor / jnp.sqrt(self._diag)[..., None]
        wide = factor.astype(jnp.promote_types(factor.dtype, jnp.float32))
        eye = np.eye(wide.shape[-1], dtype=wide.dtype)
        return factor, jnp.linalg.cholesky(eye + gram(transposed(wide))).astype(factor.dtype)

    def _log_density(self, gap: Any) -> Any:
        factor, tril = self._whitened()

        def squares(factor: Any, columns: Any) -> Any:
            u = solve_tril(tril, matmul(transposed(factor), columns))
            u = solve_tril(tril, u, transpose=True)
            left = columns - matmul(factor, u)
            return jnp.sum(left * left, -2, keepdims=True) + jnp.sum(u * u, -2, keepdims=True)

        scaled = gap / jnp.sqrt(self._diag)
        return -0.5 * jnp.squeeze(on_columns(squares, factor, scaled), -1) - self._log_norm(tril)

    def _log_norm(self, tril: Any) -> Any:
        log_diag = 0.5 * jnp.sum(jnp.log(self._diag), axis=-1)
        return log_det_tril(tril) + log_diag + self.event_shape[0] * _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return broadcast((self._factor**2).sum(axis=-1) + self._diag, self.shape())

    @property
    def covariance_matrix(self) -> Any:
        """W W^T + diag(d)."""
        return self._over_batch(gram(self._factor) + self._diagonal(self._diag))

    @property
    def precision_matrix(self) -> Any:
        """(W W^T + diag(d))^-1, by Woodbury's identity."""
        factor, tril = self._whitened()
        root = solve_tril(tril, transposed(factor / jnp.sqrt(self._diag)[..., None]))
        return self._over_batch(self._diagonal(1 / self._diag) - gram(transposed(root)))

    @property
    def scale_tril(self) -> Any:
        """The lower Cholesky factor of the covariance, n by n; its square root of d is taken out first."""
        factor, _ = self._whitened()
        wide = factor.astype(jnp.promote_types(factor.dtype, jnp.float32))
        tril = jnp.linalg.cholesky(np.eye(self.event_shape[0], dtype=wide.dtype) + gram(wide))
        return self._over_batch(jnp.sqrt(self._diag)[..., None] * tril.astype(factor.dtype))

    def _over_batch(self, matrix: Any) -> Any:
        return broadcast(matrix, (*self.shape(), self.event_shape[0]))

    def _diagonal(self, entries: Any) -> Any:
        return entries[..., None] * np.eye(self.event_shape[0], dtype=self.dtype)

    def entropy(self) -> Any:
        return broadcast(0.5 * self.event_shape[0] + self._log_norm(self._whitened()[1]), self.batch_shape)
