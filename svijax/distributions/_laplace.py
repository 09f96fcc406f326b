"""The Laplace distribution and its smooth relatives: SoftLaplace is the hyperbolic secant."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from ._location_scale import SymmetricLocationScale, minus_abs
from ._tails import LOG_2

_LOG_2_OVER_PI = math.log(2.0 / math.pi)


class Laplace(SymmetricLocationScale):
    """p(x) = exp(-|x - loc| / scale) / (2 scale); loc and scale > 0 broadcast together.

    At x = loc, where the density has a kink, its derivatives are those of one side.
    """

    def _z_log_prob(self, z: Any) -> Any:
        return -jnp.abs(z) - LOG_2

    def _z_tail(self, z: Any) -> Any:
        return 0.5 * jnp.exp(z)

    def _z_log_tail(self, z: Any) -> Any:
        return z - LOG_2

    def _z_quantile(self, q: Any) -> Any:
        return jnp.log(2.0 * q)

    @property
    def variance(self) -> Any:
        return 2.0 * jnp.square(self.scale)

    def _z_entropy(self) -> Any:
        return 1.0 + LOG_2


class SoftLaplace(SymmetricLocationScale):
    """p(x) = 2 / (pi scale (exp(z) + exp(-z))), z = (x - loc) / scale; loc and scale > 0 broadcast together.

    Its tails are those of a Laplace distribution, and it is smooth at loc.
    """

    def _z_log_prob(self, z: Any) -> Any:
        size = minus_abs(z)
        return _LOG_2_OVER_PI + size - jnp.log1p(jnp.exp(2.0 * size))

    def _z_tail(self, z: Any) -> Any:
        return 2.0 / math.pi * jnp.arctan(jnp.exp(z))

    def _z_log_tail(self, z: Any) -> Any:
        # Where exp(z) is small, arctan(exp(z)) is exp(z) to full precision.
        far = z < -20.0
        near = jnp.log(jnp.arctan(jnp.exp(jnp.where(far, -20.0, z))))
        return _LOG_2_OVER_PI + jnp.where(far, z, near)

    def _z_quantile(self, q: Any) -> Any:
        return jnp.log(jnp.tan(0.5 * math.pi * q))

    @property
    def variance(self) -> Any:
        return 0.25 * math.pi**2 * jnp.square(self.scale)

    def _z_entropy(self) -> Any:
        return math.log(2.0 * math.pi)
