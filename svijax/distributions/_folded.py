"""The absolute value of a number."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import Constraint, constraints

from ._wrapper import Wrapper


class FoldedDistribution(Wrapper):
    """|X| of X ~ ``base_dist``, a continuous distribution of single numbers: p(x) = p_X(x) + p_X(-x) for x >= 0."""

    _fields = ("base_dist",)

    def __init__(self, base_dist: Any, *, validate_args: bool | None = None) -> None:
        self._init_about(validate_args, base_dist)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.nonnegative

    def from_noise(self, noise: Any) -> Any:
        return jnp.abs(self.base_dist.from_noise(noise))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jnp.abs(self.base_dist.sample(key, sample_shape))

    def _both(self, f: Any, g: Any, value: Any, outside: float) -> Any:
        """f(x) + g(-x) of logarithms."""
        value = jnp.asarray(value)
        x = jnp.where(value >= 0, value, 0.0)
        return jnp.where(value >= 0, _log_sum(f(x), g(-x)), outside)

    def log_prob(self, value: Any) -> Any:
        return self._both(self.base_dist.log_prob, self.base_dist.log_prob, value, -math.inf)

    def log_survival_function(self, value: Any) -> Any:
        return self._both(self.base_dist.log_survival_function, self.base_dist.log_cdf, value, 0.0)

    def survival_function(self, value: Any) -> Any:
        x = jnp.maximum(value, 0.0)
        return jnp.where(
            jnp.asarray(value) >= 0, self.base_dist.survival_function(x) + self.base_dist.cdf(-x), 1.0
        )

    def cdf(self, value: Any) -> Any:
        x = jnp.maximum(value, 0.0)
        return self.base_dist.cdf(x) - self.base_dist.cdf(-x)

    @property
    def mean(self) -> Any:
        self._lacks("a mean in closed form", "average draws of sample(key, (n,))")

    @property
    def variance(self) -> Any:
        self._lacks("a variance in closed form", "take the variance of draws of sample(key, (n,))")


def _log_sum(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), with derivatives 0 where both are -inf."""
    empty = (a == -jnp.inf) & (b == -jnp.inf)
    return jnp.where(empty, -jnp.inf, jnp.logaddexp(jnp.where(empty, 0.0, a), jnp.where(empty, 0.0, b)))
