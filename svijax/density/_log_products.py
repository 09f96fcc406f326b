"""log Σ exp of sums of tables: exact in all cases, by matrix products of real numbers where that pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# From so many terms on a sum is a matrix product of exponentials, if it is one in form.
_MANY_TERMS = 1 << 14


def log_sum_exp(x: Any, axes: tuple[int, ...]) -> Any:
    """log Σ exp(x) over the axes; −inf, with derivative 0, where all terms are."""
    if not axes:
        return x
    top = jax.lax.stop_gradient(jnp.max(x, axis=axes, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, jnp.zeros((), top.dtype))
    return log_of(jnp.sum(jnp.exp(x - top), axis=axes), jnp.squeeze(top, axes))


def log_sum_product(
    tables: Sequence[tuple[Any, tuple[int, ...]]],
    count: int,
    sizes: tuple[int, ...],
    nesting: int,
    largest: bool = False,
) -> Any:
    """log Σ exp of the sum of the tables, over the first ``count`` variables; ``largest``: the largest term.

    :param tables: (array, the variables of its axes after the first); the first axis is of rows, the last ``nesting``
        ones are of plates. :param sizes: of all variables.
    """
    own = tuple(range(1, 1 + count))
    if largest:
        return jnp.max(_full(_summed(tables, sizes, nesting), count, sizes), axis=own)
    sides = _sides(tables, count)
    if sides is None:
        return log_sum_exp(_full(_summed(tables, sizes, nesting), count, sizes), own)
    left, right = (_full(_summed([tables[i] for i in side], sizes, nesting), count, sizes) for side in sides)
    terms = math.prod(max(a, b) for a, b in zip(left.shape, right.shape))
    if terms < _MANY_TERMS or math.prod(sizes[:count]) < 4:
        return log_sum_exp(left + right, own)
    return _log_matmul(left, right, count, nesting)


def _summed(tables: Sequence[tuple[Any, tuple[int, ...]]], sizes: tuple[int, ...], nesting: int) -> Any:
    """Σ tables, each with an axis for every variable, of size 1 where it does not depend on it."""
    result = None
    for array, axes in tables:
        order = sorted(range(len(axes)), key=axes.__getitem__)
        last = range(array.ndim - nesting, array.ndim)
        moved = jnp.transpose(array, (0, *(1 + i for i in order), *last))
        shape = tuple(n if v in axes else 1 for v, n in enumerate(sizes))
        moved = moved.reshape((array.shape[0], *shape, *array.shape[array.ndim - nesting :]))
        result = moved if result is None else result + moved
    return result


def _full(table: Any, count: int, sizes: tuple[int, ...]) -> Any:
    """With its own variables in their whole size: a sum over them has as many terms."""
    return jnp.broadcast_to(table, (table.shape[0], *sizes[:count], *table.shape[1 + count :]))


def _sides(tables: Sequence[tuple[Any, tuple[int, ...]]], count: int) -> tuple[list[int], list[int]] | None:
    """The tables in two heaps that share no variable but the first ``count``; None if there are no two such."""
    heaps: list[tuple[set[int], list[int]]] = []
    alone = []
    for i, (_, axes) in enumerate(tables):
        rest, mine = {a for a in axes if a >= count}, [i]
        if not rest:
            alone.append(i)
            continue
        apart = []
        for names, members in heaps:
            if names & rest:
                rest, mine = rest | names, members + mine
            else:
                apart.append((names, members))
        heaps = [*apart, (rest, mine)]
    if len(heaps) < 2:
        return None
    first, *others = [sorted(members) for _, members in sorted(heaps, key=lambda heap: min(heap[1]))]
    return first + alone, [i for members in others for i in members]


def _log_matmul(left: Any, right: Any, count: int, nesting: int) -> Any:
    """log Σ_z exp(left(x, z) + right(z, y)): a real matrix product, shifted by the largest term of each row.

    Where the shifts are so far apart that a sum underflows, all is summed in log space instead.
    """
    a, rows = _as_matrix(left, count, nesting)
    b, columns = _as_matrix(right, count, nesting)
    top_a, top_b = (jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True)) for x in (a, b))
    shift_a, shift_b = (jnp.where(jnp.isfinite(t), t, jnp.zeros((), t.dtype)) for t in (top_a, top_b))
    sums = jnp.matmul(jnp.exp(a - shift_a), jnp.swapaxes(jnp.exp(b - shift_b), -1, -2), precision="highest")
    other = jnp.swapaxes(shift_b, -1, -2)
    fast = _restored(log_of(sums, shift_a + other), rows, columns, nesting)
    info = jnp.finfo(sums.dtype)
    floor = a.shape[-1] * float(info.tiny) / float(info.eps)
    empty = (top_a == -jnp.inf) | (jnp.swapaxes(top_b, -1, -2) == -jnp.inf)
    safe = jnp.all((sums >= floor) | empty | jnp.isnan(sums))
    own = tuple(range(1, 1 + count))
    slow = jax.checkpoint(lambda x, y: log_sum_exp(x + y, own))
    return jax.lax.cond(safe, lambda x, y: fast, slow, left, right)


def _as_matrix(table: Any, count: int, nesting: int) -> tuple[Any, tuple[int, ...]]:
    """((row, plates ..., other variables, own variables), the sizes of the others)."""
    lead = table.ndim - nesting
    others = tuple(range(1 + count, lead))
    order = (0, *range(lead, table.ndim), *others, *range(1, 1 + count))
    shape = tuple(table.shape[i] for i in others)
    moved = jnp.transpose(table, order)
    own = math.prod(table.shape[1 : 1 + count])
    return moved.reshape((*moved.shape[: 1 + nesting], math.prod(shape), own)), shape


def _restored(matrix: Any, rows: tuple[int, ...], columns: tuple[int, ...], nesting: int) -> Any:
    """(row, other variables ..., plates ...) from (row, plates ..., those of the rows, those of the columns)."""
    n = len(rows)
    split = matrix.reshape((*matrix.shape[: 1 + nesting], *rows, *columns))
    first = 1 + nesting
    # Each variable is one of the two sides', where the other's axis has size 1.
    pairs = [x for i in range(n) for x in (first + i, first + n + i)]
    moved = jnp.transpose(split, (0, *pairs, *range(1, first)))
    shape = tuple(max(r, c) for r, c in zip(rows, columns))
    return moved.reshape((matrix.shape[0], *shape, *matrix.shape[1:first]))


def log_of(sums: Any, shift: Any) -> Any:
    """log(sums) + shift; −inf, with derivative 0, where the sum is 0."""
    empty = sums == 0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1.0, sums)) + shift)
