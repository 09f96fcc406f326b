"""Modules of equinox."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import jax

from svijax.base import ArgumentError, message

from ._network import Held, weights, what
from ._network import state as held_state
from ._paths import by_path, filled, without
from ._priors import Prior


def eqx_module(name: str, module: Any, state: Any = None, *, axis_name: Hashable = "batch") -> Any:
    """An equinox module whose floating-point arrays are one param ``{name}$params``; the others stay as they are.

    Without ``state`` what is returned is the module at the parameters of this run, used as equinox modules are:
    ``jax.vmap(net)(x)``, and for dropout keys of ``svijax.prng_key()``.

    :param state: the ``eqx.nn.State`` of ``module, state = eqx.nn.make_with_state(Net)(...)``. It is carried from
        step to step under ``{name}$state``, and what is returned is a ``StatefulModule``.
    :param axis_name: that of the batch norms in it.
    :raises ArgumentError: it is no equinox module, or keeps a state and none is given.
    """
    return _bound(name, module, state, axis_name, None, "/")


def random_eqx_module(
    name: str,
    module: Any,
    prior: Prior,
    scope_divider: str = "/",
    *,
    state: Any = None,
    axis_name: Hashable = "batch",
) -> Any:
    """``eqx_module`` with a prior over weights: w_path ~ prior, latents named ``{name}/{path}``.

    Paths are dotted, "layers.0.weight". ``prior``: as of ``random_functional_module``.
    """
    return _bound(name, module, state, axis_name, prior, scope_divider)


@dataclass(frozen=True, eq=False)
class StatefulModule:
    """An equinox module with state: ``net(x)`` maps it over the rows of x and keeps the new state.

    By hand: ``y, after = jax.vmap(net.module, in_axes=(0, None), out_axes=(0, None), axis_name=...)(x, net.state)``
    and ``net.keep(after)``. ``module``: at the weights of this run.
    """

    module: Any
    _held: Held
    _like: Any
    axis_name: Hashable = "batch"

    @property
    def state(self) -> Any:
        """The ``eqx.nn.State`` as it is now."""
        return unpacked(self._like, self._held.values)

    def keep(self, state: Any) -> None:
        """Carry this state on. :raises ModelError: as calls of a ``Network`` with a state."""
        self._held.keep(packed(state))

    def __call__(self, *rows: Any, key: jax.Array | None = None, **kwargs: Any) -> Any:
        """The output for rows on the leading axes. ``key``: for dropout, split into one for each row."""

        def one(rows: tuple[Any, ...], state: Any, key: Any) -> Any:
            keys = {} if key is None else {"key": key}
            return self.module(*rows, state, **keys, **kwargs)

        count = len(jax.tree.leaves(rows)[0])
        keys = None if key is None else jax.random.split(key, count)
        over = jax.vmap(one, in_axes=(0, None, 0), out_axes=(0, None), axis_name=self.axis_name)
        output, after = over(rows, self.state, keys)
        self.keep(after)
        return output


def packed(state: Any) -> dict[str, Any]:
    """The arrays of an ``eqx.nn.State``, numbered."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}


def unpacked(like: Any, held: dict[str, Any]) -> Any:
    """The ``eqx.nn.State`` again: its markers are the objects of this module, whatever run the arrays are from."""
    return jax.tree.unflatten(jax.tree.structure(like), [held[str(i)] for i in range(len(held))])


def taken_apart(module: Any, has_state: bool | None, what: str) -> tuple[dict[str, Any], Any, Any]:
    """(the floating-point arrays in dictionaries, the module with them alone, the module without them).

    :param has_state: whether its state was given; None where nobody asked.
    :raises ArgumentError: it is no module of equinox, or it keeps its state within itself.
    """
    import equinox as eqx

    if not isinstance(module, eqx.Module):
        raise ArgumentError(
            message(
                f"{what}: this is no module of equinox.",
                expected="an instance of equinox.Module",
                got=repr(module)
                if isinstance(module, type)
                else f"{type(module).__module__}.{type(module).__name__}",
                fix="make it: Net(..., key=key); for flax use nnx_module or flax_module.",
            )
        )
    _check_state(module, has_state, what)
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    return without(arrays, set()), arrays, rest


def _check_state(module: Any, has_state: bool | None, what: str) -> None:
    import equinox as eqx

    def is_index(x: Any) -> bool:
        return isinstance(x, eqx.nn.StateIndex)

    indices = [leaf for leaf in jax.tree.leaves(module, is_leaf=is_index) if is_index(leaf)]
    # A module that was made without make_with_state has the arrays of its state in itself.
    within = any(eqx.is_array(leaf) for index in indices for leaf in jax.tree.leaves(index.init))
    if within or has_state not in (None, bool(indices)):
        raise ArgumentError(
            message(
                f"{what}: the module has a state and none is given."
                if indices
                else f"{what}: a state is given and the module has none.",
                fix="module, state = eqx.nn.make_with_state(Net)(...), then eqx_module(name, module, state)."
                if indices
                else "leave state= out.",
            )
        )


def _bound(name: str, module: Any, state: Any, axis_name: Hashable, prior: Prior | None, divider: str) -> Any:
    import equinox as eqx

    tree, arrays, rest = taken_apart(module, state is not None, what(name))
    params = weights(name, tree, prior, divider)
    whole = eqx.combine(filled(arrays, by_path(params), what(name)), rest)
    if state is None:
        return whole
    return StatefulModule(whole, held_state(name, lambda: packed(state)), state, axis_name)
