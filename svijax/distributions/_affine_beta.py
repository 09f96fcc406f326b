"""The beta distribution on another interval."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import Constraint, constraints

from ._beta import Beta
from ._distribution import Distribution
from ._parameters import parameters
from ._tails import next_to


class AffineBeta(Distribution):
    """The law of loc + scale X, X ~ Beta(concentration1, concentration0): a beta density on [loc, loc + scale].

    concentration1, concentration0, loc and scale broadcast together; all but loc are positive.
    """

    arg_constraints = parameters(
        concentration1=constraints.positive,
        concentration0=constraints.positive,
        loc=constraints.real,
        scale=constraints.positive,
    )
    _pathwise = True
    concentration1: jax.Array
    concentration0: jax.Array
    loc: jax.Array
    scale: jax.Array

    def __init__(
        self,
        concentration1: Any,
        concentration0: Any,
        loc: Any,
        scale: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(
            validate_args,
            concentration1=concentration1,
            concentration0=concentration0,
            loc=loc,
            scale=scale,
        )

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    @property
    def low(self) -> Any:
        """loc, the lower end of the support."""
        return self.loc

    @property
    def high(self) -> Any:
        """loc + scale, the upper end of the support."""
        return self.loc + self.scale

    @property
    def _beta(self) -> Beta:
        return Beta(self.concentration1, self.concentration0, validate_args=False)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        draw = self.loc + self.scale * self._beta.sample(key, sample_shape)
        low, high = self.low, self.high
        # Rounding must not put a draw on an end, where the density can be infinite.
        return jnp.clip(draw, next_to(low, high), next_to(high, low))

    def _standard(self, value: Any) -> Any:
        return (value - self.loc) / self.scale

    def _scaled(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def log_prob(self, value: Any) -> Any:
        z = self._standard(value)
        return jnp.where((z >= 0) & (z <= 1), self._beta.log_prob(z) - jnp.log(self.scale), -jnp.inf)

    @property
    def mean(self) -> Any:
        return self._scaled(self._beta.mean)

    @property
    def variance(self) -> Any:
        return self.scale**2 * self._beta.variance

    def cdf(self, value: Any) -> Any:
        return self._beta.cdf(self._standard(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return self._beta.log_cdf(self._standard(value))

    def survival_function(self, value: Any) -> Any:
        return self._beta.survival_function(self._standard(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return self._beta.log_survival_function(self._standard(value))

    def icdf(self, q: Any) -> Any:
        return self._scaled(self._beta.icdf(jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._scaled(self._beta._isf(jnp.asarray(q, self.dtype)))

    def entropy(self) -> Any:
        return self._beta.entropy() + jnp.log(self.scale)
