"""Immutable pytrees: what constraints, bijections and distributions are made of."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, Self

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from svijax.base import is_concrete


class Record:
    """An immutable object that is a pytree: ``_fields`` are its children, ``_static`` its hashable metadata.

    Rebuilding it from leaves bypasses ``__init__``, so any leaf is accepted. Two records are equal if class,
    metadata and the values of all leaves are; a leaf that cannot be read (a tracer) is equal to itself only.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _static: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        def flatten(record: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            children = tuple(getattr(record, name) for name in cls._fields)
            return children, tuple(getattr(record, name) for name in cls._static)

        def flatten_with_keys(record: Any) -> tuple[tuple[tuple[Any, Any], ...], tuple[Any, ...]]:
            children, static = flatten(record)
            return tuple((GetAttrKey(name), x) for name, x in zip(cls._fields, children)), static

        def unflatten(static: tuple[Any, ...], children: Any) -> Any:
            record = object.__new__(cls)
            record.__dict__.update(zip(cls._static, static))
            record.__dict__.update(zip(cls._fields, children))
            return record

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    def _assign(self, **values: Any) -> None:
        """Set attributes; for constructors only."""
        self.__dict__.update(values)

    def _replace(self, **values: Any) -> Self:
        """A copy with other attributes, made without the constructor."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **values)
        return copy

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(
            f"cannot set {name!r}: a {type(self).__name__} is immutable; make a new one."
        )

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name!r}: a {type(self).__name__} is immutable.")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = jax.tree.leaves(self), jax.tree.leaves(other)
        tree: Any = jax.tree.structure(self)
        same_structure = bool(tree == jax.tree.structure(other))
        return same_structure and all(map(_same_leaf, mine, theirs))

    def __hash__(self) -> int:
        leaves, tree = jax.tree.flatten(self)
        return hash((tree, tuple(map(_leaf_hash, leaves))))


def _same_leaf(a: Any, b: Any) -> bool:
    return a is b or (is_concrete(a) and is_concrete(b) and np.array_equal(np.asarray(a), np.asarray(b)))


def _leaf_hash(leaf: Any) -> int:
    if not is_concrete(leaf):
        return id(leaf)
    # One dtype, and + 0.0 for the negative zero: equal values must have equal hashes.
    value = np.asarray(leaf).astype(np.float64) + 0.0
    return hash((value.shape, value.tobytes()))


def as_pytree(function: Any) -> Any:
    """A callable as a pytree: itself where it is one, else a node without leaves."""
    leaves = jax.tree.leaves(function)
    return jax.tree_util.Partial(function) if len(leaves) == 1 and leaves[0] is function else function
