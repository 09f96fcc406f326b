"""The categorical distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import xlogy
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._logits import take_one
from ._parameters import parameters


class Categorical(Distribution):
    """p(k) = probs_k, or proportional to exp(logits_k), k = 0, …, n - 1.

    Exactly one of probs and logits is given, of shape (…, n).
    """

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)
    _fields = ("_probs", "_logits")
    _enumerable = True
    _probs: Any  # one of the two is None
    _logits: Any

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one("Categorical", probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    @property
    def _size(self) -> int:
        return int(np.shape(self._logits if self._probs is None else self._probs)[-1])

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self._size - 1)

    @property
    def probs(self) -> Any:
        return jax.nn.softmax(self._logits, axis=-1) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        """The logits as given, or log(probs)."""
        return jnp.log(self._probs) if self._logits is None else self._logits

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jax.random.categorical(key, self.logits, shape=self.shape(sample_shape)).astype(self.dtype)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        index = value.astype(jnp.result_type(int))
        inside = (index >= 0) & (index < self._size) & (index == value)
        index = jnp.where(inside, index, 0)
        if self._logits is None:
            # Entry first and logarithm then: a probability of 0 elsewhere has no part in the derivative.
            return jnp.where(inside, jnp.log(_pick(jnp.asarray(self._probs), index)), -jnp.inf)
        return jnp.where(inside, _pick(jax.nn.log_softmax(self._logits, axis=-1), index), -jnp.inf)

    @property
    def mean(self) -> Any:
        return (self.probs * np.arange(self._size)).sum(axis=-1)

    @property
    def variance(self) -> Any:
        gap = np.arange(self._size) - self.mean[..., None]
        return (self.probs * gap**2).sum(axis=-1)

    def entropy(self) -> Any:
        probs = self.probs
        if self._logits is None:
            return -jnp.sum(xlogy(probs, probs), axis=-1)
        return -jnp.sum(probs * jax.nn.log_softmax(self._logits, axis=-1), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(self._size, dtype=self.dtype), expand)


def _pick(table: jax.Array, index: jax.Array) -> jax.Array:
    """The entries of the last axis at ``index``, which broadcasts against the other axes."""
    if table.ndim == 1:
        return table[index]
    batch = np.broadcast_shapes(index.shape, table.shape[:-1])
    table = jnp.broadcast_to(table, (*batch, table.shape[-1]))
    return jnp.take_along_axis(table, jnp.broadcast_to(index, batch)[..., None], axis=-1)[..., 0]
