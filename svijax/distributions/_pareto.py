"""Pareto distributions: the power law above a bound, and the generalised form with any tail."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import is_concrete
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._location_scale import LogScale
from ._parameters import parameters
from ._ratios import expm1_ratio, log1p_ratio
from ._tails import log1mexp, log_ratio, within


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
        depth = log_ratio(jnp.where(inside, value, scale), scale)
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


class GeneralizedPareto(Distribution):
    """p(x) = (1 + c z)^(-1 / c - 1) / scale for z = (x - loc) / scale >= 0, where 1 + c z > 0.

    loc, scale > 0 and c = concentration broadcast together. c > 0 has the tail of a Pareto distribution, c = 0
    is an exponential one, and c < 0 ends at loc - scale / c. Values and derivatives are smooth in c across 0.
    The mean is infinite for c >= 1, the variance for c >= 1/2. Pickands (1975).
    """

    arg_constraints = parameters(
        loc=constraints.real, scale=constraints.positive, concentration=constraints.real
    )
    _noise_kind = "uniform"
    loc: jax.Array
    scale: jax.Array
    concentration: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = 1.0,
        concentration: Any = 0.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, concentration=concentration)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        c = self.concentration
        if is_concrete(c) and not np.any(np.asarray(c) < 0):
            return constraints.greater_than_eq(self.loc)
        if is_concrete(c) and np.all(np.asarray(c) < 0):
            return constraints.interval(self.loc, self.loc - self.scale / c)
        # Which of the two it is differs between entries, or cannot be read.
        upper = self.loc - self.scale / jnp.where(c < 0, c, -1.0)
        return constraints.interval(self.loc, jnp.where(c < 0, upper, jnp.inf))

    def _from_depth(self, depth: Any) -> Any:
        """The x with -log P(X > x) = depth: z = (exp(c depth) - 1) / c."""
        exponent = jnp.minimum(self.concentration * depth, 0.9 * math.log(float(jnp.finfo(self.dtype).max)))
        return self.loc + self.scale * depth * expm1_ratio(exponent)

    def _depth(self, z: Any) -> Any:
        """-log P(X > x) of a z inside the support: log(1 + c z) / c."""
        return z * log1p_ratio(self.concentration * z)

    def from_noise(self, noise: Any) -> Any:
        draw = self._from_depth(-jnp.log1p(-noise))
        c = self.concentration
        end = self.loc - self.scale / jnp.where(c < 0, c, -1.0)
        # Kept below the end, where the density can be infinite or zero.
        return jnp.where(c < 0, jnp.minimum(draw, jnp.nextafter(end, jnp.asarray(self.loc))), draw)

    def _split(self, value: Any) -> tuple[Any, Any, Any]:
        """z, whether it lies inside the support, and whether beyond its end; z is safe where it does not."""
        z = (jnp.asarray(value) - self.loc) / self.scale
        beyond = (z >= 0) & (self.concentration * z <= -1)
        inside = (z >= 0) & ~beyond
        return jnp.where(inside, z, 0.0), inside, beyond

    def log_prob(self, value: Any) -> Any:
        c = self.concentration
        z, inside, beyond = self._split(value)
        log_prob = -(1 + c) * self._depth(z) - jnp.log(self.scale)
        at_end = beyond & ((jnp.asarray(value) - self.loc) / self.scale * c == -1)
        outside = jnp.where(at_end & (c < -1), jnp.inf, -jnp.inf)
        # With c = -1 the density is flat up to the end.
        outside = jnp.where(at_end & (c == -1), -jnp.log(self.scale), outside)
        return jnp.where(inside, log_prob, outside)

    def _of_depth(self, f: Any, value: Any, below: float, above: float) -> Any:
        z, inside, beyond = self._split(value)
        positive = inside & (z > 0)
        depth = self._depth(jnp.where(positive, z, 0.0))
        outside = jnp.where(beyond, above, below)
        return within(f, depth, positive, 1.0, outside)

    def cdf(self, value: Any) -> Any:
        return self._of_depth(lambda depth: -jnp.expm1(-depth), value, 0.0, 1.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_depth(lambda depth: log1mexp(-depth), value, -math.inf, 0.0)

    def survival_function(self, value: Any) -> Any:
        return self._of_depth(lambda depth: jnp.exp(-depth), value, 1.0, 0.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_depth(lambda depth: -depth, value, 0.0, -math.inf)

    def icdf(self, q: Any) -> Any:
        return self._from_depth(-jnp.log1p(-jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._from_depth(-jnp.log(jnp.asarray(q, self.dtype)))

    @property
    def mean(self) -> Any:
        c = self.concentration
        finite = c < 1
        return jnp.where(finite, self.loc + self.scale / jnp.where(finite, 1 - c, 1.0), jnp.inf)

    @property
    def variance(self) -> Any:
        c = self.concentration
        finite = c < 0.5
        safe = jnp.where(finite, c, 0.0)
        return jnp.where(finite, (self.scale / (1 - safe)) ** 2 / (1 - 2 * safe), jnp.inf)

    def entropy(self) -> Any:
        return jnp.log(self.scale) + self.concentration + 1
