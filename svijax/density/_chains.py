"""Chains of variables: the product of many matrices in log space, pairwise like a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._log_products import log_of, log_sum_exp
from ._rows import array_of, stacked

Tables = list[tuple[Any, tuple[str, ...]]]

# Shorter ones are reduced like any other product.
_LONG = 8
_FAN = 32


def find_chain(tables: Tables, variables: Sequence[str]) -> list[str]:
    """A longest path of variables, the inner ones in tables with their two neighbours only; empty if it is short."""
    around: dict[str, set[str]] = {v: set() for v in variables}
    wide = {v for _, names in tables if len(names) > 2 for v in names}
    for _, names in tables:
        for v in names:
            if v in around:
                around[v].update(u for u in names if u != v)
    size = {v: n for array, names in tables for v, n in zip(names, array.shape)}
    inner = {
        v
        for v, near in around.items()
        if v not in wide and len(near) == 2 and all(size[u] == size[v] for u in near)
    }
    best: list[str] = []
    seen: set[str] = set()
    for v in inner:
        if v in seen:
            continue
        path = _path(v, around, inner)
        seen.update(path)
        if len(path) > len(best):
            best = path
    return best if len(best) >= _LONG and best[0] != best[-1] else []


def _path(start: str, around: Mapping[str, set[str]], inner: set[str]) -> list[str]:
    sides = []
    for first in sorted(around[start]):
        side, before, v = [first], start, first
        while v in inner and v != start:
            before, v = v, next(u for u in around[v] if u != before)
            side.append(v)
        sides.append(side)
    if sides[0][-1] == start:
        return []  # a ring
    return [*sides[0][::-1], start, *sides[1]]


def multiply_chain(
    tables: Tables, path: Sequence[str], variables: Sequence[str], nesting: int
) -> tuple[Tables, set[str]]:
    """(the tables with variables of the path summed out, these variables): the inner ones, and an end if it is free.

    An end is free if it is one of the variables, and only the path reads it.
    """
    free = [v for v in (path[0], path[-1]) if v in variables and _is_free(v, tables, path)]
    if free and free[0] == path[-1]:
        path = path[::-1]
    place = {v: i for i, v in enumerate(path)}
    links: list[list[int]] = [[] for _ in path]
    others = Tables()
    for i, (array, names) in enumerate(tables):
        spots = [place[v] for v in names if v in place]
        on_path = len(spots) == len(names) > 0 and (len(spots) == 1 or abs(spots[0] - spots[1]) == 1)
        if on_path and (max(spots) > 0 or free):
            links[max(spots)].append(i)
        else:
            others.append((array, names))
    chain = _links(tables, links[1:], place, nesting)
    if not free:
        product = log_chain_product(chain)
        return [*others, (jnp.moveaxis(product, (-2, -1), (0, 1)), (path[0], path[-1]))], set(path[1:-1])
    start = jnp.zeros((*(1,) * nesting, 1, chain.shape[-2]), chain.dtype)
    for i in links[0]:
        start = start + _square(array_of(tables[i][0])[None], (1,), nesting)[0]
    message = log_chain_product(chain, start)
    return [*others, (jnp.moveaxis(message[..., 0, :], -1, 0), (path[-1],))], set(path[:-1])


def _is_free(v: str, tables: Tables, path: Sequence[str]) -> bool:
    return all(
        v not in names or set(names) <= set(path[:2]) | {v} or set(names) <= set(path[-2:])
        for _, names in tables
    )


def _links(tables: Tables, links: Sequence[Sequence[int]], place: Mapping[str, int], nesting: int) -> Any:
    """(link, plates ..., before, after): for each link of the chain, the sum of its tables."""
    found: dict[Any, list[int]] = {}
    slots: list[list[tuple[int, tuple[int, ...]]]] = []
    for j, members in enumerate(links):
        row = [(i, tuple(place[v] - j for v in tables[i][1])) for i in members]
        slots.append(sorted(row, key=lambda slot: (slot[1], tables[slot[0]][0].shape)))
        found.setdefault(tuple((axes, tables[i][0].shape) for i, axes in slots[j]), []).append(j)
    stacks, order = [], list[int]()
    for alike in found.values():
        parts = [
            _square(stacked([tables[slots[j][k][0]][0] for j in alike]), slots[alike[0]][k][1], nesting)
            for k in range(len(slots[alike[0]]))
        ]
        stacks.append(sum(parts[1:], parts[0]))
        order += alike
    inner = np.broadcast_shapes(*(stack.shape[1:] for stack in stacks))
    stacks = [jnp.broadcast_to(stack, (stack.shape[0], *inner)) for stack in stacks]
    chain = stacks[0] if len(stacks) == 1 else jnp.concatenate(stacks)
    return chain if order == sorted(order) else chain[np.argsort(order)]


def _square(stack: Any, axes: tuple[int, ...], nesting: int) -> Any:
    """(row, plates ..., before, after) from a table of one or both of these variables."""
    lead = stack.ndim - nesting
    where = {axis: 1 + i for i, axis in enumerate(axes)}
    moved = jnp.transpose(stack, (0, *range(lead, stack.ndim), *(where[a] for a in (0, 1) if a in where)))
    sizes = [stack.shape[where[a]] if a in where else 1 for a in (0, 1)]
    return moved.reshape((*moved.shape[: 1 + nesting], *sizes))


class _Block(NamedTuple):
    """Products of matrices: exp(column_j) matrix_ij, where it is not 0 in truth, and whether no digits were lost."""

    matrix: Any
    column: Any
    reach: Any
    safe: Any


def log_chain_product(tables: Any, start: Any = None) -> Any:
    """log of the product of the matrices exp(tables[i]), their two last dims; of exp(start) with it, if that is given.

    A tree whose nodes have ``_FAN`` branches, so O(log n) deep, and for each level one loop to compile. With a start
    that is one row, a CPU is faster from row to row: it has no use for the width of the tree.
    """
    if start is None:
        return _tree(tables)
    return jax.lax.platform_dependent(tables, start, cpu=_one_after_another, default=_tree)


def _tree(tables: Any, start: Any = None) -> Any:
    """Matrices are kept as exp(c_j) P_ij with the largest entry of each column of P at 1, so that a factor of the later
    variable alone costs no digits. Where an entry of a product underflows that is not 0 in truth, all is multiplied one
    after another in log space instead.
    """
    top = _finite(jnp.max(tables, axis=-2, keepdims=True))
    reach = jax.lax.stop_gradient((tables > -jnp.inf).astype(tables.dtype))
    block = _Block(jnp.exp(tables - top), top, reach, jnp.ones(tables.shape[0], bool))
    while block.matrix.shape[0] > 1:
        block = _level(block)
    fast = log_of(block.matrix[0], block.column[0])
    if start is not None:
        fast = log_sum_exp(start[..., :, :, None] + fast[..., None, :, :], (fast.ndim - 1,))
    slow = jax.checkpoint(lambda x: _one_after_another(x, start))
    return jax.lax.cond(block.safe[0], lambda x: fast, slow, tables)


def _level(block: _Block) -> _Block:
    """Runs of at most ``_FAN`` neighbours multiplied, all runs at once."""
    n = block.matrix.shape[0]
    runs = -(-n // _FAN)
    length = -(-n // runs)
    eye = jnp.eye(block.matrix.shape[-1], dtype=block.matrix.dtype)
    none = _Block(eye, jnp.zeros((), eye.dtype), eye, jnp.ones((), bool))

    def split(x: Any, neutral: Any) -> Any:
        ends = jnp.broadcast_to(neutral, (runs * length - n, *x.shape[1:]))
        whole = x if runs * length == n else jnp.concatenate([x, ends])
        return jnp.swapaxes(whole.reshape((runs, length, *x.shape[1:])), 0, 1)

    parts = _Block(*(split(x, y) for x, y in zip(block, none, strict=True)))
    first, rest = (jax.tree.map(lambda x: x[0], parts), jax.tree.map(lambda x: x[1:], parts))
    return jax.lax.scan(lambda a, b: (_product(a, b), None), first, rest)[0]


def _product(a: _Block, b: _Block) -> _Block:
    most = _finite(jnp.max(a.column, axis=-1, keepdims=True))
    matrix = jnp.matmul(a.matrix * jnp.exp(a.column - most), b.matrix, precision="highest")
    reach = jnp.minimum(jnp.matmul(a.reach, b.reach), 1.0)
    info = jnp.finfo(matrix.dtype)
    lost = (reach > 0) & (matrix < matrix.shape[-1] * float(info.tiny) / float(info.eps))
    safe = a.safe & b.safe & ~jnp.any(lost, axis=tuple(range(1, matrix.ndim)))
    largest = jax.lax.stop_gradient(jnp.max(matrix, axis=-2, keepdims=True))
    largest = jnp.where(largest > 0, largest, 1.0)
    return _Block(matrix / largest, b.column + most + jnp.log(largest), reach, safe)


def _one_after_another(tables: Any, start: Any = None) -> Any:
    """The same from the first matrix to the last, in log space: exact whatever the entries."""

    def step(carry: Any, table: Any) -> tuple[Any, None]:
        return log_sum_exp(carry[..., :, :, None] + table[..., None, :, :], (carry.ndim - 1,)), None

    first, rest = (tables[0], tables[1:]) if start is None else (start, tables)
    shape = np.broadcast_shapes(first.shape[:-2], tables.shape[1:-2])
    return jax.lax.scan(step, jnp.broadcast_to(first, (*shape, *first.shape[-2:])), rest)[0]


def _finite(x: Any) -> Any:
    x = jax.lax.stop_gradient(x)
    return jnp.where(jnp.isfinite(x), x, jnp.zeros((), x.dtype))
