"""The binomial distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import is_concrete
from svijax.transforms import Constraint, constraints

from ._counts import BetaTails, log_binomial, products_apart, wide
from ._distribution import Distribution
from ._logits import TwoWay, take_one
from ._parameters import as_float, parameters, traced_once


class Binomial(TwoWay, BetaTails):
    """p(k) = C(n, k) probs^k (1 - probs)^(n - k), k = 0, …, n = total_count.

    total_count broadcasts with probs or logits, of which exactly one is given. ``entropy`` is a sum over all values.
    """

    arg_constraints = parameters(
        total_count=constraints.nonnegative_integer, probs=constraints.unit_interval, logits=constraints.real
    )
    _fields = ("total_count", "_probs", "_logits")
    _keep_dtype = ("total_count",)
    _enumerable = True
    total_count: jax.Array

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        take_one(type(self).__name__, probs=probs, logits=logits)
        self._init(validate_args, total_count=total_count, _probs=probs, _logits=logits)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self.total_count)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        probs = wide(self.probs, self._float)
        count = wide(self.total_count, probs.dtype)
        return binomial_draw(key, count, probs, self.shape(sample_shape), self.dtype)

    @traced_once
    def log_prob(self, value: Any) -> Any:
        p, q, beyond = self._normal_probs()
        inside = (value >= 0) & (value <= self.total_count)
        # Counts that p = 0 or p = 1 excludes have no mass, and no derivative.
        inside = inside & ((value == 0) | (p > 0)) & ((value == self.total_count) | (q > 0))
        k = jnp.where(inside, wide(value, self._float), 0.0)
        others = jnp.where(inside, wide(self.total_count, self._float) - k, 0.0)
        n = k + others
        # k - n p, from the smaller of the two probabilities: the other may be rounded.
        low = p <= q
        excess = products_apart(jnp.where(low, k, others), jnp.ones_like(p), n, jnp.where(low, p, q))
        excess = jnp.where(low, excess, -excess)
        log_mass = log_binomial(k, others, p, q, excess)
        log_mass += k * jnp.minimum(beyond, 0.0) - others * jnp.maximum(beyond, 0.0)
        return jnp.where(inside, log_mass, -jnp.inf).astype(self._float)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * self._failure_probs

    @property
    def _last(self) -> Any:
        return as_float(self.total_count, self._float)

    def _beta_arguments(self, k: Any) -> tuple[Any, Any, Any, Any]:
        # P(X <= k) = I_(1 - p)(n - k, k + 1).
        return jnp.maximum(self._last, k + 1) - k, k + 1, self._failure_probs, self.probs

    def entropy(self) -> Any:
        log_mass = self.log_prob(self.enumerate_support(expand=False))
        return -jnp.sum(jnp.exp(log_mass) * jnp.maximum(log_mass, jnp.finfo(log_mass.dtype).min), axis=0)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(known_count(self) + 1, dtype=self.dtype), expand)


def binomial_draw(key: jax.Array, count: Any, probs: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Binomial draws in an integer dtype."""
    return jax.random.binomial(key, count, probs, shape, jnp.result_type(probs)).astype(dtype)


def known_count(dist: Distribution) -> int:
    """The total count, if it can be read and is the same for all elements of the batch."""
    count: Any = dist.total_count  # type: ignore[attr-defined]
    if not is_concrete(count) or np.unique(np.asarray(count)).size != 1:
        dist._lacks(
            "an enumerable support unless total_count is one number known when the program is traced",
            "pass total_count as a Python integer",
        )
    return int(np.asarray(count).flat[0])


class BinomialProbs(Binomial):
    """``Binomial(total_count, probs=probs)``."""

    arg_constraints = parameters(probs=constraints.unit_interval, total_count=constraints.nonnegative_integer)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = Binomial

    def __init__(self, probs: Any, total_count: Any = 1, *, validate_args: bool | None = None) -> None:
        super().__init__(total_count, probs=probs, validate_args=validate_args)


class BinomialLogits(Binomial):
    """``Binomial(total_count, logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real, total_count=constraints.nonnegative_integer)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = Binomial

    def __init__(self, logits: Any, total_count: Any = 1, *, validate_args: bool | None = None) -> None:
        super().__init__(total_count, logits=logits, validate_args=validate_args)


class ExtendedBinomial(Binomial):
    """A binomial whose support is said to be all integers, so that log p = -inf is an answer for any of them.

    total_count may be any integer; where it is negative no value has mass, and there are no draws.
    """

    arg_constraints = parameters(
        total_count=constraints.integer, probs=constraints.unit_interval, logits=constraints.real
    )
    _fields = ("total_count", "_probs", "_logits")

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer
