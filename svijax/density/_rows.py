"""Arrays that are kept as rows of one stack, so that many alike are computed with in one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, eq=False)
class Row:
    """``stack[index]``, not taken out yet."""

    stack: Any
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stack.shape[1:])


def array_of(x: Any) -> Any:
    """The array itself."""
    return x.stack[x.index] if isinstance(x, Row) else x


def rows_of(stack: Any) -> list[Row]:
    """The rows of a stack."""
    return [Row(stack, i) for i in range(stack.shape[0])]


def stacked(arrays: Sequence[Any]) -> Any:
    """The arrays, of one shape, along a new leading axis; rows of one stack are taken out together."""
    parts, start = [], 0
    while start < len(arrays):
        stop = start + 1
        while stop < len(arrays) and _together(arrays[start], arrays[stop]):
            stop += 1
        parts.append(_block(arrays[start:stop]))
        start = stop
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _together(a: Any, b: Any) -> bool:
    if isinstance(a, Row) and isinstance(b, Row):
        return a.stack is b.stack
    return not isinstance(a, Row) and not isinstance(b, Row)


def _block(arrays: Sequence[Any]) -> Any:
    if not isinstance(arrays[0], Row):
        return arrays[0][None] if len(arrays) == 1 else jnp.stack(arrays)
    stack, index = arrays[0].stack, np.array([a.index for a in arrays])
    if len(index) == 1:
        return stack[index[0] : index[0] + 1]
    step = index[1] - index[0]
    if step > 0 and (np.diff(index) == step).all():
        return stack if len(index) == stack.shape[0] else stack[index[0] : index[-1] + 1 : step]
    return stack[index]
