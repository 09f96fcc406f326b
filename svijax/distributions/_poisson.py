"""The Poisson distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    deviance,
    factorial_excess,
    gammainc,
    gammaincc,
    is_concrete,
    log_gammainc,
    log_gammaincc,
)
from svijax.transforms import constraints

from ._counts import CountTails, wide
from ._parameters import parameters
from ._poisson_draw import poisson_draw


class Poisson(CountTails):
    """p(k) = rate^k exp(-rate) / k!, k = 0, 1, 2, …; rate >= 0.

    Between the integers the log mass is that of k! = Gamma(k + 1). With ``is_sparse`` counts that can be read (numpy,
    or outside of jit) cost work for those above 0 only.
    """

    arg_constraints = parameters(rate=constraints.nonnegative)
    support = constraints.nonnegative_integer
    _static = ("is_sparse", "_detached")
    rate: jax.Array
    is_sparse: bool

    def __init__(self, rate: Any, *, is_sparse: bool = False, validate_args: bool | None = None) -> None:
        self._assign(is_sparse=bool(is_sparse))
        self._init(validate_args, rate=rate)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return poisson_draw(key, self.rate, self.shape(sample_shape), self.dtype)

    def log_prob(self, value: Any) -> Any:
        if self.is_sparse and is_concrete(value) and np.size(value) > 1:
            return self._sparse_log_prob(np.asarray(value))
        return _log_mass(value, self.rate)

    def _sparse_log_prob(self, value: np.ndarray) -> Any:
        shape = np.broadcast_shapes(value.shape, self.batch_shape)
        value = np.broadcast_to(value, shape).reshape(-1)
        rate = jnp.broadcast_to(self.rate, shape).reshape(-1)
        (other,) = np.nonzero(value != 0)
        log_mass = (-rate).at[other].set(_log_mass(value[other], rate[other]), unique_indices=True)
        return log_mass.reshape(shape)

    @property
    def mean(self) -> Any:
        return self.rate

    @property
    def variance(self) -> Any:
        return self.rate

    @property
    def _float(self) -> Any:
        return self.rate.dtype

    # P(X <= k) = Q(k + 1, rate).
    def _below(self, k: Any) -> Any:
        return gammaincc(k + 1, self.rate)

    def _log_below(self, k: Any) -> Any:
        return log_gammaincc(k + 1, self.rate)

    def _above(self, k: Any) -> Any:
        return gammainc(k + 1, self.rate)

    def _log_above(self, k: Any) -> Any:
        return log_gammainc(k + 1, self.rate)


@jax.jit
def _log_mass(value: Any, rate: Any) -> Any:
    inside = value >= 0
    k = wide(jnp.where(inside, value, jnp.zeros((), jnp.result_type(value))), rate.dtype)
    log_mass = -deviance(k, wide(rate, rate.dtype)) - factorial_excess(k)
    return jnp.where(inside, log_mass, -jnp.inf).astype(rate.dtype)
