"""Modules of equinox. Imported by tests that have it, inside of them."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp


class Plain(eqx.Module):
    """3-4-1 for one row, with an array of integers and a function among its fields."""

    layers: list[eqx.nn.Linear]
    order: jax.Array
    activation: Any

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.layers = [eqx.nn.Linear(3, 4, key=first), eqx.nn.Linear(4, 1, key=second)]
        self.order = jnp.array([2, 0, 1])
        self.activation = lambda x: jnp.tanh(x)

    def __call__(self, x: Any) -> Any:
        return self.layers[1](self.activation(self.layers[0](x[self.order])))[0]


class Normed(eqx.Module):
    """A batch norm and a dropout between two layers, for one row."""

    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    second: eqx.nn.Linear

    def __init__(self, key: jax.Array, rate: float = 0.0) -> None:
        first, second = jax.random.split(key)
        self.first = eqx.nn.Linear(3, 4, key=first)
        self.norm = eqx.nn.BatchNorm(4, "batch", momentum=0.8, mode="batch")
        self.dropout = eqx.nn.Dropout(rate)
        self.second = eqx.nn.Linear(4, 1, key=second)

    def __call__(self, x: Any, state: Any, key: Any = None) -> tuple[Any, Any]:
        x, state = self.norm(self.first(x), state)
        return self.second(self.dropout(x, key=key))[0], state


class Encoder(eqx.Module):
    """Mean and standard deviation of a code, from one row."""

    network: eqx.nn.MLP

    def __init__(self, inputs: int, codes: int, hidden: int, key: jax.Array) -> None:
        self.network = eqx.nn.MLP(inputs, 2 * codes, hidden, 1, activation=jax.nn.softplus, key=key)

    def __call__(self, x: Any) -> tuple[Any, Any]:
        loc, log_scale = jnp.split(self.network(x), 2)
        return loc, jnp.exp(log_scale)
