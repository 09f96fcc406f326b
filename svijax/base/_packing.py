"""Named parameters as few arrays: small leaves end to end in one vector per dtype, large ones by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

PACK_LIMIT = 16_384
"""Leaves of more elements stay arrays of their own: moving them in and out of a vector would cost more than it saves."""


@dataclass(frozen=True)
class Leaf:
    """Where one array lies: at ``offset`` in packed array ``slot``, or as array ``slot`` itself (None)."""

    shape: tuple[int, ...]
    slot: int
    offset: int | None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def read(self, arrays: tuple[Any, ...]) -> Any:
        array = arrays[self.slot]
        if self.offset is None:
            return array
        part = jax.lax.slice_in_dim(array, self.offset, self.offset + self.size, axis=-1)
        return part.reshape((*array.shape[:-1], *self.shape))


@dataclass(frozen=True)
class Layout:
    """Static description of named pytrees in few arrays. ``dtypes`` and ``sizes`` are those of the arrays."""

    names: tuple[str, ...]
    structures: tuple[Any, ...]
    leaves: tuple[tuple[Leaf, ...], ...]
    dtypes: tuple[str, ...]
    packed: bool

    def describe(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Shapes of the leaves of each name."""
        return {n: tuple(leaf.shape for leaf in ls) for n, ls in zip(self.names, self.leaves, strict=True)}


def plan(tree: Mapping[str, Any], *, packed: bool, limit: int = PACK_LIMIT) -> Layout:
    """The layout of a dictionary of pytrees of arrays, in the dictionary's order."""
    slots: dict[str, int] = {}
    dtypes: list[str] = []
    filled: dict[int, int] = {}
    structures, rows = [], []
    for value in tree.values():
        flat, structure = jax.tree.flatten(value)
        row = []
        for x in flat:
            dtype = str(jnp.result_type(x))
            shape = tuple(jnp.shape(x))
            size = math.prod(shape)
            if packed and size <= limit:
                if dtype not in slots:
                    slots[dtype] = len(dtypes)
                    dtypes.append(dtype)
                slot = slots[dtype]
                row.append(Leaf(shape, slot, filled.get(slot, 0)))
                filled[slot] = filled.get(slot, 0) + size
            else:
                row.append(Leaf(shape, len(dtypes), None))
                dtypes.append(dtype)
        structures.append(structure)
        rows.append(tuple(row))
    return Layout(tuple(tree), tuple(structures), tuple(rows), tuple(dtypes), packed)


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["layout"])
@dataclass(frozen=True)
class FreeParams(Mapping[str, Any]):
    """Unconstrained parameters: a mapping from names to pytrees, kept as the few arrays of its layout.

    A leading axis of the arrays (chains, batches) is a leading axis of every value.
    """

    arrays: tuple[Any, ...]
    layout: Layout

    def __getitem__(self, name: str) -> Any:
        try:
            i = self.layout.names.index(name)
        except ValueError:
            raise KeyError(name) from None
        leaves = [leaf.read(self.arrays) for leaf in self.layout.leaves[i]]
        return jax.tree.unflatten(self.layout.structures[i], leaves)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    def vector(self, names: tuple[str, ...]) -> Any:
        """The values of array-valued names end to end: one slice where they lie end to end."""
        leaves = [self.layout.leaves[self.layout.names.index(name)][0] for name in names]
        first = leaves[0]
        position = first.offset
        for leaf in leaves:
            if leaf.offset is None or leaf.slot != first.slot or leaf.offset != position:
                lead = self.arrays[first.slot].ndim - (1 if first.offset is not None else len(first.shape))
                parts = [leaf.read(self.arrays) for leaf in leaves]
                return jnp.concatenate([p.reshape((*p.shape[:lead], -1)) for p in parts], axis=-1)
            position = leaf.offset + leaf.size
        array = self.arrays[first.slot]
        if first.offset == 0 and position == array.shape[-1]:
            return array
        return jax.lax.slice_in_dim(array, first.offset, position, axis=-1)


def pack(tree: Mapping[str, Any], layout: Layout) -> FreeParams:
    """The parameters of ``tree`` in the given layout."""
    parts: list[list[Any]] = [[] for _ in layout.dtypes]
    for name, row in zip(layout.names, layout.leaves, strict=True):
        for x, leaf in zip(jax.tree.leaves(tree[name]), row, strict=True):
            parts[leaf.slot].append(x if leaf.offset is None else jnp.ravel(x))
    arrays = []
    for dtype, chunk in zip(layout.dtypes, parts, strict=True):
        whole = chunk[0] if len(chunk) == 1 else jnp.concatenate(chunk)
        arrays.append(jax.lax.convert_element_type(whole, dtype))
    return FreeParams(tuple(arrays), layout)
