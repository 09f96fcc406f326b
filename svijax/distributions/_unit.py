"""The distribution of nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters


class Unit(Distribution):
    """log p = log_factor (…) of the one value that has no entries: not normalised, what a factor stands for."""

    arg_constraints = parameters(log_factor=constraints.real)
    support = constraints.real_vector
    log_factor: jax.Array

    def __init__(self, log_factor: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, log_factor=log_factor)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (0,)

    def _has_pathwise(self) -> bool:
        return True

    def _noise_spec(self) -> NoiseSpec:
        return NoiseSpec("normal", self.shape(), self.dtype)

    def from_noise(self, noise: Any) -> Any:
        return jnp.zeros(np.shape(noise), self.dtype)

    def log_prob(self, value: Any) -> Any:
        return jnp.broadcast_to(self.log_factor, np.broadcast_shapes(np.shape(value)[:-1], self.batch_shape))
