"""Rows of a plate that a handler put in: some may only fill up the shape, and nobody may know their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from svijax.base import ModelError, message

DIMS_AHEAD = 4
"""Masks are made once for so many dims, so that all sites of model and guide share one array."""


@dataclass(frozen=True, slots=True, eq=False)
class Padding:
    """Of the rows in play some are no data. ``present``: which are, a vector; ``ratio`` = size / number of these."""

    present: Any
    ratio: Any
    masks: tuple[Any, ...]

    @staticmethod
    def of(present: Any, ratio: Any) -> Padding:
        """With the masks along the dims −1, −2, ... made."""
        return Padding(present, ratio, tuple(_along(present, -1 - i) for i in range(DIMS_AHEAD)))

    def mask(self, dim: int) -> Any:
        """Which elements are there, along ``dim`` of a batch shape."""
        return self.masks[-1 - dim] if -dim <= len(self.masks) else _along(self.present, dim)


def _along(present: Any, dim: int) -> Any:
    return jnp.reshape(present, (*jnp.shape(present), *(1,) * (-1 - dim)))


class UnknownRows:
    """The ``count`` rows in play of a plate, whose numbers nobody said. To use them is an error."""

    dtype = jnp.dtype("int32")

    def __init__(self, plate: str, size: int, count: int) -> None:
        self.plate = plate
        self.size = size
        self.shape = (count,)
        self.ndim = 1

    def __repr__(self) -> str:
        return f"UnknownRows({self.plate!r}, size={self.size}, count={self.shape[0]})"

    def refuse(self, *_: Any, **__: Any) -> NoReturn:
        """:raises ModelError: always."""
        raise ModelError(
            message(
                f"plate {self.plate!r}: something reads which of its {self.size} rows are in play, and its batches do "
                "not say.",
                expected="the row numbers of each batch, where parameters or data over the whole plate are read: "
                "tables of an autoguide's local latents, param(..., event_dim=), subsample, x[indices]",
                got=f"batches of {self.shape[0]} rows without numbers",
                fix="let the loader yield the row numbers too, and name that entry: Batches(loader, ..., rows=); or "
                "use an amortised guide, whose local latents are computed from the batch.",
            )
        )

    # A property: JAX asks for it where it would say less.
    __jax_array__ = property(refuse)
    __array__ = __index__ = __iter__ = __getitem__ = __len__ = refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __floordiv__ = refuse
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = refuse


def as_indices(indices: Any) -> Any:
    """The row numbers, to gather with.

    :raises ModelError: nobody said which they are.
    """
    if isinstance(indices, UnknownRows):
        indices.refuse()
    return indices


def row_count(indices: Any) -> int | None:
    """How many rows there are; None where the indices are no vector."""
    shape = indices.shape if isinstance(indices, UnknownRows | jax.Array) else jnp.shape(indices)
    return int(shape[0]) if len(shape) == 1 else None
