"""The Gumbel distribution, and Weibull's, which is exp of it turned round."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from svijax.base import xlogy
from svijax.transforms import constraints

from ._location_scale import LocationScale, LogScale
from ._parameters import parameters, traced_once
from ._tails import from_zero, log_cdf_of_log_hazard


class Gumbel(LocationScale):
    """p(x) = exp(-z - exp(-z)) / scale, z = (x - loc) / scale; loc and scale > 0 broadcast together."""

    def _z_log_prob(self, z: Any) -> Any:
        return -z - jnp.exp(-z)

    def _z_log_cdf(self, z: Any) -> Any:
        return -jnp.exp(-z)

    def _z_cdf(self, z: Any) -> Any:
        return jnp.exp(-jnp.exp(-z))

    def _z_survival(self, z: Any) -> Any:
        return -jnp.expm1(-jnp.exp(-z))

    def _z_log_survival(self, z: Any) -> Any:
        return log_cdf_of_log_hazard(-z)

    def _z_icdf(self, q: Any) -> Any:
        return -jnp.log(-jnp.log(q))

    def _z_isf(self, q: Any) -> Any:
        return -jnp.log(-jnp.log1p(-q))

    def _z_moments(self) -> tuple[Any, Any]:
        return np.euler_gamma, math.pi**2 / 6.0

    def _z_entropy(self) -> Any:
        return 1.0 + np.euler_gamma


class Weibull(LogScale):
    """p(x) = (c / scale) (x / scale)^(c - 1) exp(-(x / scale)^c) for x > 0; scale > 0, c = concentration > 0."""

    arg_constraints = parameters(scale=constraints.positive, concentration=constraints.positive)
    scale: jax.Array
    concentration: jax.Array

    def __init__(self, scale: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale, concentration=concentration)

    def _scale_and_power(self) -> tuple[Any, Any]:
        return self.scale, self.concentration

    # z is the logarithm of a standard exponential number.

    def _z_log_prob(self, z: Any) -> Any:
        return z - jnp.exp(z)

    def _z_from_noise(self, noise: Any) -> Any:
        # By the upper tail: then the smallest noise is no outlier.
        return self._z_isf(noise)

    def _z_cdf(self, z: Any) -> Any:
        return -jnp.expm1(-jnp.exp(z))

    def _z_log_cdf(self, z: Any) -> Any:
        return log_cdf_of_log_hazard(z)

    def _z_survival(self, z: Any) -> Any:
        return jnp.exp(-jnp.exp(z))

    def _z_log_survival(self, z: Any) -> Any:
        return -jnp.exp(z)

    def _z_icdf(self, q: Any) -> Any:
        return jnp.log(-jnp.log1p(-q))

    def _z_isf(self, q: Any) -> Any:
        return jnp.log(-jnp.log(q))

    def _z_moments(self) -> tuple[Any, Any]:
        return -np.euler_gamma, math.pi**2 / 6.0

    def _z_entropy(self) -> Any:
        return 1.0 + np.euler_gamma

    @traced_once
    def log_prob(self, value: Any) -> Any:
        c = jnp.asarray(self.concentration)

        def inside(z: Any) -> Any:
            return xlogy(c - 1, z) - z**c + jnp.log(c) - jnp.log(self.scale)

        return from_zero(inside, jnp.asarray(value) / self.scale, c - 1)

    @property
    def mean(self) -> Any:
        return self.scale * jnp.exp(gammaln(1 + 1 / self.concentration))

    @property
    def variance(self) -> Any:
        first = gammaln(1 + 1 / self.concentration)
        second = gammaln(1 + 2 / self.concentration)
        return self.scale**2 * jnp.exp(2 * first) * jnp.expm1(second - 2 * first)
