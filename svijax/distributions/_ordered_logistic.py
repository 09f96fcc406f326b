"""Ordered classes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import log_sigmoid
from svijax.transforms import Constraint, constraints

from ._categorical import pick
from ._distribution import Distribution
from ._parameters import parameters


class OrderedLogistic(Distribution):
    """P(X <= k) = 1 / (1 + exp(predictor - cutpoints_k)), k = 0, …, n - 1: the proportional-odds model.

    predictor (…) is the location of a logistic variable that the increasing cutpoints (…, n - 1) cut into n classes.
    """

    arg_constraints = parameters(predictor=constraints.real, cutpoints=constraints.ordered_vector)
    _enumerable = True
    predictor: jax.Array
    cutpoints: jax.Array

    def __init__(self, predictor: Any, cutpoints: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, predictor=predictor, cutpoints=cutpoints)

    @property
    def _size(self) -> int:
        return int(np.shape(self.cutpoints)[-1]) + 1

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self._size - 1)

    @property
    def _gaps(self) -> Any:
        return self.cutpoints - self.predictor[..., None]

    @property
    def _log_probs(self) -> Any:
        gaps = self._gaps
        upper, lower = gaps[..., 1:], gaps[..., :-1]
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): nothing cancels.
        inner = log_sigmoid(upper) + log_sigmoid(-lower) + jnp.log(-jnp.expm1(lower - upper))
        return jnp.concatenate([log_sigmoid(gaps[..., :1]), inner, log_sigmoid(-gaps[..., -1:])], axis=-1)

    @property
    def probs(self) -> Any:
        """The probabilities of the classes, (…, n)."""
        return jnp.exp(self._log_probs)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        noise = jax.random.logistic(key, self.shape(sample_shape), self.predictor.dtype)
        return jnp.sum(self._gaps < noise[..., None], axis=-1, dtype=self.dtype)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        inside = self.support(value)
        index = jnp.where(inside, value, jnp.zeros((), value.dtype)).astype(jnp.result_type(int))
        return jnp.where(inside, pick(self._log_probs, index), -jnp.inf)

    @property
    def mean(self) -> Any:
        return jnp.sum(jax.nn.sigmoid(-self._gaps), axis=-1)

    @property
    def variance(self) -> Any:
        steps = np.arange(self._size) - self.mean[..., None]
        return jnp.sum(self.probs * steps**2, axis=-1)

    def cdf(self, value: Any) -> Any:
        return self._between(value, 0.0, jax.nn.sigmoid(self._gaps), 1.0)

    def survival_function(self, value: Any) -> Any:
        return self._between(value, 1.0, jax.nn.sigmoid(-self._gaps), 0.0)

    def _between(self, value: Any, before: float, table: Any, after: float) -> Any:
        last = self._size - 1
        index = jnp.clip(jnp.floor(jnp.asarray(value)), 0, last - 1).astype(jnp.result_type(int))
        return jnp.where(value < 0, before, jnp.where(value >= last, after, pick(table, index)))

    def entropy(self) -> Any:
        log_probs = self._log_probs
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(self._size, dtype=self.dtype), expand)
