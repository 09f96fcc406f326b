"""The learning rate, as an optimiser's state tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import optax

from ._state import SVIState

NAMES = ("learning_rate", "step_size")
"""What optax, and what the peers' optimisers call it."""


def injected_rates(optim_state: Any) -> dict[str, Any]:
    """Rates in the states of ``optax.inject_hyperparams``: "learning_rate", with a path behind it if there are several.

    A state after a step holds the rate of that step.
    """
    found = dict(_found(optim_state))
    if len(found) == 1:
        return {"learning_rate": next(iter(found.values()))}
    return {"/".join(("learning_rate", *path)): rate for path, rate in found.items()}


def _found(tree: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and rates. An optimiser inside of one that has hyperparameters may have its own."""
    for path, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_injected)[0]:
        if _is_injected(node):
            words = _words(path)
            rates = [node.hyperparams[name] for name in NAMES if name in node.hyperparams]
            yield from ((words, rate) for rate in rates[:1])
            yield from (((*words, "inner", *rest), rate) for rest, rate in _found(node.inner_state))


def _is_injected(node: Any) -> bool:
    return isinstance(getattr(node, "hyperparams", None), Mapping)


def _words(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The readable part of a path: keys of dictionaries, and places in tuples that have no names."""
    entries = (getattr(entry, "key", getattr(entry, "idx", None)) for entry in path)
    return tuple(str(entry) for entry in entries if entry is not None)


def schedule_count(state: SVIState) -> Any:
    """What the optimiser gives its schedule at the next step: its own count if it keeps one, else the step."""
    nodes = jax.tree.leaves(state.optim_state, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState))
    counts = [node.count for node in nodes if isinstance(node, optax.ScaleByScheduleState)]
    return counts[0] if counts else state.step
