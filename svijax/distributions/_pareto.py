"""Pareto distributions: power laws above a bound."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import Constraint, constraints

from ._location_scale import LogScale
from ._parameters import parameters
from ._tails import log1mexp


class _PowerTail(LogScale):
    """P(X > x) = (x / scale)^-power for x >= scale: z is standard exponential."""

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.greater_than_eq(self._scale_and_power()[0])

    def from_noise(self, noise: Any) -> Any:
        return self.from_noise_with_log_prob(noise)[0]

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        scale, power = self._scale_and_power()
        depth = self._z_from_noise(noise) / power
        log_prob = jnp.log(power) - jnp.log(scale) - (power + 1) * depth
        # scale * exp(d) with d >= 0 and not exp(log(scale) + d), which can be rounded below scale.
        largest = 0.99 * math.log(float(jnp.finfo(self.dtype).max))
        bounded = jnp.minimum(depth, jnp.maximum(largest - jnp.log(scale), 0.0))
        return scale * jnp.exp(bounded), log_prob

    def log_prob(self, value: Any) -> Any:
        scale, power = self._scale_and_power()
        value = jnp.asarray(value)
        inside = value >= scale
        depth = jnp.log1p((jnp.where(inside, value, scale) - scale) / scale)
        return jnp.where(inside, jnp.log(power) - jnp.log(scale) - (power + 1) * depth, -jnp.inf)

    def _z_cdf(self, z: Any) -> Any:
        return -jnp.expm1(-z)

    def _z_log_cdf(self, z: Any) -> Any:
        return log1mexp(-z)

    def _z_survival(self, z: Any) -> Any:
        return jnp.exp(-z)

    def _z_log_survival(self, z: Any) -> Any:
        return -z

    def _z_icdf(self, q: Any) -> Any:
        return -jnp.log1p(-q)

    def _z_isf(self, q: Any) -> Any:
        return -jnp.log(q)

    @property
    def mean(self) -> Any:
        scale, power = self._scale_and_power()
        finite = power > 1
        return jnp.where(finite, scale * (power / jnp.where(finite, power - 1, 1.0)), jnp.inf)

    @property
    def variance(self) -> Any:
        scale, power = self._scale_and_power()
        finite = power > 2
        safe = jnp.where(finite, power, 3.0)
        return jnp.where(finite, (scale / (safe - 1)) ** 2 * (safe / (safe - 2)), jnp.inf)

    def entropy(self) -> Any:
        scale, power = self._scale_and_power()
        return 1 + 1 / power + jnp.log(scale) - jnp.log(power)


class Pareto(_PowerTail):
    """p(x) = alpha scale^alpha / x^(alpha + 1) for x >= scale; scale > 0 and alpha > 0 broadcast together.

    The mean is infinite for alpha <= 1, the variance for alpha <= 2.
    """

    arg_constraints = parameters(scale=constraints.positive, alpha=constraints.positive)
    scale: jax.Array
    alpha: jax.Array

    def __init__(self, scale: Any, alpha: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale, alpha=alpha)

    def _scale_and_power(self) -> tuple[Any, Any]:
        return self.scale, self.alpha


class LowerTruncatedPowerLaw(_PowerTail):
    """p(x) proportional to x^alpha for x >= low; alpha < -1 and low > 0 broadcast together.

    A Pareto distribution of index -alpha - 1.
    """

    arg_constraints = parameters(alpha=constraints.less_than(-1.0), low=constraints.positive)
    alpha: jax.Array
    low: jax.Array

    def __init__(self, alpha: Any, low: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, alpha=alpha, low=low)

    def _scale_and_power(self) -> tuple[Any, Any]:
        return self.low, -(1 + self.alpha)
