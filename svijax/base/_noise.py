"""Standard noise: what a reparameterised draw is a deterministic function of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class NoiseSpec:
    """The noise one draw needs: independent entries, standard normal or uniform on (0, 1)."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


def draw_noise(key: jax.Array, spec: NoiseSpec, sample_shape: tuple[int, ...] = ()) -> jax.Array:
    """Noise of shape ``sample_shape + spec.shape``; uniforms stay strictly inside (0, 1)."""
    shape = (*sample_shape, *spec.shape)
    if spec.kind == "normal":
        return jax.random.normal(key, shape, spec.dtype)
    tiny = jnp.finfo(spec.dtype).tiny
    return jax.random.uniform(key, shape, spec.dtype, minval=tiny)
