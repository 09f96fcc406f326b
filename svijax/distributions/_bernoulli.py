"""The Bernoulli distribution, by probability or by logit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import softplus, xlog1py, xlogy
from svijax.transforms import constraints

from ._distribution import Distribution
from ._logits import logits_of, probs_of, take_one
from ._parameters import parameters


class Bernoulli(Distribution):
    """p(1) = probs = 1 / (1 + exp(-logits)), p(0) = 1 - probs; one of the two is given, of shape (…).

    A value between 0 and 1 has the log density that is linear between the two. Values of an integer type keep
    the relative precision of far tails, those of a float type the absolute one.
    """

    arg_constraints = parameters(probs=constraints.unit_interval, logits=constraints.real)
    support = constraints.boolean
    _fields = ("_probs", "_logits")
    _enumerable = True
    _probs: Any  # one of the two is None
    _logits: Any

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one("Bernoulli", probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    @property
    def probs(self) -> Any:
        return probs_of(self._logits) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        return logits_of(self._probs) if self._logits is None else self._logits

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jax.random.bernoulli(key, self.probs, self.shape(sample_shape)).astype(self.dtype)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        if self._logits is None:
            value = value.astype(self._probs.dtype) if value.dtype == bool else value
            return xlogy(value, self._probs) + xlog1py(1 - value, -self._probs)
        logits = jnp.asarray(self._logits)
        if jnp.issubdtype(value.dtype, jnp.inexact):
            return value * logits - softplus(logits)
        # log p(1) = -softplus(-logits), log p(0) = -softplus(logits): no cancellation in the tails.
        return -softplus((1 - 2 * value.astype(logits.dtype)) * logits)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def variance(self) -> Any:
        probs = self.probs
        return probs * (1 - probs)

    def cdf(self, value: Any) -> Any:
        one = jnp.ones((), jnp.result_type(self.probs))
        return jnp.where(value < 0, 0 * one, jnp.where(value < 1, 1 - self.probs, one))

    def entropy(self) -> Any:
        if self._logits is None:
            p = self._probs
            return -xlogy(p, p) - xlog1py(1 - p, -p)
        # E softplus(∓logits), whose terms do not cancel.
        p = self.probs
        return p * softplus(-self._logits) + (1 - p) * softplus(self._logits)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(2, dtype=self.dtype), expand)
