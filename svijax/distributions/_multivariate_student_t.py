"""The multivariate Student t distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma

from svijax.base import gram, inverse_gram, log_beta, log_det_tril, matvec, solve_rows
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters
from ._scale_tril import as_vectors, need_square, over_batch


class MultivariateStudentT(Distribution):
    """p(x) = c (1 + |L^-1 (x - loc)|^2 / df)^(-(df + n) / 2), L = scale_tril the factor of the scale matrix L L^T.

    c = Gamma((df + n) / 2) / (Gamma(df / 2) (df pi)^(n/2) det L). df (…) > 0, loc (…, n), scale_tril (…, n, n).
    The covariance is df / (df - 2) L L^T, and ``covariance_matrix`` is that. One L is kept
    for all rows that share it.
    """

    arg_constraints = parameters(
        df=constraints.positive, loc=constraints.real_vector, scale_tril=constraints.lower_cholesky
    )
    support = constraints.real_vector
    _pathwise = True
    _own_batch = ("scale_tril",)
    df: jax.Array
    loc: jax.Array

    def __init__(
        self, df: Any, loc: Any = 0.0, scale_tril: Any = None, *, validate_args: bool | None = None
    ) -> None:
        owner = type(self).__name__
        size = need_square(owner, "scale_tril", scale_tril)
        self._init(validate_args, df=df, loc=as_vectors(owner, "loc", loc, size), scale_tril=scale_tril)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    @property
    def scale_tril(self) -> Any:
        """L, over the whole batch."""
        return over_batch(self, "scale_tril")

    @property
    def _tril(self) -> Any:
        return self._held("scale_tril")

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_normal, key_gamma = jax.random.split(key)
        normal = jax.random.normal(key_normal, self.shape(sample_shape), self.dtype)
        # sqrt(df / chi^2) by the logarithm of the chi^2, which stays finite for small df.
        half = 0.5 * jnp.asarray(self.df)
        log_ratio = log_gamma_draw(key_gamma, half, (*sample_shape, *self.batch_shape)) - jnp.log(half)
        widest = 0.7 * float(np.log(jnp.finfo(self.dtype).max))
        stretch = jnp.exp(jnp.minimum(-0.5 * log_ratio, widest))
        return self.loc + matvec(self._tril, normal) * stretch[..., None]

    def log_prob(self, value: Any) -> Any:
        df = jnp.asarray(self.df)
        z = solve_rows(self._tril, value - self.loc)
        log1p = jnp.squeeze(_log1p_mean_square(z, df[..., None]), -1)
        return -0.5 * (df + self.event_shape[0]) * log1p - self._log_norm()

    def _log_norm(self) -> Any:
        df, n = jnp.asarray(self.df), self.event_shape[0]
        log_gammas = log_beta(0.5 * df, jnp.asarray(0.5 * n, df.dtype)) - math.lgamma(0.5 * n)
        return log_det_tril(self._tril) + 0.5 * n * jnp.log(math.pi * df) + log_gammas

    @property
    def mean(self) -> Any:
        return jnp.where(self.df[..., None] > 1, self.loc, jnp.nan)

    @property
    def variance(self) -> Any:
        return self._of_second_moment((self._tril**2).sum(axis=-1), self.df[..., None])

    @property
    def covariance_matrix(self) -> Any:
        """The covariance: not the scale matrix L L^T."""
        return self._of_second_moment(gram(self._tril), self.df[..., None, None])

    @property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance; not defined for df <= 2."""
        df = self.df[..., None, None]
        return jnp.where(df > 2, (df - 2) / df, jnp.nan) * inverse_gram(self._tril)

    @staticmethod
    def _of_second_moment(scale: Any, df: Any) -> Any:
        finite = df > 2
        ratio = df / jnp.where(finite, df - 2, 1.0)
        return jnp.where(finite, scale * ratio, jnp.where(df > 1, jnp.inf, jnp.nan))

    def entropy(self) -> Any:
        half, n = 0.5 * self.df, self.event_shape[0]
        return (half + 0.5 * n) * (digamma(half + 0.5 * n) - digamma(half)) + self._log_norm()


def _log1p_mean_square(z: Any, df: Any) -> jax.Array:
    """log(1 + sum z^2 / df) over the last axis, finite where the squares overflow."""
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(z), axis=-1, keepdims=True))
    far = size > float(jnp.finfo(z.dtype).max) ** 0.4
    unit = jnp.where(far, size, 1.0)
    square = jnp.sum((z / unit) ** 2, axis=-1, keepdims=True) / df
    near = jnp.log1p(jnp.where(far, 0.0, square))
    return jnp.where(far, 2.0 * jnp.log(unit) + jnp.log(jnp.where(far, square, 1.0)), near)
