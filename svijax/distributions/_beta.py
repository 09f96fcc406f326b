"""The beta and Dirichlet distributions, and the beta distribution in other terms."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    array_module,
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    log_beta_weight,
    log_betainc,
    log_betaincc,
    open_unit,
    product_deviance,
    product_gap,
    stirling_error,
)
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import digamma_rest, log_gamma_draw
from ._parameters import parameters, traced_once

_LOG_2PI = math.log(2.0 * math.pi)


class Beta(Distribution):
    """p(x) = x^(a-1) (1-x)^(b-1) / B(a, b) on [0, 1]; a = concentration1 > 0, b = concentration0 > 0."""

    arg_constraints = parameters(concentration1=constraints.positive, concentration0=constraints.positive)
    support = constraints.unit_interval
    _pathwise = True
    concentration1: jax.Array
    concentration0: jax.Array

    def __init__(
        self, concentration1: Any, concentration0: Any, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, concentration1=concentration1, concentration0=concentration0)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        # x = g1 / (g1 + g0) by the logarithms of the gammas, which stay finite for small concentrations.
        key1, key0 = jax.random.split(key)
        shape = self.shape(sample_shape)
        log_odds = log_gamma_draw(key1, self.concentration1, shape)
        log_odds -= log_gamma_draw(key0, self.concentration0, shape)
        return open_unit(jax.nn.sigmoid(log_odds))

    @traced_once
    def log_prob(self, value: Any) -> Any:
        a, b = self.concentration1, self.concentration0
        x = jnp.where((value > 0) & (value < 1), value, 0.5)
        inner = log_beta_weight(a, b, x) - jnp.log(x) - jnp.log1p(-x)
        # The ends: constant, zero or infinite, as the exponent there is 0, positive or negative.
        low = jnp.where(a == 1, jnp.log(b) - (b - 1) * value, jnp.where(a < 1, jnp.inf, -jnp.inf))
        high = jnp.where(b == 1, jnp.log(a) - (a - 1) * (1 - value), jnp.where(b < 1, jnp.inf, -jnp.inf))
        inside = (value >= 0) & (value <= 1)
        ends = jnp.where(value == 0, low, jnp.where(value == 1, high, inner))
        return jnp.where(inside, ends, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Any:
        total = self.concentration1 + self.concentration0
        return self.concentration1 / total * (self.concentration0 / total) / (total + 1)

    def cdf(self, value: Any) -> Any:
        return betainc(self.concentration1, self.concentration0, value)

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return log_betainc(self.concentration1, self.concentration0, value)

    def survival_function(self, value: Any) -> Any:
        return betaincc(self.concentration1, self.concentration0, value)

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return log_betaincc(self.concentration1, self.concentration0, value)

    def icdf(self, q: Any) -> Any:
        return betaincinv(self.concentration1, self.concentration0, jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return betainccinv(self.concentration1, self.concentration0, jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        total = a + b
        (error_a, rest_a), (error_b, rest_b), (error, rest) = map(digamma_rest, (a, b, total))
        powers = 0.5 * (jnp.log(a / total) + jnp.log(b / total) - jnp.log(total) + _LOG_2PI)
        errors = error_a + error_b - error
        return powers + errors - (a - 1) * rest_a - (b - 1) * rest_b + (total - 2) * rest


@partial(jax.jit, static_argnames="shape")
def _dirichlet_draw(key: jax.Array, concentration: Any, shape: tuple[int, ...]) -> jax.Array:
    log_draws = log_gamma_draw(key, concentration, shape)
    return jnp.maximum(jax.nn.softmax(log_draws, axis=-1), jnp.finfo(log_draws.dtype).tiny)


class Dirichlet(Distribution):
    """p(x) = Gamma(sum c) prod x_i^(c_i - 1) / Gamma(c_i) on the simplex; c = concentration (…, n) > 0."""

    arg_constraints = parameters(concentration=constraints.independent(constraints.positive, 1))
    support = constraints.simplex
    _pathwise = True
    concentration: jax.Array

    def __init__(self, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.concentration)[-1:]

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return _dirichlet_draw(key, self.concentration, self.shape(sample_shape))

    @traced_once
    def log_prob(self, value: Any) -> Any:
        c = self.concentration
        total = c.sum(axis=-1)
        xp = array_module(value)
        power = c - 1
        inside = xp.all(value >= 0, axis=-1)
        # Where an entry is 0, its factor is 1 at c = 1, and the limit is taken elsewhere.
        pole = jnp.where((value == 0) & (power != 0), -jnp.sign(power) * jnp.inf, 0.0).sum(axis=-1)
        x = jnp.where(inside[..., None] & (value != 0), value, 1.0)
        spread = total[..., None]
        entries = -product_gap(c, spread, x) - product_deviance(c, spread, x)
        entries = entries - jnp.log(x) - stirling_error(c) + 0.5 * (jnp.log(c) - _LOG_2PI)
        log_prob = entries.sum(axis=-1) + stirling_error(total) - 0.5 * (jnp.log(total) - _LOG_2PI)
        return jnp.where(inside, jnp.where(pole == 0, log_prob, pole), -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(axis=-1, keepdims=True)

    @property
    def variance(self) -> Any:
        mean = self.mean
        return mean * (1 - mean) / (self.concentration.sum(axis=-1, keepdims=True) + 1)

    def entropy(self) -> Any:
        c = self.concentration
        total = c.sum(axis=-1)
        (error_c, rest_c), (error, rest) = digamma_rest(c), digamma_rest(total)
        entries = error_c - (c - 1) * rest_c + 0.5 * (jnp.log(c / total[..., None]) + _LOG_2PI)
        size = c.shape[-1]
        shift = 0.5 * ((size - 1) * jnp.log(total) + _LOG_2PI) + error - (total - size) * rest
        return entries.sum(axis=-1) - shift


class BetaProportion(Beta):
    """Beta(mean c, (1 - mean) c) on [0, 1], by its mean in (0, 1) and c = concentration > 0.

    Ferrari and Cribari-Neto (2004), "Beta regression for modelling rates and proportions".
    """

    arg_constraints = parameters(mean=constraints.open_interval(0.0, 1.0), concentration=constraints.positive)
    _kl_as = Beta
    # A plain attribute, so that the field stands in front of the property.
    mean: Any = None
    concentration: jax.Array

    def __init__(self, mean: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, mean=mean, concentration=concentration)

    @property
    def concentration1(self) -> Any:  # type: ignore[override]
        """mean concentration, Beta's first parameter."""
        return self.mean * self.concentration

    @property
    def concentration0(self) -> Any:  # type: ignore[override]
        """(1 - mean) concentration, Beta's second parameter."""
        return (1 - self.mean) * self.concentration
