"""Numbers of an optimiser that its state holds, so that they may differ by chain and from run to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from svijax.base import ArgumentError, is_concrete, message
from svijax.optim import is_rate

from ._rates import NAMES
from ._state import SVIState

_INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
_HINT = "optax.inject_hyperparams(optax.adam)(learning_rate=1e-2)"


def settable(optim: Any) -> Any:
    """The optimiser with hyperparameters that can be set: of a float, Adam with its rate among them.

    Others are returned as they are; equal rates give one object.
    """
    if not is_rate(optim):
        return optim
    return injected(optax.adam, optim)


def injected(make: Callable[[Any], Any], rate: Any) -> optax.GradientTransformationExtraArgs:
    """``make(rate)`` with the rate in its state, where alone it is looked up. Equal for equal arguments."""
    try:
        return _injected_once(make, float(rate)) if is_concrete(rate) else _injected(make, rate)
    except TypeError:  # a function that has no hash
        return _injected(make, rate)


def _injected(make: Callable[[Any], Any], rate: Any) -> optax.GradientTransformationExtraArgs:
    def at(learning_rate: Any) -> Any:
        return make(learning_rate)

    return optax.inject_hyperparams(at)(learning_rate=rate)


_injected_once = lru_cache(maxsize=64)(_injected)


def set_hyperparams(state: SVIState, values: Mapping[str, Any]) -> SVIState:
    """The state, of one fit or of chains (leading axis), with these hyperparameters wherever its optimiser has them.

    :raises ArgumentError: the optimiser has none, none of that name, or takes it from a schedule; another shape.
    """
    return state.having(optim_state=with_values(state.optim_state, values)) if values else state


def with_values(optim_state: Any, values: Mapping[str, Any]) -> Any:
    """The optimiser's state with these hyperparameters. Errors as of ``set_hyperparams``."""
    nodes = list(_injected_states(optim_state))
    if not nodes:
        raise ArgumentError(
            message(
                f"the optimiser has no hyperparameters that can be set: {sorted(values)}.",
                fix=f"make it with optax.inject_hyperparams, such as {_HINT}; or pass a float, the rate of Adam.",
            )
        )
    for name in values:
        _check_known(name, nodes)

    def changed(node: Any) -> Any:
        if not isinstance(node, _INJECTED):
            return node
        own = {n: _as_like(n, values[n], x) if n in values else x for n, x in node.hyperparams.items()}
        return node._replace(hyperparams=own, inner_state=walk(node.inner_state))

    def walk(tree: Any) -> Any:
        return jax.tree.map(changed, tree, is_leaf=lambda x: isinstance(x, _INJECTED))

    return walk(optim_state)


def hyperparam_names(optim_state: Any) -> set[str]:
    """Names of the hyperparameters that can be set."""
    return {
        name
        for node in _injected_states(optim_state)
        for name in node.hyperparams
        if name not in _scheduled(node)
    }


def _injected_states(tree: Any) -> list[Any]:
    """The places in an optimiser's state that hold hyperparameters."""
    found = []
    for node in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, _INJECTED)):
        if isinstance(node, _INJECTED):
            found += [node, *_injected_states(node.inner_state)]
    return found


def _scheduled(node: Any) -> set[str]:
    return set(getattr(node, "hyperparams_states", {}))


def _check_known(name: str, nodes: list[Any]) -> None:
    known = sorted({other for node in nodes for other in node.hyperparams})
    if name not in known:
        raise ArgumentError(
            message(
                f"the optimiser has no hyperparameter {name!r} that can be set.",
                expected=known,
                fix="name one of these, or inject it too.",
            )
        )
    if any(name in _scheduled(node) for node in nodes):
        raise ArgumentError(
            message(
                f"the optimiser takes {name!r} from a schedule, which would overwrite it at each step.",
                fix=f"inject a number: {_HINT}.",
            )
        )


def _as_like(name: str, value: Any, old: Any) -> Any:
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    if value.shape != jnp.shape(old):
        raise ArgumentError(
            message(
                f"hyperparams of Chains: the values of {name!r} are not one a chain.",
                expected=jnp.shape(old),
                got=value.shape,
            )
        )
    return jnp.asarray(value, jnp.result_type(old))


def check_rates(name: str, values: Any, fix: str = "rates such as 1e-2 or 1e-3.") -> None:
    """Raise unless every known value is finite and greater than zero, in the precision that a fit has."""
    if not _known(values):
        return
    # What is zero in this precision would move nothing.
    rates = np.asarray(values, jnp.result_type(float))
    wrong = ~(np.isfinite(rates) & (rates > 0.0))
    if wrong.any():
        raise ArgumentError(
            message(
                f"{name}: a rate must be finite and greater than zero.",
                got=", ".join(
                    f"{float(np.ravel(values)[i]):g} (entry {i})" for i in np.flatnonzero(wrong)[:5]
                ),
                fix=fix,
            )
        )


def _known(values: Any) -> bool:
    return all(is_concrete(x) for x in jax.tree.leaves(values))


def check_hyperparam(name: str, values: Any, num: int) -> None:
    """Raise unless there is one legal value for each of ``num`` chains."""
    shape = np.shape(values)
    if not shape or shape[0] != num:
        raise ArgumentError(
            message(
                f"hyperparams of Chains: {name!r} needs one value for each chain.",
                expected=f"{num} values",
                got="a single number" if not shape else f"{shape[0]} values",
                fix=f"num={shape[0]}, or {num} values."
                if shape
                else "what all chains share is an argument of the optimiser.",
            )
        )
    if name in NAMES:
        check_rates(f"hyperparams of Chains, {name!r}", values)
    elif _known(values) and not np.isfinite(np.asarray(values, float)).all():
        raise ArgumentError(
            message(f"hyperparams of Chains: a value of {name!r} is not finite.", got=np.asarray(values))
        )
