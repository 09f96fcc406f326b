"""The negative binomial distribution, under its four sets of parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import factorial_excess
from svijax.transforms import constraints

from ._counts import BetaTails, deviance_from, products_apart, wide
from ._gamma import log_gamma_draw
from ._logits import TwoWay, take_one
from ._parameters import parameters, traced_once
from ._poisson_draw import poisson_draw


class _PoissonMixture(BetaTails):
    """Counts whose rate has a gamma distribution of shape r: p(k) = Gamma(k + r) / (k! Gamma(r)) p^k q^r, q = 1 - p."""

    support = constraints.nonnegative_integer

    @property
    def _shape(self) -> Any:
        raise NotImplementedError

    @property
    def _odds(self) -> Any:
        """p / q."""
        raise NotImplementedError

    def _parts(self) -> tuple[Any, Any]:
        """p and q in single precision at least."""
        raise NotImplementedError

    def _excess(self, k: Any) -> Any:
        """k - (k + r) p = k q - r p without cancellation."""
        raise NotImplementedError

    @property
    def _beyond(self) -> Any:
        """What the logits of p and q leave out."""
        return 0.0

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_rate, key_count = jax.random.split(key)
        shape = self.shape(sample_shape)
        rate = jnp.exp(log_gamma_draw(key_rate, wide(self._shape, self._float), shape))
        return poisson_draw(key_count, rate * wide(self._odds, self._float), shape, self.dtype)

    @property
    def _float(self) -> Any:
        return self._shape.dtype

    @traced_once
    def log_prob(self, value: Any) -> Any:
        p, q = self._parts()
        # Counts that p = 0 excludes have no mass, and no derivative.
        inside = (value >= 0) & ((value == 0) | (p > 0))
        k, r = jnp.where(inside, wide(value, self._float), 0.0), wide(self._shape, self._float)
        total, excess = k + r, self._excess(k)
        joint = factorial_excess(total) - factorial_excess(k) - factorial_excess(r) - jnp.log1p(k / r)
        apart = deviance_from(k, total * p, excess) + deviance_from(r, total * q, -excess)
        beyond = k * jnp.minimum(self._beyond, 0.0) - r * jnp.maximum(self._beyond, 0.0)
        return jnp.where(inside, joint - apart + beyond, -jnp.inf).astype(self._float)

    @property
    def mean(self) -> Any:
        return self._shape * self._odds

    @property
    def variance(self) -> Any:
        return self._shape * self._odds * (1 + self._odds)

    def _beta_arguments(self, k: Any) -> tuple[Any, Any, Any, Any]:
        # P(X <= k) = I_q(r, k + 1).
        p, q = self._parts()
        return self._shape, k + 1, q, p


class GammaPoisson(_PoissonMixture):
    """p(k) = Gamma(k + c) / (k! Gamma(c)) rate^c / (1 + rate)^(k + c): Poisson counts of a rate from Gamma(c, rate).

    c = concentration > 0 and rate > 0 broadcast together.
    """

    arg_constraints = parameters(concentration=constraints.positive, rate=constraints.positive)
    concentration: jax.Array
    rate: jax.Array

    def __init__(self, concentration: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration, rate=rate)

    @property
    def _shape(self) -> Any:
        return self.concentration

    @property
    def _odds(self) -> Any:
        return 1 / self.rate

    def _parts(self) -> tuple[Any, Any]:
        rate = wide(self.rate, self._float)
        return 1 / (1 + rate), rate / (1 + rate)

    def _excess(self, k: Any) -> Any:
        rate, c = wide(self.rate, self._float), wide(self.concentration, self._float)
        return products_apart(k, rate, c, jnp.ones_like(c)) / (1 + rate)


class NegativeBinomial2(_PoissonMixture):
    """Counts of mean ``mean`` >= 0 and variance mean + mean^2 / concentration: GammaPoisson(c, c / mean)."""

    arg_constraints = parameters(mean=constraints.nonnegative, concentration=constraints.positive)
    _fields = ("_mean", "concentration")
    _mean: jax.Array
    concentration: jax.Array

    def __init__(self, mean: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, _mean=mean, concentration=concentration)

    @property
    def _shape(self) -> Any:
        return self.concentration

    @property
    def _odds(self) -> Any:
        return self._mean / self.concentration

    def _parts(self) -> tuple[Any, Any]:
        mean, c = wide(self._mean, self._float), wide(self.concentration, self._float)
        return mean / (mean + c), c / (mean + c)

    def _excess(self, k: Any) -> Any:
        return (k - wide(self._mean, self._float)) * self._parts()[1]

    @property
    def mean(self) -> Any:
        return self._mean


class NegativeBinomial(_PoissonMixture, TwoWay):
    """p(k) = C(k + r - 1, k) probs^k (1 - probs)^r: successes before the r-th failure, r = total_count > 0.

    total_count may be any positive number, and broadcasts with probs or logits, of which exactly one is given.
    """

    arg_constraints = parameters(
        total_count=constraints.positive, probs=constraints.unit_interval, logits=constraints.real
    )
    _fields = ("total_count", "_probs", "_logits")
    total_count: jax.Array

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        take_one("NegativeBinomial", probs=probs, logits=logits)
        self._init(validate_args, total_count=total_count, _probs=probs, _logits=logits)

    @property
    def _shape(self) -> Any:
        return self.total_count

    @property
    def _odds(self) -> Any:
        return self._probs / self._failure_probs if self._logits is None else jnp.exp(self._logits)

    def _parts(self) -> tuple[Any, Any]:
        return self._normal_probs()[:2]

    @property
    def _beyond(self) -> Any:
        return self._normal_probs()[2]

    def _excess(self, k: Any) -> Any:
        r, (p, q) = wide(self.total_count, self._float), self._parts()
        excess = products_apart(k, q, r, p)
        # q is rounded from 1 - p, but the difference is not.
        return excess if self._probs is None else excess + k * ((1 - q) - p)


class NegativeBinomialProbs(NegativeBinomial):
    """``NegativeBinomial(total_count, probs=probs)``."""

    arg_constraints = parameters(total_count=constraints.positive, probs=constraints.unit_interval)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = NegativeBinomial

    def __init__(self, total_count: Any, probs: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(total_count, probs=probs, validate_args=validate_args)


class NegativeBinomialLogits(NegativeBinomial):
    """``NegativeBinomial(total_count, logits=logits)``."""

    arg_constraints = parameters(total_count=constraints.positive, logits=constraints.real)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = NegativeBinomial

    def __init__(self, total_count: Any, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(total_count, logits=logits, validate_args=validate_args)
