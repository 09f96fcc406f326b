"""The normal distribution on arrays that sum to zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, NoiseSpec, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._parameters import parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class ZeroSumNormal(Distribution):
    """Independent N(0, scale) entries given that they sum to 0 along every axis of the event.

    p(x) = prod_i N(x_i; 0, scale) up to its constant, on the subspace of dimension m = prod_i (n_i - 1), by the
    Euclidean measure there. scale (…) > 0; ``event_shape`` = (n_1, n_2, …), each at least 2.
    """

    arg_constraints = parameters(scale=constraints.positive)
    _static = ("_detached", "_event_shape")
    _noise_kind = "normal"
    scale: jax.Array
    _event_shape: tuple[int, ...]

    def __init__(self, scale: Any, event_shape: Sequence[int], *, validate_args: bool | None = None) -> None:
        sizes = tuple(int(size) for size in event_shape)
        if not sizes or min(sizes) < 2:
            raise ArgumentError(
                message(f"{type(self).__name__}: event_shape has axes, each of size 2 at least.", got=sizes)
            )
        self._assign(_event_shape=sizes)
        self._init(validate_args, scale=scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self._event_shape

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.zero_sum(len(self._event_shape))

    def _noise_spec(self) -> NoiseSpec:
        smaller = (size - 1 for size in self._event_shape)
        return NoiseSpec("normal", (*self.batch_shape, *smaller), self.dtype)

    def _over_event(self, x: Any) -> Any:
        return jnp.reshape(x, (*np.shape(x), *(1,) * len(self._event_shape)))

    def from_noise(self, noise: Any) -> Any:
        value = self._over_event(self.scale) * noise
        for axis in range(-len(self._event_shape), 0):
            value = _with_zero_sum(value, axis)
        return value

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), self._log_density(noise)

    def log_prob(self, value: Any) -> Any:
        return self._log_density(value / self._over_event(self.scale))

    def _log_density(self, z: Any) -> Any:
        axes = tuple(range(-len(self._event_shape), 0))
        return -0.5 * jnp.sum(z * z, axis=axes) - self._log_norm()

    def _dimension(self) -> int:
        return math.prod(size - 1 for size in self._event_shape)

    def _log_norm(self) -> Any:
        return self._dimension() * (jnp.log(self.scale) + _HALF_LOG_2PI)

    @property
    def mean(self) -> Any:
        return jnp.zeros(self.shape(), self.dtype)

    @property
    def variance(self) -> Any:
        kept = math.prod(1 - 1 / size for size in self._event_shape)
        return jnp.broadcast_to(self._over_event(kept * self.scale**2), self.shape())

    def entropy(self) -> Any:
        return 0.5 * self._dimension() + self._log_norm()


def _with_zero_sum(x: Any, axis: int) -> jax.Array:
    """An isometry of R^(n - 1) onto the vectors of n entries that sum to 0, along ``axis``.

    It is the reflection that takes e_n to (1, …, 1) / sqrt(n), of (x, 0).
    """
    n = x.shape[axis] + 1
    total = jnp.sum(x, axis=axis, keepdims=True)
    root = math.sqrt(n)
    return jnp.concatenate([x - total / (n - root), total / root], axis=axis)
