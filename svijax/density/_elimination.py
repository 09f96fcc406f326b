"""Elimination of variables from a product of factors inside one set of plates, many alike at a time.

Each round takes out variables that do not meet in a factor, those that are taken out alike in one operation on their
stacked factors. A chain of T variables therefore takes O(log T) rounds: it is reduced pairwise, like a tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ._chains import find_chain, multiply_chain
from ._log_products import log_sum_product
from ._rows import rows_of, stacked

Tables = list[tuple[Any, tuple[str, ...]]]
"""Arrays with their variables; axes of plates on the right."""

# Tables of this size are small whatever was given; a round leaves what makes tables of more than four times that, and
# than four times the largest given, to later ones.
_SMALL_TABLE = 256


@dataclass(frozen=True, eq=False)
class Step:
    """Variables that were taken out alike: ``own[i]`` given ``rest[i]``, for each row i of the stacked tables.

    ``tables``: (stack, the positions of its axes in own + rest). ``plates``: the shape of the plates around them.
    """

    own: tuple[tuple[str, ...], ...]
    rest: tuple[tuple[str, ...], ...]
    tables: tuple[tuple[Any, tuple[int, ...]], ...]
    sizes: tuple[int, ...]
    plates: tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    """Variables with the same neighbours, which are taken out together."""

    own: tuple[str, ...]
    rest: tuple[str, ...]
    tables: tuple[int, ...]


def eliminate(
    tables: Tables,
    variables: Sequence[str],
    plates: tuple[int, ...],
    largest: bool = False,
    steps_wanted: bool = True,
) -> tuple[Tables, list[Step]]:
    """The tables that are left when the variables are summed (``largest``: maximised) out of the product, and how.

    :param plates: the number of elements along each dim of plates.
    :param steps_wanted: whether ``assign`` is to follow. If not, long chains are products of matrices.
    """
    if not (largest or steps_wanted):
        while path := find_chain(tables, variables):
            tables, gone = multiply_chain(tables, path, variables, len(plates))
            variables = [v for v in variables if v not in gone]
    order = {v: i for i, v in enumerate(dict.fromkeys(v for _, names in tables for v in names))}
    sizes = {v: n for array, names in tables for v, n in zip(names, array.shape)}
    given = max([_SMALL_TABLE, *(math.prod(sizes[v] for v in names) for _, names in tables)])
    remaining, steps = list(variables), list[Step]()
    while remaining:
        chosen = _independent(_groups(tables, remaining, order), sizes, given)
        new, taken = Tables(), set[int]()
        for bucket in _alike(chosen, tables):
            step = _step(bucket, tables, sizes, plates)
            steps.append(step)
            out = log_sum_product(step.tables, len(step.own[0]), step.sizes, len(plates), largest)
            new += zip(rows_of(out) if len(bucket) > 1 else [out[0]], step.rest, strict=True)
            taken.update(i for group in bucket for i in group.tables)
        tables = [t for i, t in enumerate(tables) if i not in taken] + new
        gone = {v for group in chosen for v in group.own}
        remaining = [v for v in remaining if v not in gone]
    return tables, steps


def assign(
    steps: Sequence[Step], choose: Callable[[Any, int], Any], values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Values of the variables, in the reverse order of their elimination: each given those that outlived it.

    :param choose: (log weights with the choices along axis 1, number of the step) -> index of a choice.
    """
    found = dict(values or {})
    for number, step in reversed(list(enumerate(steps))):
        count = len(step.own[0])
        weights = jnp.zeros(())
        for stack, axes in step.tables:
            given = [
                (1 + i, _index(step, a - count, found, stack.ndim)) for i, a in enumerate(axes) if a >= count
            ]
            weights = weights + _on_own(_taken(stack, given), axes, count, step)
        shape = (len(step.own), *step.sizes[:count], *step.plates)
        weights = jnp.broadcast_to(weights, shape).reshape((len(step.own), -1, *step.plates))
        picked = jnp.unravel_index(choose(weights, number), step.sizes[:count])
        for row, names in enumerate(step.own):
            found.update({v: picked[i][row] for i, v in enumerate(names)})
    return found


