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
"""Leaves of more elements stay arrays of their own: to move them in and out of a vector would cost more."""


@dataclass(frozen=True)
class Leaf:
    """Where one array lies: at ``offset`` in packed array ``slot``, or as array ``slot`` itself (None)."""

    shape: tuple[int, ...]
    slot: int
    offset: int | None

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    def read(self, arrays: tuple[Any, ...]) -> Any:
        """The leaf, out of the packed arrays; axes in front are kept."""
        array = arrays[self.slot]
        if self.offset is None:
            return array
        part = jax.lax.slice_in_dim(array, self.offset, self.offset + self.size, axis=-1)
        return part.reshape((*array.shape[:-1], *self.shape))


@dataclass(frozen=True)
class Layout:
    """Static description of named pytrees in few arrays, whose dtypes are ``dtypes``.

    ``groups``: names that are read together as one vector, and lie end to end if they are packed.
    """

    names: tuple[str, ...]
    structures: tuple[Any, ...]
    leaves: tuple[tuple[Leaf, ...], ...]
    dtypes: tuple[str, ...]
    packed: bool
    groups: tuple[tuple[str, ...], ...] = ()

    def leaves_of(self, name: str) -> tuple[Leaf, ...]:
        """The leaves of the tree of this name."""
        return self.leaves[self.names.index(name)]

    def describe(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Shapes of the leaves of each name."""
        return {n: tuple(leaf.shape for leaf in ls) for n, ls in zip(self.names, self.leaves, strict=True)}


def plan(
    tree: Mapping[str, Any],
    *,
    packed: bool,
    groups: tuple[tuple[str, ...], ...] = (),
    limit: int = PACK_LIMIT,
) -> Layout:
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
    return Layout(tuple(tree), tuple(structures), tuple(rows), tuple(dtypes), packed, groups)


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

    def __contains__(self, name: object) -> bool:
        return name in self.layout.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    def segments(self) -> dict[tuple[str, ...], Any]:
        """The value of each name that is no group's, and the vector of each group, all taken apart at once.

        One split is differentiated as one concatenation, where as many slices would be padded and added up.
        """
        layout = self.layout
        members = {name for group in layout.groups for name in group}
        heads: list[tuple[str, ...]] = [(name,) for name in self if name not in members]
        heads += layout.groups
        rows = {names: _runs([layout.leaves_of(name) for name in names], len(names) > 1) for names in heads}
        parts = self._take_apart([leaf for row in rows.values() for leaf in row])
        out: dict[tuple[str, ...], Any] = {}
        for names, row in rows.items():
            values = [
                parts[leaf].reshape((*parts[leaf].shape[:-1], *leaf.shape))
                if leaf.offset is not None
                else self.arrays[leaf.slot]
                for leaf in row
            ]
            if len(names) == 1:
                out[names] = jax.tree.unflatten(layout.structures[layout.names.index(names[0])], values)
            else:
                out[names] = (
                    values[0] if len(values) == 1 else jnp.concatenate([jnp.ravel(v) for v in values])
                )
        return out

    def _take_apart(self, leaves: list[Leaf]) -> dict[Leaf, Any]:
        """The packed leaves, which together fill their arrays."""
        parts: dict[Leaf, Any] = {}
        for slot, array in enumerate(self.arrays):
            here = sorted((x for x in leaves if x.slot == slot and x.offset is not None), key=_offset)
            if len(here) == 1:
                parts[here[0]] = array
            elif here:
                parts.update(zip(here, jax.lax.split(array, [leaf.size for leaf in here], axis=-1)))
        return parts


def _offset(leaf: Leaf) -> int:
    return leaf.offset or 0


def _runs(rows: list[tuple[Leaf, ...]], group: bool) -> list[Leaf]:
    """The leaves of some names; those of a group as one run if they lie end to end."""
    leaves = [leaf for row in rows for leaf in row]
    if not group:
        return leaves
    position, slot = leaves[0].offset, leaves[0].slot
    for leaf in leaves:
        if leaf.offset is None or leaf.offset != position or leaf.slot != slot:
            return leaves
        position = leaf.offset + leaf.size
    return [Leaf((sum(leaf.size for leaf in leaves),), slot, leaves[0].offset)]


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
