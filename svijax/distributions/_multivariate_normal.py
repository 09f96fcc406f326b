"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import gram, inverse_gram, log_det_tril, mahalanobis, matvec
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters, traced_once
from ._scale_tril import as_vectors, scale_tril_of

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class MultivariateNormal(Distribution):
    """p(x) = exp(-|L^-1 (x - loc)|^2 / 2) / ((2 pi)^(n/2) det L), L the lower factor of the covariance L L^T.

    loc (…, n); exactly one of covariance_matrix, precision_matrix, scale_tril = L, each (…, n, n); L is kept.
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
    loc: jax.Array
    scale_tril: jax.Array

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
    def covariance_matrix(self) -> Any:
        return gram(self.scale_tril)

    @property
    def precision_matrix(self) -> Any:
        return inverse_gram(self.scale_tril)

    def from_noise(self, noise: Any) -> Any:
        return self.loc + matvec(self.scale_tril, noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * jnp.sum(noise * noise, axis=-1) - self._log_norm()

    @traced_once
    def log_prob(self, value: Any) -> Any:
        return -0.5 * mahalanobis(self.scale_tril, value - self.loc) - self._log_norm()

    def _log_norm(self) -> Any:
        return log_det_tril(self.scale_tril) + self.event_shape[0] * _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return (self.scale_tril**2).sum(axis=-1)

    def entropy(self) -> Any:
        return 0.5 * self.event_shape[0] + self._log_norm()