def _groups(tables: Tables, remaining: list[str], order: Mapping[str, int]) -> list[_Group]:
    touching: dict[str, list[int]] = {v: [] for v in remaining}
    for i, (_, names) in enumerate(tables):
        for v in names:
            if v in touching:
                touching[v].append(i)
    around: dict[frozenset[str], list[str]] = {}
    for v, found in touching.items():
        around.setdefault(frozenset().union(*(tables[i][1] for i in found)), []).append(v)
    out = []
    for near, own in around.items():
        own.sort(key=order.__getitem__)
        rest = sorted(near.difference(own), key=order.__getitem__)
        out.append(_Group(tuple(own), tuple(rest), tuple(sorted({i for v in own for i in touching[v]}))))
    return out


def _independent(groups: list[_Group], sizes: Mapping[str, int], given: int) -> list[_Group]:
    """Groups that have no table in common: in their order where results are as small as what was given, or by size."""
    costs = [max(given, math.prod(sizes[v] for v in group.rest)) for group in groups]
    limit = max(4 * given, min(costs))
    chosen, met = list[_Group](), set[int]()
    for cost, group in sorted(zip(costs, groups), key=lambda pair: pair[0]):
        if cost <= limit and met.isdisjoint(group.tables):
            chosen.append(group)
            met.update(group.tables)
    return chosen


def _alike(groups: list[_Group], tables: Tables) -> list[list[_Group]]:
    """The groups whose tables are of the same shapes and stand in the same relation to their variables."""
    out: dict[Any, list[_Group]] = {}
    for group in groups:
        shapes = tuple(
            (axes, tuple(tables[i][0].shape), _dtype(tables[i][0])) for i, axes in _slots(group, tables)
        )
        out.setdefault((len(group.own), len(group.rest), shapes), []).append(group)
    return list(out.values())


def _dtype(array: Any) -> Any:
    return getattr(getattr(array, "stack", array), "dtype", None)


def _slots(group: _Group, tables: Tables) -> list[tuple[int, tuple[int, ...]]]:
    place = {v: i for i, v in enumerate((*group.own, *group.rest))}
    found = [(i, tuple(place[v] for v in tables[i][1])) for i in group.tables]
    return sorted(found, key=lambda slot: (slot[1], tables[slot[0]][0].shape))


def _step(bucket: list[_Group], tables: Tables, sizes: Mapping[str, int], plates: tuple[int, ...]) -> Step:
    slots = [_slots(group, tables) for group in bucket]
    stacks = tuple(
        (stacked([tables[row[j][0]][0] for row in slots]), slots[0][j][1]) for j in range(len(slots[0]))
    )
    first = bucket[0]
    return Step(
        own=tuple(group.own for group in bucket),
        rest=tuple(group.rest for group in bucket),
        tables=stacks,
        sizes=tuple(sizes[v] for v in (*first.own, *first.rest)),
        plates=plates,
    )


def _index(step: Step, place: int, found: Mapping[str, Any], ndim: int) -> Any:
    """The values of the variable at this place of ``rest``, one for each row, with axes as the table's."""
    values = jnp.stack([found[names[place]] for names in step.rest])
    return values.reshape((values.shape[0], *(1,) * (ndim - values.ndim), *values.shape[1:]))


def _taken(stack: Any, given: Sequence[tuple[int, Any]]) -> Any:
    """The entries at the given indices along axes, which stay with size 1."""
    for axis, index in given:
        shape = np.broadcast_shapes(
            tuple(1 if i == axis else n for i, n in enumerate(stack.shape)), index.shape
        )
        table = jnp.broadcast_to(
            stack, tuple(stack.shape[i] if i == axis else n for i, n in enumerate(shape))
        )
        stack = jnp.take_along_axis(table, jnp.broadcast_to(index, shape), axis=axis)
    return stack


def _on_own(table: Any, axes: tuple[int, ...], count: int, step: Step) -> Any:
    """(rows, own variables ..., plates ...) from a table whose other axes have size 1."""
    mine = [i for i in sorted(range(len(axes)), key=axes.__getitem__) if axes[i] < count]
    others = [i for i in range(len(axes)) if axes[i] >= count]
    lead = 1 + len(axes)
    plates = range(lead, table.ndim)
    table = jnp.transpose(table, (0, *(1 + i for i in mine), *plates, *(1 + i for i in others)))
    present = {axes[i] for i in mine}
    own = tuple(step.sizes[a] if a in present else 1 for a in range(count))
    middle = table.shape[1 + len(mine) : table.ndim - len(others)]
    return table.reshape((table.shape[0], *own, *middle))
