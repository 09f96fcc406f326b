"""The density proportional to exp(t x) on [0, 1]: the continuous Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message, open_unit
from svijax.transforms import constraints

from ._distribution import Distribution
from ._logits import logits_of, probs_of, take_one
from ._parameters import parameters
from ._ratios import expm1_ratio, log1p_ratio, log_expm1_ratio


def unit_quantile(t: Any, below: Any, above: Any) -> jax.Array:
    """The x in [0, 1] with P(X <= x) = below and P(X > x) = above, of the density proportional to exp(t x)."""
    # log(1 + q (exp(t) - 1)) / t, from the end at which exp is not large, and smooth in t at 0.
    up = t > 0
    rate = jnp.where(up, -t, t)
    q, rest = jnp.where(up, above, below), jnp.where(up, below, above)
    steep = rate < -1.0
    flat_rate, steep_rate = jnp.where(steep, -1.0, rate), jnp.where(steep, rate, -1.0)
    flat = q * expm1_ratio(flat_rate) * log1p_ratio(q * jnp.expm1(flat_rate))
    share = jnp.where(steep, jnp.log(rest + q * jnp.exp(steep_rate)) / steep_rate, flat)
    share = jnp.clip(share, 0.0, 1.0)
    return jnp.where(up, 1 - share, share)


class ContinuousBernoulli(Distribution):
    """p(x) proportional to probs^x (1 - probs)^(1 - x) on [0, 1], that is to exp(logits x).

    One of probs and logits is given, of shape (…). The constant, logits / (exp(logits) - 1), is taken from a series
    for probs within ``lims``; Pyro's narrower (0.499, 0.501) can be given too, and costs precision in float32.
    Loaiza-Ganem and Cunningham (2019).
    """

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.unit_interval
    _fields = ("_probs", "_logits")
    _static = ("lims", "_detached")
    _noise_kind = "uniform"
    _probs: Any  # one of the two is None
    _logits: Any
    lims: tuple[float, float]

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.27, 0.73),
        *,
        validate_args: bool | None = None,
    ) -> None:
        take_one("ContinuousBernoulli", probs=probs, logits=logits)
        low, high = (float(end) for end in lims)
        if not 0 < low <= high < 1:
            raise ArgumentError(
                message(
                    "ContinuousBernoulli: lims are two probabilities.",
                    expected="0 < low <= high < 1",
                    got=lims,
                )
            )
        self._init(validate_args, _probs=probs, _logits=logits)
        self._assign(lims=(low, high))

    @property
    def probs(self) -> Any:
        """1 / (1 + exp(-logits)), or as given."""
        return probs_of(self._logits) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        """log(probs / (1 - probs)), or as given."""
        return logits_of(open_unit(self._probs)) if self._logits is None else self._logits

    def _log_mass(self, t: Any) -> Any:
        """log of the integral of exp(t x) over [0, 1]."""
        low, high = (math.log(end / (1 - end)) for end in self.lims)
        return log_expm1_ratio(t, (low, high))

    def from_noise(self, noise: Any) -> Any:
        return unit_quantile(jnp.asarray(self.logits), noise, 1 - noise)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        inside = (value >= 0) & (value <= 1)
        x = jnp.where(inside, value, 0.5)
        t = jnp.asarray(self.logits)
        # From the end at which the density is largest, so that nothing cancels.
        exponent = jnp.where(t > 0, -t * (1 - x), t * x)
        return jnp.where(inside, exponent - self._log_mass(jnp.where(t > 0, -t, t)), -jnp.inf)

    def _log_share(self, distance: Any, t: Any) -> Any:
        """log of the mass within ``distance`` of the end 0 of a density proportional to exp(t x)."""
        inner = (distance > 0) & (distance < 1)
        d = jnp.where(inner, distance, 0.5)
        log_share = jnp.log(d) + self._log_mass(t * d) - self._log_mass(t)
        return jnp.where(inner, log_share, jnp.where(distance > 0, 0.0, -jnp.inf))

    def log_cdf(self, value: Any) -> Any:
        return self._log_share(jnp.asarray(value), jnp.asarray(self.logits))

    def log_survival_function(self, value: Any) -> Any:
        return self._log_share(1 - jnp.asarray(value), -jnp.asarray(self.logits))

    def cdf(self, value: Any) -> Any:
        return jnp.exp(self.log_cdf(value))

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return unit_quantile(jnp.asarray(self.logits), q, 1 - q)

    def _isf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return unit_quantile(jnp.asarray(self.logits), 1 - q, q)

    def _mean_at(self, t: Any) -> Any:
        # The derivatives of the log mass are the cumulants.
        return jax.jvp(self._log_mass, (t,), (jnp.ones_like(t),))[1]

    @property
    def mean(self) -> Any:
        return self._mean_at(jnp.asarray(self.logits))

    @property
    def variance(self) -> Any:
        t = jnp.asarray(self.logits)
        return jax.jvp(self._mean_at, (t,), (jnp.ones_like(t),))[1]

    def entropy(self) -> Any:
        t = jnp.asarray(self.logits)
        t = jnp.where(t > 0, -t, t)
        return self._log_mass(t) - t * self._mean_at(t)
