"""The geometric distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import xlog1py
from svijax.transforms import constraints

from ._counts import as_integers, wide
from ._logits import TwoWay, take_one
from ._parameters import as_float, parameters


class Geometric(TwoWay):
    """p(k) = probs (1 - probs)^k, k = 0, 1, 2, …: failures before the first success.

    One of probs and logits is given, of shape (…).
    """

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.nonnegative_integer
    _fields = ("_probs", "_logits")

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one("Geometric", probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        log_failure = wide(self._log_probs()[1], self._float)
        waiting = jax.random.exponential(key, self.shape(sample_shape), log_failure.dtype)
        return as_integers(jnp.floor(waiting / -log_failure), self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = value >= 0
        k = jnp.where(inside, as_float(value, self._float), 0.0)
        log_success, log_failure = self._log_probs()
        failures = k * log_failure if self._probs is None else xlog1py(k, -self._probs)
        return jnp.where(inside, log_success + failures, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self._odds

    @property
    def variance(self) -> Any:
        return self._odds / self.probs

    @property
    def _odds(self) -> Any:
        """(1 - p) / p."""
        return jnp.exp(-self._logits) if self._probs is None else (1 - self._probs) / self._probs

    def log_survival_function(self, value: Any) -> Any:
        k = jnp.floor(as_float(value, self._float))
        trials = jnp.maximum(k + 1, 0.0)
        log_failure = self._log_probs()[1]
        return jnp.where(trials == 0, 0.0, trials * log_failure)

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def cdf(self, value: Any) -> Any:
        return -jnp.expm1(self.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self._float)
        k = jnp.maximum(jnp.ceil(jnp.log1p(-q) / self._log_probs()[1]) - 1, 0.0)
        # The quotient may be rounded up across an integer.
        k = jnp.where((k > 0) & (self.cdf(k - 1) >= q), k - 1, k)
        return as_integers(k, self.dtype)

    def entropy(self) -> Any:
        log_success, log_failure = self._log_probs()
        if self._probs is None:
            return -log_success - self._odds * log_failure
        return -log_success - xlog1py(1 - self._probs, -self._probs) / self._probs


class GeometricProbs(Geometric):
    """``Geometric(probs=probs)``."""

    arg_constraints = parameters(probs=constraints.unit_interval)
    _fields = ("_probs", "_logits")
    _kl_as = Geometric

    def __init__(self, probs: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(probs=probs, validate_args=validate_args)


class GeometricLogits(Geometric):
    """``Geometric(logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real)
    _fields = ("_probs", "_logits")
    _kl_as = Geometric

    def __init__(self, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)
