"""The uniform distribution on integers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import is_concrete
from svijax.transforms import Constraint, constraints

from ._counts import as_integers
from ._distribution import Distribution
from ._parameters import parameters


class DiscreteUniform(Distribution):
    """p(k) = 1 / (high - low + 1) for the integers low <= k <= high, both ends included; they broadcast together."""

    arg_constraints = parameters(low=constraints.integer, high=constraints.integer)
    _keep_dtype = ("low", "high")
    _enumerable = True
    low: jax.Array
    high: jax.Array

    def __init__(self, low: Any = 0, high: Any = 1, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, low=low, high=high)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"high": constraints.integer_greater_than(self.low - 1)}

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.integer_interval(self.low, self.high)

    @property
    def _size(self) -> Any:
        """How many values there are, as a float: the difference of integers may overflow."""
        dtype = jnp.result_type(float)
        return self.high.astype(dtype) - self.low.astype(dtype) + 1

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jax.random.randint(key, self.shape(sample_shape), self.low, self.high + 1, self.dtype)

    def log_prob(self, value: Any) -> Any:
        return jnp.where(self.support(value), -jnp.log(self._size), -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.low + 0.5 * (self._size - 1)

    @property
    def variance(self) -> Any:
        return (self._size - 1) * (self._size + 1) / 12

    def cdf(self, value: Any) -> Any:
        return jnp.clip((jnp.floor(value) - self.low + 1) / self._size, 0.0, 1.0)

    def survival_function(self, value: Any) -> Any:
        return jnp.clip((self.high - jnp.floor(value)) / self._size, 0.0, 1.0)

    def icdf(self, q: Any) -> Any:
        size = self._size
        q = jnp.asarray(q, size.dtype)
        step = jnp.clip(jnp.ceil(q * size) - 1, 0.0, size - 1)
        # The product may be rounded up across an integer.
        step = jnp.where((step > 0) & (step / size >= q), step - 1, step)
        return self.low + as_integers(step, self.dtype)

    def entropy(self) -> Any:
        return jnp.log(self._size)

    def enumerate_support(self, expand: bool = True) -> Any:
        ends = [np.unique(np.asarray(end)) for end in (self.low, self.high) if is_concrete(end)]
        if [end.size for end in ends] != [1, 1]:
            self._lacks(
                "an enumerable support unless low and high are one number each, known when the program is traced",
                "pass low and high as Python integers",
            )
        low, high = (int(end[0]) for end in ends)
        return self._enumerated(np.arange(low, high + 1, dtype=self.dtype), expand)
