"""Modules of flax nnx. Imported by tests that have flax, inside of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Plain(nnx.Module):
    """3-4-4-1 with a list of layers, one of them without a bias, and a function among its attributes."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, use_bias=False, rngs=rngs)])
        self.out = nnx.Linear(4, 1, rngs=rngs)
        self.activation = lambda x: jnp.tanh(x)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.out(x)[..., 0]


class Normed(nnx.Module):
    """A batch norm between two layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.8, rngs=rngs)
        self.second = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.second(self.norm(self.first(x)))[..., 0]


class Dropped(nnx.Module):
    """Two dropouts, each with a stream of its own; returns what is left of the input."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.scale = nnx.Param(jnp.ones(()))
        self.first = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.scale * jnp.stack([self.first(x), self.second(x)])


class Growing(nnx.Module):
    """Makes a variable when it is called, and an intermediate one that is to be dropped."""

    def __init__(self, grows: bool) -> None:
        self.scale = nnx.Param(jnp.ones(()))
        self.calls = nnx.Variable(jnp.zeros(()))
        self.grows = grows

    def __call__(self, x: Any) -> Any:
        self.calls[...] += 1
        self.sow(nnx.Intermediate, "seen", x)
        if self.grows:
            self.later = nnx.Variable(jnp.zeros(()))
        return self.scale * x


class Regressor(nnx.Module):
    """``inputs``-``hidden``-1 with tanh."""

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(inputs, hidden, rngs=rngs)
        self.out = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(jax.nn.tanh(self.hidden(x)))[..., 0]
