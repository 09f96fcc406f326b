"""The Lévy distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.transforms import Constraint, constraints

from ._location_scale import LocationScale
from ._tails import HALF_LOG_2PI, LOG_2, log_erf, log_ndtr, ndtr, ndtri, next_to, within


class Levy(LocationScale):
    """p(x) = sqrt(scale / (2 pi)) exp(-scale / (2 (x - loc))) / (x - loc)^(3/2) for x > loc.

    The law of loc + scale / N^2 with N standard normal; loc and scale > 0 broadcast together. Mean and variance
    are infinite.
    """

    def __init__(self, loc: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(loc, scale, validate_args=validate_args)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.greater_than(self.loc)

    def from_noise(self, noise: Any) -> Any:
        return self._above_loc(super().from_noise(noise))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        value, log_prob = super().from_noise_with_log_prob(noise)
        return self._above_loc(value), log_prob

    def _above_loc(self, value: Any) -> Any:
        # A small z is lost beside a large loc; the density is 0 at loc itself.
        return jnp.maximum(value, next_to(self.loc, jnp.inf))

    def log_prob(self, value: Any) -> Any:
        return jnp.where(self._to_z(value) > 0, super().log_prob(value), -jnp.inf)

    def _z_log_prob(self, z: Any) -> Any:
        z = jnp.where(z > 0, z, 1.0)
        return -0.5 / z - 1.5 * jnp.log(z) - HALF_LOG_2PI

    def _z_cdf(self, z: Any) -> Any:
        return within(lambda z: 2.0 * ndtr(-1.0 / jnp.sqrt(z)), z, z > 0, 1.0, 0.0)

    def _z_log_cdf(self, z: Any) -> Any:
        return within(lambda z: LOG_2 + log_ndtr(-1.0 / jnp.sqrt(z)), z, z > 0, 1.0, -jnp.inf)

    def _z_survival(self, z: Any) -> Any:
        return within(lambda z: jnp.exp(log_erf(jnp.sqrt(0.5 / z))), z, z > 0, 1.0, 1.0)

    def _z_log_survival(self, z: Any) -> Any:
        return within(lambda z: log_erf(jnp.sqrt(0.5 / z)), z, z > 0, 1.0, 0.0)

    def _z_icdf(self, q: Any) -> Any:
        return 1.0 / jnp.square(ndtri(jnp.maximum(0.5 * q, float(jnp.finfo(jnp.result_type(q)).tiny))))

    def _z_isf(self, q: Any) -> Any:
        return 0.5 / jnp.square(jax.lax.erf_inv(q))

    @property
    def mean(self) -> Any:
        return jnp.full_like(self.loc, jnp.inf)

    @property
    def variance(self) -> Any:
        return jnp.full_like(self.loc, jnp.inf)

    def _z_entropy(self) -> Any:
        return 0.5 + 1.5 * np.euler_gamma + 0.5 * math.log(16.0 * math.pi)
