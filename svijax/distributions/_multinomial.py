"""The multinomial distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ParameterError, factorial_excess, is_concrete, message
from svijax.transforms import Constraint, constraints

from ._counts import deviance_from, products_apart, wide
from ._logits import ManyWay, cumulative, take_one
from ._parameters import parameters

# Up to so many draws are made one by one, more by binomial draws of one class after the other.
_FEW = 128


class Multinomial(ManyWay):
    """p(k) = n! prod_i probs_i^k_i / k_i!: counts k (…, m) of n = total_count draws of m classes.

    total_count (…) broadcasts with probs or logits (…, m), of which exactly one is given.

    :param total_count_max: an upper bound of total_count, where that is traced; it makes draws of small counts cheap.
    """

    arg_constraints = parameters(
        total_count=constraints.nonnegative_integer, probs=constraints.simplex, logits=constraints.real_vector
    )
    _fields = ("total_count", "_probs", "_logits")
    _static = ("total_count_max", "_detached")
    _keep_dtype = ("total_count",)
    total_count: jax.Array
    total_count_max: int | None

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        *,
        total_count_max: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        take_one("Multinomial", probs=probs, logits=logits)
        self._assign(total_count_max=total_count_max)
        self._init(validate_args, total_count=total_count, _probs=probs, _logits=logits)
        if validate_args is not False:
            check_total_count_max(self, total_count_max)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self._size,)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.multinomial(self.total_count)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        shape = (*sample_shape, *self.batch_shape)
        return multinomial_draw(key, self, cumulative(self.probs), shape)

    def log_prob(self, value: Any) -> Any:
        p, beyond = self._normal_probs()
        inside = self.support(value) & jnp.all((p > 0) | (jnp.asarray(value) == 0), axis=-1)
        k = jnp.where(inside[..., None], wide(value, self._float), 0.0)
        # Counts that have no mass are exchanged for those of 0 draws.
        n = jnp.where(inside, wide(self.total_count, self._float), 0.0)
        each = n[..., None]
        # Probabilities whose sum is 1 but for rounding count as normalised.
        excess = products_apart(k, jnp.ones_like(p), each, p)
        classes = factorial_excess(k) + deviance_from(k, each * p, excess) - k * beyond
        log_mass = factorial_excess(n) - jnp.sum(classes, axis=-1)
        return jnp.where(inside, log_mass, -jnp.inf).astype(self._float)

    @property
    def mean(self) -> Any:
        return self.total_count[..., None] * self.probs

    @property
    def variance(self) -> Any:
        return self.mean * (1 - self.probs)


def check_total_count_max(dist: Any, bound: int | None) -> None:
    """Raise where the total counts can be read and are above their bound."""
    count = dist.total_count
    if bound is not None and is_concrete(count) and np.any(np.asarray(count) > bound):
        raise ParameterError(
            message(
                f"{type(dist).__name__}: total_count is above total_count_max.",
                expected=f"at most {bound}",
                got=int(np.max(np.asarray(count))),
                fix="pass a larger total_count_max, or none.",
            )
        )


def multinomial_draw(key: jax.Array, dist: Any, sums: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Counts of ``dist.total_count`` draws of classes whose cumulative probabilities are ``sums`` (…, m)."""
    count, most = dist.total_count, dist.total_count_max
    if most is None and is_concrete(count):
        most = int(np.max(np.asarray(count), initial=0))
    if most is not None and most <= _FEW:
        below = _counts_below(key, count, most, sums, shape)
    else:
        below = _counts_by_class(key, count, sums, shape)
    return below.astype(dist.dtype)


def _counts_below(
    key: jax.Array, count: Any, most: int, sums: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Classes are drawn by one uniform each, of which the first ``count`` are counted between the sums."""
    noise = jax.random.uniform(key, (most, *shape, 1), sums.dtype)
    counted = np.arange(most).reshape((most, *(1,) * len(shape))) < count
    upto = jnp.sum((noise < sums) & counted[..., None], axis=0, dtype=jnp.result_type(int))
    return jnp.diff(upto, axis=-1, prepend=0)


def _counts_by_class(key: jax.Array, count: Any, sums: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The count of each class is binomial in what those before it have left."""
    probs = jnp.diff(sums, axis=-1, prepend=0)
    count = wide(count, sums.dtype)
    return jax.random.multinomial(
        key, count, jnp.broadcast_to(probs, (*shape, probs.shape[-1])), dtype=sums.dtype
    )


class MultinomialProbs(Multinomial):
    """``Multinomial(total_count, probs=probs)``."""

    arg_constraints = parameters(probs=constraints.simplex, total_count=constraints.nonnegative_integer)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = Multinomial

    def __init__(
        self,
        probs: Any,
        total_count: Any = 1,
        *,
        total_count_max: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(
            total_count, probs=probs, total_count_max=total_count_max, validate_args=validate_args
        )


class MultinomialLogits(Multinomial):
    """``Multinomial(total_count, logits=logits)``."""

    arg_constraints = parameters(logits=constraints.real_vector, total_count=constraints.nonnegative_integer)
    _fields = ("total_count", "_probs", "_logits")
    _kl_as = Multinomial

    def __init__(
        self,
        logits: Any,
        total_count: Any = 1,
        *,
        total_count_max: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(
            total_count, logits=logits, total_count_max=total_count_max, validate_args=validate_args
        )
