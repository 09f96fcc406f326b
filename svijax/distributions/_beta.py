"""The beta and Dirichlet distributions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, digamma, gammaln

from svijax.base import array_module, log_beta, open_unit, xlog1py, xlogy
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters


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

    def log_prob(self, value: Any) -> Any:
        inside = (value >= 0) & (value <= 1)
        x = jnp.where(inside, value, 0.5)
        a, b = self.concentration1, self.concentration0
        log_prob = xlogy(a - 1, x) + xlog1py(b - 1, -x) - log_beta(a, b)
        return jnp.where(inside, log_prob, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Any:
        total = self.concentration1 + self.concentration0
        return self.concentration1 / total * (self.concentration0 / total) / (total + 1)

    def cdf(self, value: Any) -> Any:
        return betainc(self.concentration1, self.concentration0, jnp.clip(value, 0.0, 1.0))

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        digammas = (a - 1) * digamma(a) + (b - 1) * digamma(b) - (a + b - 2) * digamma(a + b)
        return log_beta(a, b) - digammas


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
        log_draws = log_gamma_draw(key, self.concentration, self.shape(sample_shape))
        return jnp.maximum(jax.nn.softmax(log_draws, axis=-1), jnp.finfo(self.dtype).tiny)

    def log_prob(self, value: Any) -> Any:
        inside = array_module(value).all(value >= 0, axis=-1)
        x = jnp.where(inside[..., None], value, 1.0)
        c = self.concentration
        powers = jnp.sum(xlogy(c - 1, x) - gammaln(c), axis=-1)
        return jnp.where(inside, powers + gammaln(c.sum(axis=-1)), -jnp.inf)

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
        log_norm = gammaln(c).sum(axis=-1) - gammaln(total)
        digammas = (total - c.shape[-1]) * digamma(total) - ((c - 1) * digamma(c)).sum(axis=-1)
        return log_norm + digammas
