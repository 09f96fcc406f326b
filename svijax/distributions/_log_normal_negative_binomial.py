"""Negative binomial counts with normal noise on the logits."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, message
from svijax.transforms import constraints

from ._distribution import Distribution
from ._negative_binomial import NegativeBinomial
from ._parameters import as_float, parameters


class LogNormalNegativeBinomial(Distribution):
    """p(k) = E NegativeBinomial(total_count, logits=logits + multiplicative_noise_scale e)(k), e ~ N(0, 1).

    ``log_prob`` takes the expectation by Gauss and Hermite's rule of ``num_quad_points`` points; draws and moments are
    exact. All three parameters broadcast together. Zhou, Li, Dunson and Carin (2012).
    """

    arg_constraints = parameters(
        total_count=constraints.positive,
        logits=constraints.real,
        multiplicative_noise_scale=constraints.positive,
    )
    support = constraints.nonnegative_integer
    _static = ("num_quad_points", "_detached")
    total_count: jax.Array
    logits: jax.Array
    multiplicative_noise_scale: jax.Array
    num_quad_points: int

    def __init__(
        self,
        total_count: Any,
        logits: Any,
        multiplicative_noise_scale: Any,
        *,
        num_quad_points: int = 8,
        validate_args: bool | None = None,
    ) -> None:
        if num_quad_points < 1:
            raise ArgumentError(
                message("LogNormalNegativeBinomial: a rule has one point at least.", got=num_quad_points)
            )
        self._assign(num_quad_points=int(num_quad_points))
        self._init(
            validate_args,
            total_count=total_count,
            logits=logits,
            multiplicative_noise_scale=multiplicative_noise_scale,
        )

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_noise, key_count = jax.random.split(key)
        noise = jax.random.normal(key_noise, self.shape(sample_shape), self.total_count.dtype)
        logits = self.logits + self.multiplicative_noise_scale * noise
        return NegativeBinomial(self.total_count, logits=logits, validate_args=False).sample(key_count)

    def log_prob(self, value: Any) -> Any:
        points, weights = np.polynomial.hermite.hermgauss(self.num_quad_points)
        dtype = self.total_count.dtype
        points, log_weights = (
            (math.sqrt(2.0) * points).astype(dtype),
            np.log(weights / math.sqrt(math.pi)).astype(dtype),
        )
        logits = self.logits[..., None] + self.multiplicative_noise_scale[..., None] * points
        at_points = NegativeBinomial(self.total_count[..., None], logits=logits, validate_args=False)
        inside = value >= 0
        k = jnp.where(inside, as_float(value, dtype), 0.0)
        log_mass = jax.nn.logsumexp(log_weights + at_points.log_prob(k[..., None]), axis=-1)
        return jnp.where(inside, log_mass, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.total_count * jnp.exp(self.logits + 0.5 * self.multiplicative_noise_scale**2)

    @property
    def variance(self) -> Any:
        # E and variance of r o and r o (1 + o) for odds o, log-normal.
        mean, spread = self.mean, self.multiplicative_noise_scale**2
        return mean + mean**2 * (jnp.exp(spread) / self.total_count + jnp.expm1(spread))
