"""Modules of flax nnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.effects import prng_key

from ._network import Network, state, weights, what
from ._paths import by_path, filled, nested
from ._priors import Prior

Keys = tuple[Any, ...]


def nnx_module(name: str, module: Any) -> Network:
    """A flax nnx module whose parameters are one param ``{name}$params``: ``net = nnx_module("net", module); net(x)``.

    The module itself is never changed. Its variables that are no ``nnx.Param`` (the statistics of a batch norm) are
    carried from step to step under ``{name}$state``; its random streams (dropout) start anew at each call from
    ``svijax.prng_key()``. Variables of type ``nnx.Intermediate`` are dropped.

    :param module: an ``nnx.Module``, made outside of the program, or inside at each run:
        ``Net(rngs=nnx.Rngs(svijax.prng_key()))`` then starts each of several chains elsewhere.
    :raises ArgumentError: it is no nnx module. :raises ModelError: at a call, if that makes new variables.
    """
    parts = taken_apart(module, what(name))
    return _bound(name, parts, weights(name, parts.params))


def random_nnx_module(name: str, module: Any, prior: Prior, scope_divider: str = "/") -> Network:
    """``nnx_module`` with a prior over parameters: w_path ~ prior, latents named ``{name}/{path}``.

    Paths are dotted, "layers.0.kernel". ``prior``: as of ``random_functional_module``.
    """
    parts = taken_apart(module, what(name))
    return _bound(name, parts, weights(name, parts.params, prior, scope_divider))


@dataclass(frozen=True, eq=False)
class Parts:
    """A module taken apart: its structure, and its variables by path and kind."""

    graph: Any
    trained: Mapping[Keys, Any]
    random: Mapping[Keys, Any]
    carried: Mapping[Keys, Any]

    @property
    def params(self) -> dict[str, Any]:
        """Values of the parameters, in dictionaries by name."""
        return _values(self.trained)

    @property
    def state(self) -> dict[str, Any]:
        """Values of what is carried, in dictionaries by name."""
        return _values(self.carried)

    def whole(self, params: Any, state: Any, key: jax.Array | None) -> Any:
        """A new module of these values. Without a key its random streams are where the module's own were."""
        from flax import nnx

        variables = {**_having(self.trained, params), **_having(self.carried, state)}
        variables.update(_reseeded(self.random, key))
        return nnx.merge(self.graph, nnx.from_flat_state(variables))


def taken_apart(module: Any, what: str) -> Parts:
    """The parts of a module. :raises ArgumentError: it is no nnx module."""
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ArgumentError(
            message(
                f"{what}: this is no module of flax nnx.",
                expected="an instance of nnx.Module",
                got=repr(module)
                if isinstance(module, type)
                else f"{type(module).__module__}.{type(module).__name__}",
                fix="make it: Net(..., rngs=nnx.Rngs(0)); for linen use flax_module, for equinox eqx_module.",
            )
        )
    graph, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
    trained, random, carried = (dict(nnx.to_flat_state(state)) for state in states)
    return Parts(graph, trained, random, {k: v for k, v in carried.items() if not _is_passing(v)})


def _bound(name: str, parts: Parts, params: Any) -> Network:
    def apply(params: Any, carried: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        module = parts.whole(params, carried, prng_key() if parts.random else None)
        output = module(*args, **kwargs)
        return output, _after(module, parts, what(name))

    if not parts.carried:
        return Network(params, lambda params, *args, **kwargs: apply(params, {}, *args, **kwargs)[0])
    held = state(name, lambda: parts.state)
    filled(parts.state, by_path(held.values), f"{what(name)}, state")
    return Network(params, apply, held)


def _after(module: Any, parts: Parts, what: str) -> dict[str, Any]:
    from flax import nnx

    found = dict(nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))))
    new = [
        keys for keys, variable in found.items() if keys not in parts.carried and not _is_passing(variable)
    ]
    if new:
        raise ModelError(
            message(
                f"{what}: a call makes new variables.",
                expected=f"those that it had, {[_dotted(keys) for keys in parts.carried]}",
                got=[_dotted(keys) for keys in new],
                fix="make them where the module is made, so that they can be carried from step to step.",
            )
        )
    return _values({keys: found[keys] for keys in parts.carried})


def _is_passing(variable: Any) -> bool:
    from flax import nnx

    return isinstance(variable, nnx.Intermediate)


def _values(variables: Mapping[Keys, Any]) -> dict[str, Any]:
    return nested({tuple(map(str, keys)): variable.get_raw_value() for keys, variable in variables.items()})


def _having(variables: Mapping[Keys, Any], values: Any) -> dict[Keys, Any]:
    # Every variable is made anew: one of another trace may not be written to.
    found = {}
    for keys, variable in variables.items():
        value = values
        for key in keys:
            value = value[str(key)]
        found[keys] = variable.replace(value)
    return found


def _reseeded(streams: Mapping[Keys, Any], key: jax.Array | None) -> dict[Keys, Any]:
    from flax import nnx

    found = {}
    for i, (keys, variable) in enumerate(streams.items()):
        value = variable.get_raw_value()
        if key is not None:
            shape = jnp.shape(value)
            if isinstance(variable, nnx.RngKey):
                own = jax.random.fold_in(key, i)
                value = jax.random.split(own, shape) if shape else own
            else:
                value = jnp.zeros(shape, value.dtype)
        found[keys] = variable.replace(value)
    return found


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))
