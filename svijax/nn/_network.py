"""What every adapter stands on: one param for the weights, one mutable for the state, a prior over some weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import MissingKeyError, ModelError, message
from svijax.effects import KeyRequest, has_plates, makes_value, mutable, param, perform, sample, where

from ._paths import by_path, filled, without
from ._priors import Prior, choose

Tree = Any


@dataclass(frozen=True, eq=False)
class Network:
    """A network at the weights of this run: ``net(x)``.

    ``params``: its weights, those with a prior as they were drawn. ``state``: what it carries from step to step, a
    dictionary that calls write to; None if it has no state. ``apply``: (params, *args) ↦ output, or with a state
    (params, state, *args) ↦ (output, new state), both pure.
    """

    params: Tree
    apply: Callable[..., Any]
    state: dict[str, Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output; the state moves on. With a state not to be called inside a ``jax.vmap`` of your own."""
        if self.state is None:
            return self.apply(self.params, *args, **kwargs)
        output, after = self.apply(self.params, dict(self.state), *args, **kwargs)
        keep(self.state, after)
        return output


def weights(name: str, init: Any, prior: Prior | None = None, divider: str = "/") -> Tree:
    """The weights of a network: those with a prior are latents ``{name}{divider}{path}``, the others one param
    ``{name}$params``.

    :param init: a pytree, or a function of a key that makes one.
    :raises ModelError: weights with a prior inside a plate.
    """
    if prior is None:
        if not makes_value(init) and not jax.tree.leaves(init):
            return init
        value = param(params_name(name), init)
        return value if makes_value(init) else filled(init, by_path(value), what(name))
    if has_plates():
        raise ModelError(
            message(
                f"{what(name)}: weights with a prior are stated inside a plate.",
                fix="state the module before the plate, and call it inside.",
            )
        )
    tree = jax.eval_shape(init, jax.random.key(0)) if makes_value(init) else init
    chosen = choose(prior, by_path(tree), what(name))
    values = {}
    if without(tree, set(chosen)):
        values = by_path(param(params_name(name), _others(init, set(chosen))))
    for path, leaf in by_path(tree).items():
        if path in chosen:
            drawn = sample(f"{name}{divider}{path}", chosen[path].prior)
            values[path] = jnp.asarray(drawn, jnp.result_type(leaf))
    return filled(tree, values, what(name))


def state(name: str, init: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The state that the network carries, under ``{name}$state``; ``init`` is asked only where there is none yet."""
    known = mutable(state_name(name))
    return mutable(state_name(name), init()) if known is None else known


def keep(held: dict[str, Any], after: dict[str, Any]) -> None:
    """Write the new state, through which no gradient flows.

    :raises ModelError: it has not the entries and shapes of the old one.
    """
    old, new = ({path: jnp.shape(leaf) for path, leaf in by_path(tree).items()} for tree in (held, after))
    if old != new:
        raise ModelError(
            message(
                f"{where()}: a network's state changed its entries or their shapes in a call.",
                expected=old,
                got=new,
                fix="make every entry where the module is made, of the shape that it keeps.",
            )
        )
    held.update(jax.lax.stop_gradient(after))


def init_key(name: str) -> jax.Array:
    """The key that the function which makes ``{name}$params`` is called with."""
    key = perform(KeyRequest(name=params_name(name))).value
    if key is None:
        raise MissingKeyError(
            message(
                f"{what(name)} starts from a random key and has none.",
                fix="run the program under svijax.handlers.seed(fn, rng_seed=key).",
            )
        )
    return key


def params_name(name: str) -> str:
    """Name of the param site."""
    return f"{name}$params"


def state_name(name: str) -> str:
    """Name of the mutable."""
    return f"{name}$state"


def what(name: str) -> str:
    """The network in messages."""
    return f"{where()} network {name!r}"


def _others(init: Any, paths: set[str]) -> Any:
    if makes_value(init):
        return lambda key: without(init(key), paths)
    return without(init, paths)
