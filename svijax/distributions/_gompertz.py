"""The Gompertz distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import exp1

from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import log1mexp, within

_ASYMPTOTIC = tuple((-1.0) ** n * math.factorial(n) for n in range(16))


class Gompertz(Distribution):
    """p(x) = b c exp(b x - c (exp(b x) - 1)) for x > 0; c = concentration > 0 and b = rate > 0 broadcast together."""

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    support = constraints.positive
    _noise_kind = "uniform"
    concentration: jax.Array
    rate: jax.Array

    def __init__(self, concentration: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration, rate=rate)

    def _of_hazard(self, hazard: Any) -> Any:
        """The x whose cumulative hazard, -log P(X > x), is given."""
        return jnp.log1p(hazard / self.concentration) / self.rate

    def from_noise(self, noise: Any) -> Any:
        draw = self._of_hazard(-jnp.log(noise))
        return jnp.maximum(draw, float(jnp.finfo(self.dtype).tiny))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        log_noise = jnp.log(noise)
        log_prob = jnp.log(self.rate) + jnp.log(self.concentration - log_noise) + log_noise
        return self.from_noise(noise), log_prob

    def log_prob(self, value: Any) -> Any:
        c = self.concentration

        def inside(x: Any) -> Any:
            z = self.rate * x
            return z - c * jnp.expm1(z) + jnp.log(c) + jnp.log(self.rate)

        value = jnp.asarray(value)
        return within(inside, value, value >= 0, 0.0, -jnp.inf)

    def _of_value(self, f: Any, value: Any, outside: float) -> Any:
        value = jnp.asarray(value)
        return within(
            lambda x: f(self.concentration * jnp.expm1(self.rate * x)),
            value,
            value > 0,
            1 / self.rate,
            outside,
        )

    def cdf(self, value: Any) -> Any:
        return self._of_value(lambda hazard: -jnp.expm1(-hazard), value, 0.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_value(lambda hazard: log1mexp(-hazard), value, -math.inf)

    def survival_function(self, value: Any) -> Any:
        return self._of_value(lambda hazard: jnp.exp(-hazard), value, 1.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_value(lambda hazard: -hazard, value, 0.0)

    def icdf(self, q: Any) -> Any:
        return self._of_hazard(-jnp.log1p(-jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._of_hazard(-jnp.log(jnp.asarray(q, self.dtype)))

    def _scaled_mean(self) -> Any:
        """exp(c) E_1(c)."""
        c = jnp.asarray(self.concentration)
        large = c > 40.0
        near, inverse = jnp.where(large, 40.0, c), 1.0 / jnp.where(large, c, 40.0)
        series: Any = _ASYMPTOTIC[-1]
        for coefficient in _ASYMPTOTIC[-2::-1]:
            series = coefficient + inverse * series
        return jnp.where(large, inverse * series, jnp.exp(near) * exp1(near))

    @property
    def mean(self) -> Any:
        return self._scaled_mean() / self.rate

    def entropy(self) -> Any:
        return 1.0 - self._scaled_mean() - jnp.log(self.concentration) - jnp.log(self.rate)
