"""The categorical distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import xlogy
from svijax.transforms import Constraint, constraints

from ._logits import ManyWay, take_one
from ._parameters import parameters, traced_once


class Categorical(ManyWay):
    """p(k) = probs_k, or proportional to exp(logits_k), k = 0, …, n - 1.

    Exactly one of probs and logits is given, of shape (…, n).
    """

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)
    _fields = ("_probs", "_logits")
    _enumerable = True

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one("Categorical", probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(0, self._size - 1)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self._draw_classes(key, self.shape(sample_shape))

    @traced_once
    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        index = value.astype(jnp.result_type(int))
        inside = (index >= 0) & (index < self._size) & (index == value)
        index = jnp.where(inside, index, 0)
        if self._logits is None:
            # Entry first and logarithm then: a probability of 0 elsewhere has no part in the derivative.
            probs = pick(jnp.asarray(self._probs), index)
            inside = inside & (probs > 0)
            return jnp.where(inside, jnp.log(jnp.where(inside, probs, 1.0)), -jnp.inf)
        return jnp.where(inside, pick(self._log_probs(), index), -jnp.inf)

    @property
    def mean(self) -> Any:
        return (self.probs * np.arange(self._size)).sum(axis=-1)

    @property
    def variance(self) -> Any:
        gap = np.arange(self._size) - self.mean[..., None]
        return (self.probs * gap**2).sum(axis=-1)

    def cdf(self, value: Any) -> Any:
        return self._mass_of(np.arange(self._size) <= jnp.asarray(value)[..., None])

    def survival_function(self, value: Any) -> Any:
        return self._mass_of(np.arange(self._size) > jnp.asarray(value)[..., None])

    def _mass_of(self, classes: Any) -> Any:
        """The probability of the classes at which a mask is true."""
        return jnp.sum(jnp.where(classes, self.probs, 0.0), axis=-1)

    def entropy(self) -> Any:
        probs = self.probs
        if self._logits is None:
            return -jnp.sum(xlogy(probs, probs), axis=-1)
        return -jnp.sum(probs * self._log_probs(), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self._enumerated(np.arange(self._size, dtype=self.dtype), expand)


def pick(table: jax.Array, index: jax.Array) -> jax.Array:
    """The entries of the last axis at ``index``, which broadcasts against the other axes."""
    if table.ndim == 1:
        return table[index]
    batch = np.broadcast_shapes(index.shape, table.shape[:-1])
    table = jnp.broadcast_to(table, (*batch, table.shape[-1]))
    return jnp.take_along_axis(table, jnp.broadcast_to(index, batch)[..., None], axis=-1)[..., 0]


class CategoricalProbs(Categorical):
    """``Categorical(probs=probs)``."""

    arg_constraints = parameters(probs=constraints.simplex)
    _fields = ("_probs", "_logits")
    _kl_as = Categorical

    def __init__(self, probs: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(probs=probs, validate_args=validate_args)


class CategoricalLogits(Categorical):
    """``Categorical(logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real_vector)
    _fields = ("_probs", "_logits")
    _kl_as = Categorical

    def __init__(self, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)
