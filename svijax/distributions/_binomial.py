"""The binomial distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc

from svijax.base import is_concrete, log_beta, softplus, xlog1py, xlogy
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._logits import logits_of, probs_of, take_one
from ._parameters import as_float, parameters


class Binomial(Distribution):
    """p(k) = C(n, k) probs^k (1 - probs)^(n - k), k = 0, …, n = total_count.

    total_count broadcasts with probs or logits, of which exactly one is given.
    """

    arg_constraints = parameters(
        total_count=constraints.nonnegative_integer, probs=constraints.unit_interval, logits=constraints.real
    )
    _fields = ("total_count", "_probs", "_logits")
    _keep_dtype = ("total_count",)
    _enumerable = True
    total_count: jax.Array
    _probs: Any  # one of the two is None
    _logits: Any

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        take_one("Binomial", probs=probs, logits=logits)
        self._init(validate_args, total_count=total_count, _probs=probs, _logits=logits)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self.total_count)

    @property
    def probs(self) -> Any:
        return probs_of(self._logits) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        return logits_of(self._probs) if self._logits is None else self._logits

    @property
    def _float(self) -> Any:
        return (self._logits if self._probs is None else self._probs).dtype

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        wide = jnp.promote_types(self._float, jnp.float32)
        count, probs = jnp.asarray(self.total_count, wide), jnp.asarray(self.probs, wide)
        draws = jax.random.binomial(key, count, probs, self.shape(sample_shape), wide)
        return draws.astype(self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = (value >= 0) & (value <= self.total_count)
        n = as_float(self.total_count, self._float)
        k = jnp.where(inside, as_float(value, self._float), 0.0)
        log_choose = -jnp.log1p(n) - log_beta(n - k + 1, k + 1)
        if self._logits is None:
            log_powers = xlogy(k, self._probs) + xlog1py(n - k, -self._probs)
        else:
            logits = self._logits
            log_powers = -k * softplus(-logits) - (n - k) * softplus(logits)
        return jnp.where(inside, log_choose + log_powers, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def variance(self) -> Any:
        probs = self.probs
        return self.total_count * probs * (1 - probs)

    def cdf(self, value: Any) -> Any:
        # P(X <= k) = I_(1 - p)(n - k, k + 1).
        n = as_float(self.total_count, self._float)
        k = jnp.floor(as_float(value, self._float))
        inner = jnp.clip(k, 0.0, jnp.maximum(n - 1, 0.0))
        below = betainc(jnp.maximum(n - inner, 1.0), inner + 1, 1 - self.probs)
        return jnp.where(k < 0, 0.0, jnp.where(k >= n, 1.0, below))

    def enumerate_support(self, expand: bool = True) -> Any:
        if not is_concrete(self.total_count) or np.unique(np.asarray(self.total_count)).size != 1:
            self._lacks(
                "an enumerable support unless total_count is one number known when the program is traced",
                "pass total_count as a Python integer",
            )
        count = int(np.asarray(self.total_count).flat[0])
        return self._enumerated(np.arange(count + 1, dtype=self.dtype), expand)
