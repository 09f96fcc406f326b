"""Modules of flax linen. Imported by tests that have flax, inside of them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen


class Plain(linen.Module):
    """3-4-1."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(1)(jnp.tanh(linen.Dense(4)(x)))[..., 0]


class Normed(linen.Module):
    """A batch norm between two layers."""

    @linen.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = linen.Dense(4)(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.8)(x)
        return linen.Dense(1)(x)[..., 0]


class Dropped(linen.Module):
    """A dropout, with a parameter behind it."""

    @linen.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        scale = self.param("scale", linen.initializers.ones, ())
        return scale * linen.Dropout(0.5, deterministic=not train)(x)
