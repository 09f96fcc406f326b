"""What every adapter stands on: one param for the weights, one mutable for the state, a prior over some weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from svijax.base import MissingKeyError, ModelError, message
from svijax.effects import KeyRequest, has_plates, makes_value, mutable, param, perform, sample, where

from ._paths import by_path, filled, without
from ._priors import Prior, choose

Tree = Any


@dataclass(frozen=True, eq=False)
class Held:
    """The state that a network carries in this run. ``level``: the JAX transformation that it was stated in."""

    name: str
    values: dict[str, Any]
    level: Any

    def keep(self, after: dict[str, Any]) -> None:
        """Write the new state, through which no gradient flows.

        :raises ModelError: it has not the entries and shapes of the old one, or is of an inner transformation.
        """
        old, new = by_path(self.values), by_path(after)
        shapes = [{path: jnp.shape(leaf) for path, leaf in leaves.items()} for leaves in (old, new)]
        if shapes[0] != shapes[1]:
            raise ModelError(
                message(
                    f"{what(self.name)}: its state changed its entries or their shapes in a call.",
                    expected=shapes[0],
                    got=shapes[1],
                    fix="make every entry where the module is made, of the shape that it keeps.",
                )
            )
        if all(new[path] is leaf for path, leaf in old.items()):
            return
        if get_opaque_trace_state() != self.level:
            raise ModelError(
                message(
                    f"{what(self.name)}: it has a state and is called inside a jax.vmap, jit, scan or the like, "
                    "which the new state cannot leave.",
                    fix="call it outside of the transformation, on all rows at once; or in evaluation mode, "
                    "where the state stays as it is.",
                )
            )
        self.values.update(jax.lax.stop_gradient(after))


@dataclass(frozen=True, eq=False)
class Network:
    """A network at the weights of this run: ``net(x)``.

    ``params``: its weights, those with a prior as they were drawn. ``apply``: (params, *args) ↦ output, or with a
    state (params, state, *args) ↦ (output, new state), both pure.
    """

    params: Tree
    apply: Callable[..., Any]
    held: Held | None = None

    @property
    def state(self) -> dict[str, Any] | None:
        """What it carries from step to step, as it is now; None if it has no state."""
        return None if self.held is None else dict(self.held.values)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output; the state moves on.

        :raises ModelError: with a state, inside a ``jax.vmap`` (or jit, scan) of your own.
        """
        if self.held is None:
            return self.apply(self.params, *args, **kwargs)
        output, after = self.apply(self.params, self.state, *args, **kwargs)
        self.held.keep(after)
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


def state(name: str, init: Callable[[], dict[str, Any]]) -> Held:
    """The state that the network carries, under ``{name}$state``; ``init`` is asked only where there is none yet."""
    known = mutable(state_name(name))
    values = mutable(state_name(name), init()) if known is None else known
    return Held(name, values, get_opaque_trace_state())


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
