"""The uniform distribution, and the flat density on any support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import array_module, broadcast
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import within


class Uniform(Distribution):
    """p(x) = 1 / (high - low) for low <= x <= high; low < high broadcast together."""

    arg_constraints = parameters(low=constraints.dependent, high=constraints.dependent)
    _noise_kind = "uniform"
    low: jax.Array
    high: jax.Array

    def __init__(self, low: Any = 0.0, high: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, low=low, high=high)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"low": constraints.real, "high": constraints.greater_than(self.low)}

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    def from_noise(self, noise: Any) -> Any:
        return self.low + (self.high - self.low) * noise

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        log_prob = -jnp.log(self.high - self.low)
        return self.from_noise(noise), jnp.broadcast_to(log_prob, np.shape(noise))

    def log_prob(self, value: Any) -> Any:
        inside = (value >= self.low) & (value <= self.high)
        return jnp.where(inside, -jnp.log(self.high - self.low), -jnp.inf)

    @property
    def mean(self) -> Any:
        return 0.5 * self.low + 0.5 * self.high

    @property
    def variance(self) -> Any:
        return (self.high - self.low) ** 2 / 12.0

    def cdf(self, value: Any) -> Any:
        return jnp.clip((jnp.asarray(value) - self.low) / (self.high - self.low), 0.0, 1.0)

    def log_cdf(self, value: Any) -> Any:
        share = self.cdf(value)
        return within(jnp.log, share, share > 0, 1.0, -jnp.inf)

    def survival_function(self, value: Any) -> Any:
        return jnp.clip((self.high - jnp.asarray(value)) / (self.high - self.low), 0.0, 1.0)

    def log_survival_function(self, value: Any) -> Any:
        share = self.survival_function(value)
        return within(jnp.log, share, share > 0, 1.0, -jnp.inf)

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return self.high - (self.high - self.low) * jnp.asarray(q, self.dtype)

    def entropy(self) -> Any:
        return jnp.log(self.high - self.low)


class ImproperUniform(Distribution):
    """log p(x) = 0 on ``support`` and -inf outside: a prior of no finite mass, of which there are no draws.

    Each event of ``event_shape``, at each entry of ``batch_shape``, lies in ``support``.
    """

    _fields = ("support",)
    _static = ("_batch_shape", "_event_shape", "_detached")
    support: Constraint
    _batch_shape: tuple[int, ...]
    _event_shape: tuple[int, ...]

    def __init__(
        self,
        support: Constraint,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        *,
        validate_args: bool | None = None,
    ) -> None:
        event = tuple(event_shape)
        self._assign(
            support=constraints.independent(support, max(len(event) - support.event_dim, 0)),
            _batch_shape=tuple(batch_shape),
            _event_shape=event,
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self._event_shape

    @property
    def dtype(self) -> Any:
        return jnp.result_type(int if self.is_discrete else float)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        self._lacks(
            "draws: its mass is not finite",
            "give the site a value (init_to_value, substitute), or take a proper prior",
        )

    def log_prob(self, value: Any) -> Any:
        dtype = jnp.result_type(value)
        zero = np.zeros((), dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float))
        inside = self.support(value)
        log_prob = array_module(inside).where(inside, zero, -np.inf).astype(zero.dtype)
        return broadcast(log_prob, np.broadcast_shapes(np.shape(log_prob), self._batch_shape))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(_batch_shape=self._expandable(batch_shape))
