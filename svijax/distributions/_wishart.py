"""The Wishart and inverse Wishart distributions, of matrices and of their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import diagonal_of, log_beta, matmul, on_columns, solve_tril, transposed
from svijax.transforms import Constraint, constraints

from ._bartlett import Bartlett


def _moment_ratio(half: Any) -> Any:
    """Gamma(half + 1 / 2) / Gamma(half)."""
    return jnp.exp(0.5 * math.log(math.pi) - log_beta(half, jnp.full_like(half, 0.5)))


class WishartCholesky(Bartlett):
    """The lower Cholesky factor L of X ~ Wishart(concentration, scale matrix): L = S A, by Bartlett's A.

    A_ii ~ chi(concentration - i) for i = 0, …, p - 1. concentration (…) > p - 1; exactly one of scale_matrix,
    rate_matrix (its inverse), scale_tril = S (its factor), each (…, p, p); S is kept.
    """

    support: Constraint = constraints.lower_cholesky

    def _dofs(self) -> Any:
        return self.concentration[..., None] - (self._order() - 1)

    def _factor_of(self, root: Any) -> Any:
        return jnp.moveaxis(on_columns(matmul, self.scale_tril, jnp.moveaxis(root, -1, 0)), 0, -1)

    def _root_of(self, factor: Any) -> Any:
        factor = jnp.broadcast_to(factor, np.broadcast_shapes(factor.shape, np.shape(self.scale_tril)))
        return jnp.moveaxis(on_columns(solve_tril, self.scale_tril, jnp.moveaxis(factor, -1, 0)), 0, -1)

    @property
    def mean(self) -> Any:
        return self.scale_tril * (math.sqrt(2.0) * _moment_ratio(0.5 * self._dofs()))[..., None, :]

    @property
    def variance(self) -> Any:
        p = self.event_shape[0]
        below = np.tril(np.ones((p, p), self.dtype), -1)
        squares = below + self._dofs()[..., None] * np.eye(p, dtype=self.dtype)
        return matmul(self.scale_tril**2, squares) - self.mean**2


class Wishart(WishartCholesky):
    """p(X) ∝ det(X)^((concentration - p - 1) / 2) exp(-tr(V^-1 X) / 2) on positive definite (p, p) matrices.

    concentration (…) > p - 1; exactly one of scale_matrix = V, rate_matrix = V^-1, scale_tril (V's lower
    factor), each (…, p, p); the factor is kept. E X = concentration V.
    """

    support = constraints.positive_definite
    _of_matrix = True

    @property
    def mean(self) -> Any:
        return self.concentration[..., None, None] * self.scale_matrix

    @property
    def variance(self) -> Any:
        return self.concentration[..., None, None] * _squares_and_products(self.scale_matrix, 1, 1)


class InverseWishartCholesky(Bartlett):
    """The lower Cholesky factor L of X ~ InverseWishart(concentration, scale matrix): L = S A^-1.

    A_ii ~ chi(concentration - p + 1 + i) for i = 0, …, p - 1. Parameters as of ``InverseWishart``.
    """

    support: Constraint = constraints.lower_cholesky
    _sign = -1

    def _dofs(self) -> Any:
        return self.concentration[..., None] - (self._order()[::-1] - 1)

    def _factor_of(self, root: Any) -> Any:
        scale = jnp.broadcast_to(transposed(self.scale_tril), root.shape)
        return transposed(solve_tril(root, scale, transpose=True))

    def _root_of(self, factor: Any) -> Any:
        factor, scale = jnp.broadcast_arrays(factor, self.scale_tril)
        return solve_tril(factor, scale)

    @property
    def mean(self) -> Any:
        dofs = self._dofs()[..., None, :]
        finite = dofs > 1
        ratio = math.sqrt(0.5) / _moment_ratio(jnp.where(finite, 0.5 * (dofs - 1), 1.0))
        return jnp.where(finite, self.scale_tril * ratio, self._infinite(np.nan))

    @property
    def variance(self) -> Any:
        # With c_j = k_j - 2, E (A^-1)_jj^2 = 1 / c_j, and 1 / (c_j (c_j + 1)) below.
        over = self._dofs()[..., None, :] - 2
        finite = over > 0
        safe = jnp.where(finite, over, 1.0)
        p = self.event_shape[0]
        eye, below = np.eye(p, dtype=self.dtype), np.tril(np.ones((p, p), self.dtype), -1)
        second = matmul(self.scale_tril**2, (eye + below / (safe + 1)) / safe)
        return jnp.where(finite, second - jnp.where(finite, self.mean, 0.0) ** 2, self._infinite(np.inf))

    def _infinite(self, below: float) -> Any:
        """inf on the diagonal, ``below`` under it and 0 above, where the factor is 0."""
        order = self._order()
        gap = order[:, None] - order
        return np.where(gap == 0, np.inf, np.where(gap > 0, below, 0.0)).astype(self.dtype)


class InverseWishart(InverseWishartCholesky):
    """p(X) ∝ det(X)^(-(concentration + p + 1) / 2) exp(-tr(V X^-1) / 2): X^-1 ~ Wishart(concentration, V^-1).

    concentration (…) > p - 1; exactly one of scale_matrix = V, rate_matrix = V^-1, scale_tril (V's lower
    factor), each (…, p, p); the factor is kept. E X = V / (concentration - p - 1).
    """

    support = constraints.positive_definite
    _of_matrix = True

    @property
    def mean(self) -> Any:
        over = self.concentration[..., None, None] - (self.event_shape[0] + 1)
        ratio = self.scale_matrix / jnp.where(over > 0, over, 1.0)
        return jnp.where(over > 0, ratio, jnp.where(self._diagonal(), jnp.inf, jnp.nan))

    @property
    def variance(self) -> Any:
        # Siskind (1972).
        over = self.concentration[..., None, None] - (self.event_shape[0] + 1)
        finite = over > 2
        safe = jnp.where(finite, over, 3.0)
        spread = _squares_and_products(self.scale_matrix, safe + 2, safe)
        beyond = jnp.where((over > 0) | self._diagonal(), jnp.inf, jnp.nan)
        return jnp.where(finite, spread / ((safe + 1) * safe**2 * (safe - 2)), beyond)

    @property
    def mode(self) -> Any:
        """Where the density is highest."""
        return self.scale_matrix / (self.concentration[..., None, None] + self.event_shape[0] + 1)

    def _diagonal(self) -> Any:
        return np.eye(self.event_shape[0], dtype=bool)


def _squares_and_products(matrix: Any, of_squares: Any, of_products: Any) -> Any:
    """a V_ij^2 + b V_ii V_jj."""
    diagonal = diagonal_of(matrix)
    return of_squares * matrix**2 + of_products * diagonal[..., :, None] * diagonal[..., None, :]
