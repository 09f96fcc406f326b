"""The Kumaraswamy distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma

from svijax.base import log_beta, open_unit
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import log1mexp, log_cdf_of_log_hazard, log_minus_log1mexp, within


class Kumaraswamy(Distribution):
    """p(x) = a b x^(a-1) (1 - x^a)^(b-1) on [0, 1]; a = concentration1 > 0, b = concentration0 > 0.

    P(X > x) = (1 - x^a)^b. Kumaraswamy (1980).
    """

    arg_constraints = parameters(concentration1=constraints.positive, concentration0=constraints.positive)
    support = constraints.unit_interval
    _noise_kind = "uniform"
    concentration1: jax.Array
    concentration0: jax.Array

    def __init__(
        self, concentration1: Any, concentration0: Any, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, concentration1=concentration1, concentration0=concentration0)

    def from_noise(self, noise: Any) -> Any:
        return open_unit(self._of_log_survival(jnp.log(noise)))

    def _of_log_survival(self, log_above: Any) -> Any:
        """The x with log P(X > x) = log_above."""
        return jnp.exp(log1mexp(log_above / self.concentration0) / self.concentration1)

    def log_prob(self, value: Any) -> Any:
        a, b = self.concentration1, self.concentration0
        value = jnp.asarray(value)
        at_end = (value == 0) | (value == 1)
        inner = (value > 0) & (value < 1)

        def powers(x: Any) -> Any:
            log_x = jnp.log(x)
            return (a - 1) * log_x + (b - 1) * log1mexp(a * log_x)

        log_prob = within(powers, value, inner, 0.5, 0.0) + jnp.log(a) + jnp.log(b)
        # At an end, the power of the distance to it decides: 0, finite or infinite.
        power = jnp.where(value == 0, a - 1, b - 1)
        infinite = jnp.where(at_end & (power < 0), jnp.inf, -jnp.inf)
        return jnp.where(inner | (at_end & (power == 0)), log_prob, infinite)

    def _of_log_above(self, f: Any, value: Any, below: float, above: float) -> Any:
        value = jnp.asarray(value)
        inner = (value > 0) & (value < 1)
        outside = jnp.where(value > 0, above, below)
        return within(lambda x: f(self.concentration1 * jnp.log(x)), value, inner, 0.5, outside)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_log_above(lambda s: self.concentration0 * log1mexp(s), value, 0.0, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return self._of_log_above(lambda s: jnp.exp(self.concentration0 * log1mexp(s)), value, 1.0, 0.0)

    def cdf(self, value: Any) -> Any:
        return self._of_log_above(lambda s: -jnp.expm1(self.concentration0 * log1mexp(s)), value, 0.0, 1.0)

    def log_cdf(self, value: Any) -> Any:
        def log_cdf(s: Any) -> Any:
            return log_cdf_of_log_hazard(jnp.log(self.concentration0) + log_minus_log1mexp(s))

        return self._of_log_above(log_cdf, value, -math.inf, 0.0)

    def icdf(self, q: Any) -> Any:
        return self._of_log_survival(jnp.log1p(-jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._of_log_survival(jnp.log(jnp.asarray(q, self.dtype)))

    def _log_moment(self, n: int) -> Any:
        b = self.concentration0
        return jnp.log(b) + log_beta(1 + n / self.concentration1, b)

    @property
    def mean(self) -> Any:
        return jnp.exp(self._log_moment(1))

    @property
    def variance(self) -> Any:
        first = self._log_moment(1)
        return jnp.exp(2 * first) * jnp.expm1(self._log_moment(2) - 2 * first)

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        harmonic = digamma(b + 1) + np.euler_gamma
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - jnp.log(a) - jnp.log(b)
