"""Weights by path: "layers.0.kernel" is the leaf of a parameter tree that its keys, joined with dots, lead to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ShapeError, message


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by dotted path.

    :raises ArgumentError: two leaves have one path, because a key has a dot in it.
    """
    found: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path = jax.tree_util.keystr(keys, simple=True, separator=".")
        if path in found:
            raise ArgumentError(
                message(f"two weights have the path {path!r}.", fix="use names without dots in them.")
            )
        found[path] = leaf
    return found


def nested(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Dictionaries in dictionaries, from leaves by tuples of keys."""
    tree: dict[str, Any] = {}
    for keys, leaf in leaves.items():
        inner = tree
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = leaf
    return tree


def without(tree: Any, paths: set[str]) -> dict[str, Any]:
    """The other leaves of a tree, in dictionaries."""
    kept = {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in keys): leaf
        for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if jax.tree_util.keystr(keys, simple=True, separator=".") not in paths
    }
    return nested(kept)


def filled(tree: Any, leaves: Mapping[str, Any], what: str) -> Any:
    """``tree`` with the leaves of these paths, whatever containers they came in.

    :param what: names the network in messages. :raises ArgumentError: a leaf is missing, or there is one too many.
    :raises ShapeError: a leaf has another shape.
    """
    own = by_path(tree)
    if own.keys() != leaves.keys():
        missing, unknown = sorted(own.keys() - leaves.keys()), sorted(leaves.keys() - own.keys())
        raise ArgumentError(
            message(
                f"{what}: the values are not those of this network's weights.",
                expected=list(own),
                got=", ".join(
                    f"{word} {paths}" for word, paths in (("without", missing), ("and", unknown)) if paths
                ),
                fix="use the module that was fitted, under the name that it had; start from values of its own tree.",
            )
        )
    for path, leaf in own.items():
        got, want = jnp.shape(leaves[path]), jnp.shape(leaf)
        if got != want:
            raise ShapeError(
                message(
                    f"{what}: the weight {path!r} has another shape.",
                    expected=want,
                    got=got,
                    fix="take one of several chains first, fit.best() or fit.chain(k); or use the module "
                    "that was fitted.",
                )
            )
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[path] for path in own])
