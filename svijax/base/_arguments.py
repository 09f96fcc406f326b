"""A program's arguments, split into arrays, which are traced, and the rest, which is static."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import ArgumentError, message


@dataclass(frozen=True)
class StaticArguments:
    """Structure of the arguments, and their static leaves by type and value (None where an array goes)."""

    structure: Any
    leaves: tuple[tuple[type, Any] | None, ...]


def split_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], StaticArguments]:
    """Arrays and floats; and everything else: str, bool, None and Python int are static by themselves.

    :raises ArgumentError: an argument that is neither an array nor hashable.
    """
    leaves, structure = jax.tree.flatten((args, dict(kwargs)))
    arrays: list[Any] = []
    static: list[tuple[type, Any] | None] = []
    for leaf in leaves:
        if is_array(leaf):
            arrays.append(_strong(leaf))
            static.append(None)
        else:
            static.append((type(leaf), _hashable(leaf, args, kwargs)))
    return tuple(arrays), StaticArguments(structure, tuple(static))


def join_arguments(
    arrays: tuple[Any, ...], static: StaticArguments
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments again."""
    rest = iter(arrays)
    leaves = [next(rest) if leaf is None else leaf[1] for leaf in static.leaves]
    return jax.tree.unflatten(static.structure, leaves)


def as_jax(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with JAX arrays for numpy's, which could not be indexed by the rows that a plate draws."""

    def leaf(x: Any) -> Any:
        return jnp.asarray(x) if isinstance(x, np.ndarray) and x.dtype.kind in "biufc" else x

    return jax.tree.map(leaf, (args, dict(kwargs)))


def is_array(leaf: Any) -> bool:
    """Whether the leaf is traced: an array or a float, and no Python int, bool or str."""
    if isinstance(leaf, bool | int | str):
        return False
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)


def signature(arrays: Any) -> tuple[Any, ...]:
    """Structure, shapes and dtypes of a pytree of arrays, as a key."""
    leaves, structure = jax.tree.flatten(arrays)
    return structure, tuple((x.shape, x.dtype) if hasattr(x, "dtype") else type(x) for x in leaves)


def is_traced(*trees: Any) -> bool:
    """Whether this call is part of a program that JAX traces: by its arguments, or by where it stands."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)):
        return True
    # The one operation that needs no compiled program of its own.
    return isinstance(jax.device_put(np.float32(0)), jax.core.Tracer)


def _strong(leaf: Any) -> Any:
    """Without weak type, and without a copy to a device."""
    if isinstance(leaf, float | complex):
        return np.asarray(leaf, jnp.result_type(type(leaf)))
    if isinstance(leaf, jax.Array) and getattr(leaf, "weak_type", False):
        return jax.lax.convert_element_type(leaf, leaf.dtype)
    return leaf


def _hashable(leaf: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    try:
        hash(leaf)
    except TypeError as error:
        raise ArgumentError(
            message(
                f"an argument of the model is neither an array nor hashable: {_place(leaf, args, kwargs)}.",
                expected="arrays, floats, or hashable static values (str, bool, None, int, ...)",
                got=f"{type(leaf).__qualname__}",
                fix="pass arrays in a tuple, list or dictionary, or make the object hashable.",
            )
        ) from error
    return leaf


def _place(leaf: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    for path, x in jax.tree_util.tree_leaves_with_path((args, dict(kwargs))):
        if x is leaf:
            kind = "argument" if path[0] == jax.tree_util.SequenceKey(0) else "keyword"
            return f"{kind} {jax.tree_util.keystr(path[1:])}"
    return "argument"
