"""The Bernoulli distribution, by probability or by logit."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import softplus, xlog1py, xlogy
from svijax.transforms import constraints

from ._logits import TwoWay, take_one
from ._parameters import parameters, traced_once


class Bernoulli(TwoWay):
    """p(1) = probs = 1 / (1 + exp(-logits)), p(0) = 1 - probs; one of the two is given, of shape (…).

    A value between 0 and 1 has the log density that is linear between the two. Values of an integer type keep
    the relative precision of far tails, those of a float type the absolute one.
    """

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.boolean
    _fields: ClassVar[tuple[str, ...]] = ("_probs", "_logits")
    _enumerable = True

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one("Bernoulli", probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jax.random.bernoulli(key, self.probs, self.shape(sample_shape)).astype(self.dtype)

    @traced_once
    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        inside = (value >= 0) & (value <= 1)
        if self._logits is not None:
            return jnp.where(inside, self._by_logits(value, jnp.asarray(self._logits)), -jnp.inf)
        # Where the value has no mass, neither has the derivative.
        inside = inside & ((value <= 0) | (self._probs > 0)) & ((value >= 1) | (self._probs < 1))
        value = jnp.where(inside, value, jnp.zeros((), value.dtype))
        value = value.astype(self._probs.dtype) if value.dtype == bool else value
        probs = jnp.where(inside, self._probs, 0.5)
        return jnp.where(inside, xlogy(value, probs) + xlog1py(1 - value, -probs), -jnp.inf)

    @staticmethod
    def _by_logits(value: jax.Array, logits: jax.Array) -> jax.Array:
        if jnp.issubdtype(value.dtype, jnp.inexact):
            return value * logits - softplus(logits)
        # log p(1) = -softplus(-logits), log p(0) = -softplus(logits): no cancellation in the tails.
        return -softplus((1 - 2 * value.astype(logits.dtype)) * logits)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def variance(self) -> Any:
        return self.probs * self._failure_probs

    def cdf(self, value: Any) -> Any:
        return self._below(value, 0.0, self._failure_probs, 1.0)

    def survival_function(self, value: Any) -> Any:
        return self._below(value, 1.0, self.probs, 0.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._below(value, 0.0, self._log_probs()[0], -jnp.inf)

    def _below(self, value: Any, before: float, between: Any, after: float) -> Any:
        """A step function of the value: ``before`` 0, ``between`` 0 and 1, and ``after`` 1."""
        return jnp.where(value < 0, before, jnp.where(value < 1, between, after))

    def entropy(self) -> Any:
        if self._logits is None:
            p = self._probs
            return -xlogy(p, p) - xlog1py(1 - p, -p)
        # E softplus(∓logits), whose terms do not cancel.
        return self.probs * softplus(-self._logits) + self._failure_probs * softplus(self._logits)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(2, dtype=self.dtype), expand)


class BernoulliProbs(Bernoulli):
    """``Bernoulli(probs=probs)``."""

    arg_constraints = parameters(probs=constraints.unit_interval)
    _fields = ("_probs", "_logits")
    _kl_as = Bernoulli

    def __init__(self, probs: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(probs=probs, validate_args=validate_args)


class BernoulliLogits(Bernoulli):
    """``Bernoulli(logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real)
    _fields = ("_probs", "_logits")
    _kl_as = Bernoulli

    def __init__(self, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)
