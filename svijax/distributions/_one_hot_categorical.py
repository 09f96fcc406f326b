"""The categorical distribution with one-hot vectors for values."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, broadcast, xlogy
from svijax.transforms import constraints

from ._logits import ManyWay, take_one
from ._parameters import parameters


class OneHotCategorical(ManyWay):
    """p(x) = probs_k, or proportional to exp(logits_k), for the unit vector x along axis k of n; (…, n) is given."""

    arg_constraints = parameters(probs=constraints.simplex, logits=constraints.real_vector)
    support = constraints.one_hot
    _fields: ClassVar[tuple[str, ...]] = ("_probs", "_logits")
    _enumerable = True

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None) -> None:
        take_one(type(self).__name__, probs=probs, logits=logits)
        self._init(validate_args, _probs=probs, _logits=logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self._size,)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        classes = self._draw_classes(key, (*sample_shape, *self.batch_shape))
        return jax.nn.one_hot(classes, self._size, dtype=self.dtype)

    def log_prob(self, value: Any) -> Any:
        inside = self.support(value)
        # Linear in the value, so that a straight-through draw carries its derivatives on.
        x = jnp.asarray(jnp.where(inside[..., None], value, 0), self._float)
        if self._logits is None:
            # A class of probability 0 has no mass, and no derivative.
            possible = jnp.asarray(self._probs) > 0
            log_probs = jnp.log(jnp.where(possible, self._probs, 1.0))
            inside = inside & jnp.all(possible | (x == 0), axis=-1)
        else:
            log_probs = self._log_probs()
        return jnp.where(inside, jnp.sum(x * log_probs, axis=-1), -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def entropy(self) -> Any:
        probs = self.probs
        if self._logits is None:
            return -jnp.sum(xlogy(probs, probs), axis=-1)
        return -jnp.sum(probs * self._log_probs(), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        batch, size = self.batch_shape, self._size
        values = np.eye(size, dtype=self.dtype).reshape((size, *(1,) * len(batch), size))
        return broadcast(values, (size, *batch, size)) if expand else values


class OneHotCategoricalProbs(OneHotCategorical):
    """``OneHotCategorical(probs=probs)``."""

    arg_constraints = parameters(probs=constraints.simplex)
    _fields = ("_probs", "_logits")
    _kl_as = OneHotCategorical

    def __init__(self, probs: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(probs=probs, validate_args=validate_args)


class OneHotCategoricalLogits(OneHotCategorical):
    """``OneHotCategorical(logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real_vector)
    _fields = ("_probs", "_logits")
    _kl_as = OneHotCategorical

    def __init__(self, logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot draws in floats that take the derivatives of probs, as if the draw were its mean.

    ``has_rsample`` is True, and the derivatives of expectations are biased by design: right for functions that are
    linear in the draw only. Bengio, Léonard and Courville (2013), section 4.
    """

    _kl_as = OneHotCategorical

    @property
    def dtype(self) -> Any:
        return self._float

    def _has_pathwise(self) -> bool:
        return True

    def _noise_spec(self) -> NoiseSpec:
        # One uniform for each draw, though the draw is a vector.
        return NoiseSpec("uniform", self.batch_shape, self._float)

    def from_noise(self, noise: Any) -> Any:
        return straight_through(
            jax.nn.one_hot(self._classes_at(noise), self._size, dtype=self._float), self.probs
        )


def straight_through(hard: Any, soft: Any) -> jax.Array:
    """``hard`` with the derivatives of ``soft``."""
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))
