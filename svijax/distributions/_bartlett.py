"""Bartlett's decomposition, on which the Wishart families stand."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from svijax.base import cholesky_or_eye, deviance, diagonal_of, gram, inverse_gram, stirling_error
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters
from ._scale_tril import scale_tril_of

_LOG_2 = math.log(2.0)
_LOG_2PI = math.log(2.0 * math.pi)


class Bartlett(Distribution):
    """Images of a lower triangular A with independent entries: A_ii ~ chi(k_i), and A_ij ~ N(0, 1) below.

    A subclass states k_i, and the bijection between A and a lower triangular L = S A^(+1 or -1), S = scale_tril.
    The value is L, or L L^T where ``_of_matrix``. Odell and Feiveson (1966).
    """

    arg_constraints = parameters(
        concentration=constraints.dependent,
        scale_matrix=constraints.positive_definite,
        rate_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
    )
    _fields = ("concentration", "scale_tril")
    _pathwise = True
    _of_matrix: ClassVar[bool] = False
    # L_ii = S_ii A_ii^sign
    _sign: ClassVar[int] = 1
    concentration: jax.Array
    scale_tril: jax.Array

    def __init__(
        self,
        concentration: Any,
        scale_matrix: Any = None,
        rate_matrix: Any = None,
        scale_tril: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        tril = scale_tril_of(
            type(self).__name__,
            self.arg_constraints,
            validate_args,
            scale_matrix=scale_matrix,
            rate_matrix=rate_matrix,
            scale_tril=scale_tril,
        )
        self._init(validate_args, concentration=concentration, scale_tril=tril)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"concentration": constraints.greater_than(self.event_shape[0] - 1.0)}

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.scale_tril)[-2:]

    @property
    def scale_matrix(self) -> Any:
        """V = S S^T."""
        return gram(self.scale_tril)

    @property
    def rate_matrix(self) -> Any:
        """The inverse of the scale matrix."""
        return inverse_gram(self.scale_tril)

    # What a subclass states

    def _dofs(self) -> Any:
        """k_i, (…, p)."""
        raise NotImplementedError

    def _factor_of(self, root: Any) -> Any:
        """L of A."""
        raise NotImplementedError

    def _root_of(self, factor: Any) -> Any:
        """A of L."""
        raise NotImplementedError

    def _order(self) -> Any:
        """1, 2, …, p."""
        return np.arange(1, self.event_shape[0] + 1, dtype=self.dtype)

    def _log_volume(self, log_root: Any) -> Any:
        """log |det d value / dA|, of the logarithms of A_ii."""
        order, log_scale = self._order(), jnp.log(diagonal_of(self.scale_tril))
        log_factor = log_scale + self._sign * log_root
        # Of an inverse, dL = -L dA A^-1.
        inverse = order * log_factor - order[::-1] * log_root
        terms = order * log_scale if self._sign > 0 else inverse
        if self._of_matrix:
            terms = terms + order[::-1] * log_factor + _LOG_2
        return jnp.sum(terms, axis=-1)

    # Draws and densities

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_diagonal, key_below = jax.random.split(key)
        dofs, shape = self._dofs(), self.shape(sample_shape)
        log_gammas = log_gamma_draw(key_diagonal, 0.5 * dofs, shape[:-1])
        diagonal = jnp.maximum(jnp.exp(0.5 * (_LOG_2 + log_gammas)), jnp.finfo(self.dtype).tiny)
        below = jnp.tril(jax.random.normal(key_below, shape, self.dtype), -1)
        eye = np.eye(shape[-1], dtype=bool)
        factor = jnp.tril(self._factor_of(jnp.where(eye, diagonal[..., None], below)))
        return gram(factor) if self._of_matrix else factor

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        if self._of_matrix:
            factor, inside = cholesky_or_eye(value)
        else:
            inside = constraints.lower_cholesky(value)
            factor = jnp.where(inside[..., None, None], value, np.eye(value.shape[-1], dtype=value.dtype))
        root = self._root_of(factor)
        log_root = jnp.log(diagonal_of(root))
        log_prob = self._log_density(root, log_root) - self._log_volume(log_root)
        return jnp.where(inside, log_prob, -jnp.inf)

    def _log_density(self, root: Any, log_root: Any) -> Any:
        below = jnp.tril(root, -1)
        p = self.event_shape[0]
        normal = -0.5 * jnp.sum(below * below, axis=(-2, -1)) - 0.25 * p * (p - 1) * _LOG_2PI
        return normal + jnp.sum(_log_chi(diagonal_of(root), log_root, self._dofs()), axis=-1)

    def entropy(self) -> Any:
        half, p = 0.5 * self._dofs(), self.event_shape[0]
        log_root = 0.5 * (_LOG_2 + digamma(half))
        chi = half + gammaln(half) + (1 - half) * digamma(half) - log_root
        normal = 0.25 * p * (p - 1) * (1 + _LOG_2PI)
        return jnp.sum(chi, axis=-1) + normal + self._log_volume(log_root)


def _log_chi(x: Any, log_x: Any, dof: Any) -> jax.Array:
    """The log density of the chi distribution, in Loader's form; by the logarithm where x^2 would underflow."""
    half = 0.5 * dof
    low = x < float(jnp.finfo(x.dtype).tiny) ** 0.25
    square = jnp.where(low, 1.0, 0.5 * x * x)
    log_square = 2.0 * log_x - _LOG_2
    excess = jnp.where(low, half * (jnp.log(half) - log_square - 1.0), deviance(half, square))
    return 0.5 * jnp.log(2.0 * half / math.pi) - stirling_error(half) - excess - log_x
