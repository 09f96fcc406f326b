"""A Gaussian hidden Markov model of unknown scale."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from svijax.base import ArgumentError, draw_noise, message
from svijax.transforms import constraints

from ._gamma import Gamma
from ._gaussian_hmm import GaussianHMM, LinearGaussian
from ._multivariate_normal import MultivariateNormal
from ._parameters import parameters


class GammaGaussianHMM(LinearGaussian):
    """``GaussianHMM`` of which every covariance is divided by s ~ scale_dist = Gamma(a, b); s is integrated out.

    The observations together follow a multivariate Student t distribution of 2 a degrees of freedom. The other
    arguments are those of ``GaussianHMM``; the means are not scaled.
    """

    arg_constraints = parameters(
        **LinearGaussian.arg_constraints, concentration=constraints.positive, rate=constraints.positive
    )
    _pathwise = True
    concentration: jax.Array
    rate: jax.Array

    def __init__(
        self,
        scale_dist: Any,
        initial_dist: Any,
        transition_matrix: Any,
        transition_dist: Any,
        observation_matrix: Any,
        observation_dist: Any,
        duration: int | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(scale_dist, Gamma):
            raise ArgumentError(message("GammaGaussianHMM: scale_dist is a Gamma.", got=repr(scale_dist)))
        self._set(
            initial_dist,
            transition_matrix,
            transition_dist,
            observation_matrix,
            observation_dist,
            duration,
            validate_args,
            concentration=scale_dist.concentration,
            rate=scale_dist.rate,
        )

    @property
    def scale_dist(self) -> Gamma:
        """The law of s, which multiplies every precision."""
        return Gamma(self.concentration, self.rate, validate_args=False)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        first, second = jax.random.split(key)
        noise = draw_noise(second, GaussianHMM._noise_spec(self), sample_shape)  # type: ignore[arg-type]
        return self._joint(noise, jax.lax.rsqrt(self.scale_dist.sample(first, sample_shape)))[1]

    def log_prob(self, value: Any) -> Any:
        squares, log_det, size = self._squares_and_log_det(value)
        a, b, half = self.concentration, self.rate, 0.5 * size
        gammas = gammaln(a + half) - gammaln(a)
        logs = half * jnp.log(2.0 * math.pi * b) + (a + half) * jnp.log1p(0.5 * squares / b)
        return gammas - logs - log_det

    def filter(self, value: Any) -> tuple[Gamma, MultivariateNormal]:
        """The law of s given the observations, and that of the last state given them and s = 1."""
        squares, _, size = self._squares_and_log_det(value)
        mean, covariance = self._last(value)
        scale = Gamma(self.concentration + 0.5 * size, self.rate + 0.5 * squares, validate_args=False)
        return scale, MultivariateNormal(mean, covariance, validate_args=False)

    @property
    def mean(self) -> Any:
        noise = GaussianHMM._noise_spec(self)  # type: ignore[arg-type]
        mean = self._joint(jnp.zeros(noise.shape, noise.dtype))[1]  # type: ignore[union-attr]
        # A Student t distribution of one degree of freedom or fewer has none.
        return jnp.where((self.concentration > 0.5)[..., None, None], mean, jnp.nan)
