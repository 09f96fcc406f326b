"""Relaxations of Bernoulli and one-hot draws to the inside of the interval and of the simplex, and hard draws with
the derivatives of relaxed ones. Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import NoiseSpec, array_module, open_unit, softplus
from svijax.transforms import constraints

from ._bernoulli import Bernoulli
from ._distribution import Distribution
from ._logits import ManyWay, TwoWay, take_one
from ._one_hot_categorical import OneHotCategorical, straight_through
from ._parameters import parameters

_BY_PROBS_OR_LOGITS = parameters(
    temperature=constraints.positive, probs=constraints.unit_interval, logits=constraints.real
)
_BY_CLASS_PROBS_OR_LOGITS = parameters(
    temperature=constraints.positive, probs=constraints.simplex, logits=constraints.real_vector
)
_FIELDS = ("temperature", "_probs", "_logits")


def _logit(x: Any) -> Any:
    return jnp.log(x) - jnp.log1p(-x)


def _gumbel(noise: Any) -> Any:
    """A standard Gumbel draw from a uniform on [tiny, 1): minus the logarithm of an exponential draw."""
    return -jnp.log(-jnp.log1p(-noise))


class RelaxedBernoulli(TwoWay):
    """y = 1 / (1 + exp(-(logits + L) / temperature)), L standard logistic; temperature -> 0 leaves a Bernoulli draw.

    p(y) = t e^l w^(t-1) / ((e^l + w^t)^2 (1 - y)^2), w = y / (1 - y). Values are kept one rounding inside of (0, 1),
    where the density is finite. One of probs and logits is given.
    """

    arg_constraints = _BY_PROBS_OR_LOGITS
    support = constraints.unit_interval
    _fields = _FIELDS
    _noise_kind = "uniform"
    temperature: jax.Array

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None
    ) -> None:
        take_one("RelaxedBernoulli", probs=probs, logits=logits)
        self._init(validate_args, temperature=temperature, _probs=probs, _logits=logits)

    def from_noise(self, noise: Any) -> Any:
        return open_unit(jax.nn.sigmoid((self._finite_logits() + _logit(noise)) / self.temperature))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        y = (self._finite_logits() + _logit(noise)) / self.temperature
        log_prob = jnp.log(self.temperature) + jnp.log(noise) + jnp.log1p(-noise) + softplus(y) + softplus(-y)
        return open_unit(jax.nn.sigmoid(y)), log_prob

    def log_prob(self, value: Any) -> Any:
        inside = (value >= 0) & (value <= 1)
        x = open_unit(jnp.where(inside, value, jnp.full((), 0.5, self.dtype)))
        log_x, log_rest = jnp.log(x), jnp.log1p(-x)
        z = self.temperature * (log_x - log_rest) - self._finite_logits()
        log_prob = jnp.log(self.temperature) - softplus(z) - softplus(-z) - log_x - log_rest
        return jnp.where(inside, log_prob, -jnp.inf)

    def cdf(self, value: Any) -> Any:
        return jax.nn.sigmoid(self._standard(value))

    def survival_function(self, value: Any) -> Any:
        return jax.nn.sigmoid(-self._standard(value))

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return -softplus(-self._standard(value))

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return -softplus(self._standard(value))

    def _standard(self, value: Any) -> Any:
        """The value on the scale of the logistic draw behind it."""
        x = jnp.clip(value, 0.0, 1.0)
        return self.temperature * _logit(x) - self._finite_logits()

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return jax.nn.sigmoid((self._finite_logits() + _logit(q)) / self.temperature)


class RelaxedBernoulliLogits(RelaxedBernoulli):
    """``RelaxedBernoulli(temperature, logits=logits)``."""

    arg_constraints = parameters(temperature=constraints.positive, logits=constraints.real)
    _fields = _FIELDS
    _kl_as = RelaxedBernoulli

    def __init__(self, temperature: Any, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(temperature, logits=logits, validate_args=validate_args)


class RelaxedOneHotCategorical(ManyWay):
    """y = softmax((logits + G) / temperature), G independent Gumbel draws; one of probs and logits (…, n) is given.

    p(y) = (n-1)! t^(n-1) prod_i (pi_i y_i^(-t-1)) / (sum_i pi_i y_i^(-t))^n on the simplex. Entries are kept above 0,
    where the density is finite. temperature (…) -> 0 leaves a one-hot draw.
    """

    arg_constraints = _BY_CLASS_PROBS_OR_LOGITS
    support = constraints.simplex
    _fields = _FIELDS
    _noise_kind = "uniform"
    temperature: jax.Array

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None
    ) -> None:
        take_one("RelaxedOneHotCategorical", probs=probs, logits=logits)
        self._init(validate_args, temperature=temperature, _probs=probs, _logits=logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self._size,)

    def _log_draw(self, noise: Any) -> Any:
        return jax.nn.log_softmax(
            (self._finite_logits() + _gumbel(noise)) / self.temperature[..., None], axis=-1
        )

    def from_noise(self, noise: Any) -> Any:
        return jnp.maximum(jnp.exp(self._log_draw(noise)), jnp.finfo(self.dtype).tiny)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        log_y = self._log_draw(noise)
        return jnp.maximum(jnp.exp(log_y), jnp.finfo(self.dtype).tiny), self._log_density(log_y)

    def log_prob(self, value: Any) -> Any:
        inside = array_module(value).all(value >= 0, axis=-1)
        x = jnp.where(inside[..., None], value, jnp.ones((), self.dtype))
        log_density = self._log_density(jnp.log(jnp.maximum(x, jnp.finfo(self.dtype).tiny)))
        return jnp.where(inside, log_density, -jnp.inf)

    def _log_density(self, log_y: Any) -> Any:
        n = self._size
        scores = self._finite_logits() - self.temperature[..., None] * log_y
        # sum(scores) - n logsumexp(scores), whose terms do not cancel.
        joint = jnp.sum(jax.nn.log_softmax(scores, axis=-1) - log_y, axis=-1)
        return math.lgamma(n) + (n - 1) * jnp.log(self.temperature) + joint


class _StraightThrough(Distribution):
    """Discrete draws in floats, with pathwise derivatives: the noise is that of the relaxed draw behind them."""

    temperature: jax.Array

    @property
    def dtype(self) -> Any:
        return self.temperature.dtype

    def _has_pathwise(self) -> bool:
        return True

    def _noise_spec(self) -> NoiseSpec:
        return NoiseSpec("uniform", self.shape(), self.dtype)


class RelaxedBernoulliStraightThrough(_StraightThrough, Bernoulli):
    """Draws of 0.0 and 1.0 that take the derivatives of the relaxed draw of which they are the rounding.

    ``has_rsample`` is True, and the derivatives of expectations are biased by design. The law is that of
    Bernoulli(probs) at any temperature, and ``log_prob`` its log mass: the relaxed value behind a draw, whose density
    Pyro gives, is not kept.
    """

    arg_constraints = _BY_PROBS_OR_LOGITS
    _fields = _FIELDS
    _kl_as = Bernoulli

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None
    ) -> None:
        take_one("RelaxedBernoulliStraightThrough", probs=probs, logits=logits)
        self._init(validate_args, temperature=temperature, _probs=probs, _logits=logits)

    def from_noise(self, noise: Any) -> Any:
        z = (self._finite_logits() + _logit(noise)) / self.temperature
        return straight_through((z > 0).astype(self.dtype), jax.nn.sigmoid(z))


class RelaxedOneHotCategoricalStraightThrough(_StraightThrough, OneHotCategorical):
    """One-hot draws in floats that take the derivatives of the relaxed draw whose largest entry they mark.

    ``has_rsample`` is True, and the derivatives of expectations are biased by design. The law is that of
    OneHotCategorical(probs) at any temperature, and ``log_prob`` its log mass: the relaxed value behind a draw, whose
    density Pyro gives, is not kept.
    """

    arg_constraints = _BY_CLASS_PROBS_OR_LOGITS
    _fields = _FIELDS
    _kl_as = OneHotCategorical

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None
    ) -> None:
        take_one("RelaxedOneHotCategoricalStraightThrough", probs=probs, logits=logits)
        self._init(validate_args, temperature=temperature, _probs=probs, _logits=logits)

    def from_noise(self, noise: Any) -> Any:
        z = (self._finite_logits() + _gumbel(noise)) / self.temperature[..., None]
        hard = jax.nn.one_hot(jnp.argmax(z, axis=-1), self._size, dtype=self.dtype)
        return straight_through(hard, jax.nn.softmax(z, axis=-1))
