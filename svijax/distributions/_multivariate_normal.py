"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import broadcast, gram, inverse_gram, log_det_tril, mahalanobis, matvec
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._scale_tril import as_vectors, over_batch, scale_tril_of

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@jax.jit
def _log_density(tril: Any, loc: Any, value: Any) -> jax.Array:
    return -0.5 * mahalanobis(tril, value - loc) - _log_norm(tril)


def _log_norm(tril: Any) -> jax.Array:
    return log_det_tril(tril) + np.shape(tril)[-1] * _HALF_LOG_2PI


class MultivariateNormal(Distribution):
    """p(x) = exp(-|L^-1 (x - loc)|^2 / 2) / ((2 pi)^(n/2) det L), L the lower factor of the covariance L L^T.

    loc (…, n); exactly one of covariance_matrix, precision_matrix, scale_tril = L, each (…, n, n); L is kept, one
    for all rows that share it.
    """

    arg_constraints = parameters(
        loc=constraints.real_vector,
        covariance_matrix=constraints.positive_definite,
        precision_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
    )
    support = constraints.real_vector
    _fields = ("loc", "scale_tril")
    _noise_kind = "normal"
    _own_batch = ("scale_tril",)
    loc: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        tril = scale_tril_of(
            owner,
            self.arg_constraints,
            validate_args,
            covariance_matrix=covariance_matrix,
            precision_matrix=precision_matrix,
            scale_tril=scale_tril,
        )
        loc = as_vectors(owner, "loc", loc, np.shape(tril)[-1])
        self._init(validate_args, loc=loc, scale_tril=tril)

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

    @property
    def covariance_matrix(self) -> Any:
        """L L^T."""
        return broadcast(gram(self._tril), (*self.shape(), self.event_shape[0]))

    @property
    def precision_matrix(self) -> Any:
        """(L L^T)^-1."""
        return broadcast(inverse_gram(self._tril), (*self.shape(), self.event_shape[0]))

    def from_noise(self, noise: Any) -> Any:
        return self.loc + matvec(self._tril, noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * jnp.sum(noise * noise, axis=-1) - self._log_norm()

    def log_prob(self, value: Any) -> Any:
        return _log_density(self._tril, self.loc, value)

    def _log_norm(self) -> Any:
        return _log_norm(self._tril)

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return broadcast((self._tril**2).sum(axis=-1), self.shape())

    def entropy(self) -> Any:
        return broadcast(0.5 * self.event_shape[0] + self._log_norm(), self.batch_shape)
