"""Probabilities and logits: either is stored, both can be read."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, cast, log_sigmoid, message, open_unit

from ._distribution import Distribution
from ._parameters import traced_once

_MANY = 64
# Logarithms of probabilities by size of the dtype, some way above the smallest.
_LEAST_LOG = {4: -80.0, 8: -700.0}


def take_one(owner: str, **given: Any) -> None:
    """Raise unless exactly one of the alternatives is given."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ArgumentError(
            message(
                f"{owner} needs exactly one of {', '.join(given)}.",
                got=", ".join(names) or "none of them",
            )
        )


def probs_of(logits: Any) -> jax.Array:
    """1 / (1 + exp(-logits))."""
    return jax.nn.sigmoid(logits)


def logits_of(probs: Any) -> jax.Array:
    """log(p / (1 - p)); -inf and inf at 0 and 1."""
    return jnp.log(probs) - jnp.log1p(-probs)


class TwoWay(Distribution):
    """A family given by the probability of a success or by its log odds: one of the two is stored."""

    _fields: ClassVar[tuple[str, ...]] = ("_probs", "_logits")
    _probs: Any  # one of the two is None
    _logits: Any

    @property
    def probs(self) -> Any:
        """1 / (1 + exp(-logits)), or as given."""
        return probs_of(self._logits) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        """log(probs / (1 - probs)), or as given."""
        return logits_of(self._probs) if self._logits is None else self._logits

    @property
    def _failure_probs(self) -> Any:
        """1 - probs, whose digits are not lost where it is small and logits are given."""
        return jax.nn.sigmoid(-self._logits) if self._probs is None else 1 - self._probs

    def _log_probs(self) -> tuple[Any, Any]:
        """log p and log(1 - p)."""
        if self._probs is None:
            return log_sigmoid(self._logits), log_sigmoid(-self._logits)
        return jnp.log(self._probs), jnp.log1p(-self._probs)

    def _normal_probs(self) -> tuple[Any, Any, Any]:
        """p and 1 - p in single precision at least, and by how much the logits are beyond those of both.

        Logits so far out that one of the two would underflow are cut off.
        """
        dtype = jnp.promote_types(self._float, jnp.float32)
        if self._probs is None:
            logits = jnp.asarray(self._logits, dtype)
            end = _LEAST_LOG[dtype.itemsize]
            near = jnp.clip(logits, end, -end)
            return jax.nn.sigmoid(near), jax.nn.sigmoid(-near), logits - near
        p = jnp.asarray(self._probs, dtype)
        return p, 1 - p, jnp.zeros_like(p)

    def _finite_logits(self) -> Any:
        """The logits, finite for probabilities of 0 and 1 too."""
        if self._probs is None:
            return self._logits
        return logits_of(open_unit(jnp.asarray(self._probs)))

    @property
    def _float(self) -> Any:
        return (self._logits if self._probs is None else self._probs).dtype


class ManyWay(Distribution):
    """A family given by the probabilities of n classes, or by logits (…, n) that a softmax turns into them."""

    _fields: ClassVar[tuple[str, ...]] = ("_probs", "_logits")
    _probs: Any  # one of the two is None
    _logits: Any

    @property
    def _size(self) -> int:
        return int(np.shape(self._logits if self._probs is None else self._probs)[-1])

    @property
    def probs(self) -> Any:
        """softmax(logits), or as given."""
        return jax.nn.softmax(self._logits, axis=-1) if self._probs is None else self._probs

    @property
    def logits(self) -> Any:
        """The logits as given, or log(probs)."""
        return jnp.log(self._probs) if self._logits is None else self._logits

    def _log_probs(self) -> Any:
        """Normalised logarithms; -inf for a probability of 0."""
        if self._logits is None:
            return jnp.log(self._probs)
        return jax.nn.log_softmax(self._logits, axis=-1)

    def _normal_probs(self) -> tuple[Any, Any]:
        """The probabilities in single precision at least, and by how much their logarithms are below those.

        Logits so far down that the probability would underflow are cut off.
        """
        dtype = jnp.promote_types(self._float, jnp.float32)
        if self._logits is None:
            p = jnp.asarray(self._probs, dtype)
            return p, jnp.zeros_like(p)
        log_p = jax.nn.log_softmax(jnp.asarray(self._logits, dtype), axis=-1)
        near = jnp.maximum(log_p, _LEAST_LOG[dtype.itemsize])
        return jnp.exp(near), log_p - near

    def _finite_logits(self) -> Any:
        """The logits, finite for probabilities of 0 too."""
        if self._logits is not None:
            return self._logits
        return jnp.log(jnp.maximum(self._probs, jnp.finfo(self._float).tiny))

    @property
    def _float(self) -> Any:
        return (self._logits if self._probs is None else self._probs).dtype

    def _draw_classes(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Indices of classes, drawn by one uniform each; by one for each class where there are many."""
        dtype = jnp.promote_types(self._float, jnp.float32)
        if self._size > _MANY:
            # The steps of a uniform, and of the sums, would be seen in small probabilities.
            return jax.random.categorical(key, jnp.asarray(self.logits, dtype), shape=shape)
        return self._classes_at(jax.random.uniform(key, shape, dtype))

    @traced_once
    def _classes_at(self, noise: Any) -> jax.Array:
        """The classes at which uniforms on [0, 1) fall."""
        sums = cumulative(self.probs)[..., :-1]
        return jnp.sum(sums <= noise[..., None], axis=-1, dtype=jnp.result_type(int))


def cumulative(probs: Any) -> jax.Array:
    """Cumulative sums of at least single precision, of which the last is 1 and those after a last class too.

    A uniform u on [0, 1) falls to the class before which as many sums are <= u: never to one of probability 0.
    """
    probs = jnp.asarray(probs)
    sums = jnp.cumsum(cast(probs, jnp.promote_types(probs.dtype, jnp.float32)), axis=-1)
    return sums / sums[..., -1:]
