"""Binomial and negative binomial counts with a beta-distributed probability."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.transforms import Constraint, constraints

from ._binomial import binomial_draw, known_count
from ._counts import log_polya_class, log_polya_total, products_apart, wide
from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters
from ._poisson_draw import poisson_draw


class BetaBinomial(Distribution):
    """p(k) = C(n, k) B(k + a, n - k + b) / B(a, b), k = 0, …, n = total_count: binomial with probs ~ Beta(a, b).

    a = concentration1 > 0 and b = concentration0 > 0 broadcast with total_count.
    """

    arg_constraints = parameters(
        concentration1=constraints.positive,
        concentration0=constraints.positive,
        total_count=constraints.nonnegative_integer,
    )
    _keep_dtype = ("total_count",)
    _enumerable = True
    concentration1: jax.Array
    concentration0: jax.Array
    total_count: jax.Array

    def __init__(
        self,
        concentration1: Any,
        concentration0: Any,
        total_count: Any = 1,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(
            validate_args,
            concentration1=concentration1,
            concentration0=concentration0,
            total_count=total_count,
        )

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self.total_count)

    @property
    def _float(self) -> Any:
        return self.concentration1.dtype

    def _wide(self) -> tuple[Any, Any, Any]:
        a, b, n = self.concentration1, self.concentration0, self.total_count
        return wide(a, self._float), wide(b, self._float), wide(n, self._float)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_probs, key_count = jax.random.split(key)
        a, b, n = self._wide()
        shape = self.shape(sample_shape)
        probs = jax.nn.sigmoid(_log_odds_draw(key_probs, a, b, shape))
        return binomial_draw(key_count, n, probs, shape, self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = (value >= 0) & (value <= self.total_count)
        a, b, n = self._wide()
        k = jnp.where(inside, wide(value, self._float), 0.0)
        n = jnp.where(inside, n, 0.0)
        # Negative n: the extended beta-binomial.
        return jnp.where(inside, _log_mass(k, n - k, a, b), -jnp.inf).astype(self._float)

    @property
    def mean(self) -> Any:
        return self.total_count * (self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def variance(self) -> Any:
        total = self.concentration1 + self.concentration0
        return self.mean * (self.concentration0 / total) * ((total + self.total_count) / (total + 1))

    def entropy(self) -> Any:
        log_mass = self.log_prob(self.enumerate_support(expand=False))
        return -jnp.sum(jnp.exp(log_mass) * log_mass, axis=0)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(known_count(self) + 1, dtype=self.dtype), expand)


class ExtendedBetaBinomial(BetaBinomial):
    """A beta-binomial whose support is said to be all integers, so that log p = -inf is an answer for any of them.

    total_count may be any integer; where it is negative no value has mass, and there are no draws.
    """

    arg_constraints = parameters(
        concentration1=constraints.positive,
        concentration0=constraints.positive,
        total_count=constraints.integer,
    )

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer


class BetaNegativeBinomial(Distribution):
    """p(k) = C(n + k - 1, k) B(a + k, b + n) / B(a, b), k = 0, 1, …: negative binomial with probs ~ Beta(a, b).

    a = concentration1, b = concentration0 and n, all > 0, broadcast together. P(X > k) falls like k^-b.
    """

    arg_constraints = parameters(
        concentration1=constraints.positive, concentration0=constraints.positive, n=constraints.positive
    )
    support = constraints.nonnegative_integer
    concentration1: jax.Array
    concentration0: jax.Array
    n: jax.Array

    def __init__(
        self, concentration1: Any, concentration0: Any, n: Any, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, concentration1=concentration1, concentration0=concentration0, n=n)

    @property
    def _float(self) -> Any:
        return self.n.dtype

    def _wide(self) -> tuple[Any, Any, Any]:
        a, b, n = self.concentration1, self.concentration0, self.n
        return wide(a, self._float), wide(b, self._float), wide(n, self._float)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_odds, key_rate, key_count = jax.random.split(key, 3)
        a, b, n = self._wide()
        shape = self.shape(sample_shape)
        log_odds = _log_odds_draw(key_odds, a, b, shape)
        rate = jnp.exp(log_gamma_draw(key_rate, n, shape) + log_odds)
        return poisson_draw(key_count, rate, shape, self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = value >= 0
        a, b, n = self._wide()
        k = jnp.where(inside, wide(value, self._float), 0.0)
        log_mass = _log_mass(k, n, a, b) - jnp.log1p(k / n)
        return jnp.where(inside, log_mass, -jnp.inf).astype(self._float)

    @property
    def mean(self) -> Any:
        a, b, n = self.concentration1, self.concentration0, self.n
        return jnp.where(b > 1, n * a / jnp.where(b > 1, b - 1, 1.0), jnp.inf)

    @property
    def variance(self) -> Any:
        a, b, n = self.concentration1, self.concentration0, self.n
        finite = jnp.where(b > 2, b, 3.0)
        variance = self.mean * ((n + finite - 1) / (finite - 1)) * ((a + finite - 1) / (finite - 2))
        return jnp.where(b > 2, variance, jnp.inf)


def _log_mass(k: Any, others: Any, a: Any, b: Any) -> jax.Array:
    """log C(n, k) B(k + a, n - k + b) / B(a, b) with n - k = ``others``."""
    n, total = k + others, a + b
    # k total - n a = k b - others a.
    excess = products_apart(k, b, others, a)
    classes = log_polya_class(k, a, n, total, excess) + log_polya_class(others, b, n, total, -excess)
    return log_polya_total(n, total) + classes


def _log_odds_draw(key: jax.Array, a: Any, b: Any, shape: tuple[int, ...]) -> jax.Array:
    """log(p / (1 - p)) of p ~ Beta(a, b)."""
    key1, key0 = jax.random.split(key)
    return log_gamma_draw(key1, a, shape) - log_gamma_draw(key0, b, shape)
