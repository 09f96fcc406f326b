"""Gaussian copulas: any marginals, joined as the entries of a normal vector are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri

from svijax.base import NoiseSpec, ShapeError, as_array, broadcast, cast, message
from svijax.transforms import Constraint, constraints

from ._beta import Beta
from ._distribution import Distribution
from ._expanded import expand_any
from ._gaussian import apply
from ._logits import take_one
from ._multivariate_normal import MultivariateNormal
from ._parameters import check, parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class GaussianCopula(Distribution):
    """p(x) = N(z; 0, R) / prod_i N(z_i; 0, 1) * prod_i p_i(x_i) with z_i = Phi^-1(F_i(x_i)).

    F_i and p_i are of ``marginal_dist``, univariate, whose last batch axis is that of the n entries; exactly one
    of correlation_matrix = R and correlation_cholesky = L, R = L L^T, each (…, n, n), is given, and L is kept.
    """

    arg_constraints = parameters(
        correlation_matrix=constraints.corr_matrix, correlation_cholesky=constraints.corr_cholesky
    )
    _fields = ("marginal_dist", "correlation_cholesky")
    marginal_dist: Any
    correlation_cholesky: Any

    def __init__(
        self,
        marginal_dist: Any,
        correlation_matrix: Any = None,
        correlation_cholesky: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = type(self).__name__
        given = {"correlation_matrix": correlation_matrix, "correlation_cholesky": correlation_cholesky}
        take_one(owner, **given)
        name, matrix = next((name, as_array(x)) for name, x in given.items() if x is not None)
        if tuple(marginal_dist.event_shape) != ():
            got = f"event_shape {tuple(marginal_dist.event_shape)}"
            raise ShapeError(message(f"{owner}: marginal_dist is not univariate.", got=got))
        matrix = cast(matrix, marginal_dist.dtype if not marginal_dist.is_discrete else matrix.dtype)
        # Checks that the matrices are square, and takes the root.
        joint = MultivariateNormal(
            0.0,
            covariance_matrix=matrix if name == "correlation_matrix" else None,
            scale_tril=matrix if name == "correlation_cholesky" else None,
            validate_args=False,
        )
        if validate_args is not False:
            check(owner, name, matrix, self.arg_constraints[name])
        cholesky, n = joint.scale_tril, joint.event_shape[0]
        try:
            batch = np.broadcast_shapes(tuple(marginal_dist.batch_shape), (*cholesky.shape[:-2], n))
        except ValueError as error:
            got = f"batch_shape {tuple(marginal_dist.batch_shape)} and matrices {cholesky.shape}"
            raise ShapeError(
                message(f"{owner}: marginal_dist and the matrices do not broadcast.", got=got)
            ) from error
        self._assign(
            marginal_dist=expand_any(marginal_dist, batch),
            correlation_cholesky=broadcast(cholesky, (*batch[:-1], n, n)),
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(
            tuple(self.marginal_dist.batch_shape)[:-1], np.shape(self.correlation_cholesky)[:-2]
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.correlation_cholesky)[-1:]

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.marginal_dist.support, 1)

    @property
    def dtype(self) -> Any:
        return self.marginal_dist.dtype

    @property
    def correlation_matrix(self) -> Any:
        """R = L L^T, the correlations of the normal scores."""
        return jnp.matmul(self.correlation_cholesky, jnp.swapaxes(self.correlation_cholesky, -2, -1))

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.marginal_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec:
        return NoiseSpec("normal", self.shape(), jnp.result_type(self.correlation_cholesky))

    def from_noise(self, noise: Any) -> Any:
        z = apply(self.correlation_cholesky, noise)
        eps = float(jnp.finfo(z.dtype).eps)
        # The smaller tail on either side; below eps an upper tail that is 1 minus something would be 0.
        tail = jnp.maximum(ndtr(-jnp.abs(z)), eps)
        above = getattr(self.marginal_dist, "_isf", lambda q: self.marginal_dist.icdf(1 - q))
        return jnp.where(z > 0, above(tail), self.marginal_dist.icdf(tail))

    def log_prob(self, value: Any) -> Any:
        if self.is_discrete:
            self._lacks("a density, since its marginals have none", "draw it with sample(key)")
        marginal = self.marginal_dist
        value = jnp.asarray(value)
        inside = marginal.support(value)
        safe = jnp.where(inside, value, marginal.support.feasible_like(value))
        z = _normal_quantile(marginal.log_cdf(safe), marginal.log_survival_function(safe))
        copula = MultivariateNormal(0.0, scale_tril=self.correlation_cholesky, validate_args=False)
        each = marginal.log_prob(safe) + 0.5 * z * z + _HALF_LOG_2PI
        log_prob = copula.log_prob(z) + jnp.sum(each, axis=-1)
        return jnp.where(jnp.all(inside, axis=-1), log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.marginal_dist.mean

    @property
    def variance(self) -> Any:
        return self.marginal_dist.variance

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target, n = self._expandable(batch_shape), self.event_shape[0]
        return self._replace(
            marginal_dist=expand_any(self.marginal_dist, (*target, n)),
            correlation_cholesky=broadcast(self.correlation_cholesky, (*target, n, n)),
        )


class GaussianCopulaBeta(GaussianCopula):
    """A Gaussian copula of Beta(concentration1, concentration0) marginals, each (…, n) and > 0."""

    def __init__(
        self,
        concentration1: Any,
        concentration0: Any,
        correlation_matrix: Any = None,
        correlation_cholesky: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        marginal = Beta(concentration1, concentration0, validate_args=validate_args)
        super().__init__(marginal, correlation_matrix, correlation_cholesky, validate_args=validate_args)

    @property
    def concentration1(self) -> Any:
        """The first parameter of the Beta marginals."""
        return self.marginal_dist.concentration1

    @property
    def concentration0(self) -> Any:
        """The second parameter of the Beta marginals."""
        return self.marginal_dist.concentration0


def _normal_quantile(log_below: Any, log_above: Any) -> Any:
    """z with log Phi(z) = log_below and log Phi(-z) = log_above, by the smaller of the two tails."""
    low = log_below < log_above
    tail = jnp.where(low, log_below, log_above)
    # A tail of which nothing is left to a number still has a quantile far out.
    tail = jnp.maximum(tail, -0.1 * float(jnp.finfo(tail.dtype).max) ** 0.5)
    near = tail > -20.0
    z = ndtri(jnp.exp(jnp.where(near, tail, -1.0)))
    far = jnp.where(near, -20.0, tail)
    x = -jnp.sqrt(-2.0 * far - jnp.log(-4.0 * math.pi * far))
    for _ in range(3):
        # Newton's method on log Phi, which is nearly a parabola there.
        log_cdf = log_ndtr(x)
        x = x - (log_cdf - far) * jnp.exp(log_cdf + 0.5 * x * x + _HALF_LOG_2PI)
    z = jnp.where(near, z, x)
    return jnp.where(low, z, -z)
