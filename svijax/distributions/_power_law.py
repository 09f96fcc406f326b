"""Power laws between two bounds."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._ratios import expm1_ratio, log_expm1_ratio
from ._tails import log_ratio, within
from ._unit_exponential import unit_quantile


class LogUniform(Distribution):
    """p(x) = 1 / (x log(high / low)) for low <= x <= high; 0 < low < high broadcast together."""

    arg_constraints = parameters(low=constraints.positive, high=constraints.dependent)
    _noise_kind = "uniform"
    low: jax.Array
    high: jax.Array

    def __init__(self, low: Any, high: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, low=low, high=high)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"high": constraints.greater_than(self.low)}

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    def _width(self) -> Any:
        return log_ratio(jnp.asarray(self.high), self.low)

    def from_noise(self, noise: Any) -> Any:
        return jnp.minimum(self.low * jnp.exp(self._width() * noise), self.high)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        width = self._width()
        return self.from_noise(noise), -jnp.log(self.low) - width * noise - jnp.log(width)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        inside = (value >= self.low) & (value <= self.high)
        return jnp.where(
            inside, -jnp.log(jnp.where(inside, value, self.low)) - jnp.log(self._width()), -jnp.inf
        )

    def _share(self, value: Any, from_low: bool) -> tuple[Any, Any]:
        """The share of the mass between an end and the value, and whether the value lies beyond that end."""
        x = jnp.clip(value, self.low, self.high)
        gap = log_ratio(x, self.low) if from_low else -log_ratio(x, self.high)
        return gap / self._width(), (value <= self.low) if from_low else (value >= self.high)

    def cdf(self, value: Any) -> Any:
        return self._share(jnp.asarray(value), True)[0]

    def log_cdf(self, value: Any) -> Any:
        share, beyond = self._share(jnp.asarray(value), True)
        return within(jnp.log, share, ~beyond, 1.0, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return self._share(jnp.asarray(value), False)[0]

    def log_survival_function(self, value: Any) -> Any:
        share, beyond = self._share(jnp.asarray(value), False)
        return within(jnp.log, share, ~beyond, 1.0, -math.inf)

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return jnp.maximum(self.high * jnp.exp(-self._width() * jnp.asarray(q, self.dtype)), self.low)

    @property
    def mean(self) -> Any:
        return self.low * expm1_ratio(self._width())

    @property
    def variance(self) -> Any:
        width = self._width()
        second = expm1_ratio(2 * width) - expm1_ratio(width) ** 2
        return self.low**2 * second

    def entropy(self) -> Any:
        return 0.5 * jnp.log(self.low) + 0.5 * jnp.log(self.high) + jnp.log(self._width())


class DoublyTruncatedPowerLaw(Distribution):
    """p(x) proportional to x^alpha for low <= x <= high; real alpha, 0 <= low < high broadcast together.

    low = 0 needs alpha > -1. Values and derivatives are smooth in alpha across -1.
    """

    arg_constraints = parameters(
        alpha=constraints.real, low=constraints.nonnegative, high=constraints.dependent
    )
    _noise_kind = "uniform"
    alpha: jax.Array
    low: jax.Array
    high: jax.Array

    def __init__(self, alpha: Any, low: Any, high: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, alpha=alpha, low=low, high=high)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"high": constraints.greater_than(self.low)}

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    # In terms of v = log(high / x), from 0 to the width log(high / low), the density is proportional to exp(-k v)
    # with k = 1 + alpha; a bound low = 0 makes the width infinite.

    def _width(self) -> tuple[Any, Any]:
        """log(high / low), or 1 where low is 0, and where that is."""
        open_end = jnp.asarray(self.low == 0)
        low = jnp.where(open_end, jnp.asarray(self.high) * math.exp(-1.0), self.low)
        return log_ratio(jnp.asarray(self.high), low), open_end

    def _log_mass(self, k: Any) -> Any:
        """log of the integral of exp(-k v) over v."""
        width, open_end = self._width()
        return jnp.where(
            open_end,
            -jnp.log(jnp.where(open_end, k, 1.0)),
            jnp.log(width) + log_expm1_ratio(-k * width),
        )

    def _depth(self, value: Any) -> tuple[Any, Any]:
        """v of a value strictly between the bounds (of their middle elsewhere), and where it lies so."""
        value = jnp.asarray(value)
        inner = (value > self.low) & (value < self.high)
        middle = 0.5 * jnp.asarray(self.low) + 0.5 * jnp.asarray(self.high)
        return -log_ratio(jnp.where(inner, value, middle), self.high), inner

    def from_noise(self, noise: Any) -> Any:
        return self._quantile(noise, 1 - noise)

    def _quantile(self, below: Any, above: Any) -> Any:
        width, open_end = self._width()
        k = 1 + jnp.asarray(self.alpha)
        # The share of the width that lies above the draw has an exponential density.
        share = unit_quantile(-k * width, above, below)
        to_zero = -jnp.log(below) / jnp.where(open_end, k, 1.0)
        draw = self.high * jnp.exp(-jnp.where(open_end, to_zero, share * width))
        return jnp.clip(draw, self.low, self.high)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        k = 1 + jnp.asarray(self.alpha)
        zero = value == 0
        inside = (value >= self.low) & (value <= self.high) & ~(zero & (self.alpha != 0))
        x = jnp.where(inside & ~zero, value, self.high)
        v = -log_ratio(x, self.high)
        log_prob = -self.alpha * jnp.where(zero, 0.0, v) - jnp.log(self.high) - self._log_mass(k)
        pole = zero & (self.low == 0) & (self.alpha < 0)
        return jnp.where(inside, log_prob, jnp.where(pole, jnp.inf, -jnp.inf))

    def log_survival_function(self, value: Any) -> Any:
        v, inner = self._depth(value)
        k = 1 + jnp.asarray(self.alpha)
        log_above = jnp.log(v) + log_expm1_ratio(-k * v) - self._log_mass(k)
        return jnp.where(inner, log_above, jnp.where(value >= self.high, -jnp.inf, 0.0))

    def log_cdf(self, value: Any) -> Any:
        v, inner = self._depth(value)
        width, open_end = self._width()
        k = 1 + jnp.asarray(self.alpha)
        left = jnp.where(open_end, 1.0, jnp.where(inner, width - v, width))
        log_below = jnp.where(
            open_end,
            -k * v,
            jnp.log(left) + log_expm1_ratio(k * left) - jnp.log(width) - log_expm1_ratio(k * width),
        )
        return jnp.where(inner, log_below, jnp.where(value >= self.high, 0.0, -jnp.inf))

    def cdf(self, value: Any) -> Any:
        return jnp.exp(self.log_cdf(value))

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return self._quantile(q, 1 - q)

    def _isf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return self._quantile(1 - q, q)

    def _log_moment(self, n: int) -> Any:
        """log E (X / high)^n."""
        k = 1 + jnp.asarray(self.alpha)
        return self._log_mass(k + n) - self._log_mass(k)

    @property
    def mean(self) -> Any:
        return self.high * jnp.exp(self._log_moment(1))

    @property
    def variance(self) -> Any:
        first = self._log_moment(1)
        return self.high**2 * jnp.exp(2 * first) * jnp.expm1(self._log_moment(2) - 2 * first)

    def entropy(self) -> Any:
        k = 1 + jnp.asarray(self.alpha)
        log_mass, minus_mean_v = jax.jvp(self._log_mass, (k,), (jnp.ones_like(k),))
        return jnp.log(self.high) + log_mass - self.alpha * minus_mean_v
