"""A plate over all the data, run on a batch of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.effects import Handler, Padding, PlateIndices, Site, UnknownRows, where


class batch(Handler):
    """The plate named ``plate`` has ``size`` elements, and those in play are the rows of a batch.

    log densities in it are scaled by size / (number of rows), tables of parameters are over all ``size`` elements, and
    ``svijax.subsample(x)`` takes the rows of an x of full length and leaves one of the batch's length. The program may
    state the plate with its batch's length, with ``size``, or with a ``subsample_size``; what ``with plate(...) as i``
    gives numbers the elements that were stated: 0 ... B − 1 of a batch, or the rows of all the data.

    :param size: how many rows there are in all.
    :param rows: numbers of the rows of the batch; None where nobody knows them: what needs them is then an error.
    :param count: how many rows are data, the first ones; the others fill the batch up and are masked. All if None.
    :param length: rows of a batch, where ``rows`` is not given; the plate's stated number of elements if None.
    :param shards: the batch is so many blocks of one length, and the first count / shards rows of each are data.
    :raises ModelError: a model without such a plate, or one whose plate has neither the batch's nor all elements.
    """

    describes_data = True

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        plate: str = "data",
        size: int | None = None,
        rows: Any = None,
        count: Any = None,
        length: int | None = None,
        shards: int = 1,
    ) -> None:
        super().__init__(fn)
        if size is None:
            raise ArgumentError(
                message(
                    f"batch: how many elements does plate {plate!r} have in all?", fix="pass size=, an int."
                )
            )
        self.plate, self.size, self.rows, self.count, self.shards = plate, size, rows, count, shards
        self.length = length if rows is None else int(jnp.shape(rows)[0])
        self._padding: Padding | None = None
        if count is not None and self.length is not None:
            self._padding = _padding(self.length, size, count, shards)
        self._met: dict[str, None] = {}

    def fresh(self) -> batch:
        # One padding for all programs that are called with this batch.
        other = batch(self.fn, self.plate, self.size, self.rows, None, self.length, self.shards)
        other.count, other._padding = self.count, self._padding
        return other

    def process(self, site: Site) -> Site:
        if not isinstance(site, PlateIndices):
            return site
        self._met[site.name] = None
        if site.name != self.plate or site.value is not None:
            return site
        length = site.subsample_size if self.length is None else self.length
        self._check(site, length)
        padding = self._padding
        if padding is None and self.count is not None:
            padding = _padding(length, self.size, self.count, self.shards)
        rows = UnknownRows(self.plate, self.size, length) if self.rows is None else self.rows
        return site.having(size=self.size, subsample_size=length, value=rows, padding=padding)

    def finish(self) -> None:
        met = list(self._met)
        # A guide of global latents need not state the plate.
        if self.plate in met or where() == "guide":
            return
        raise ModelError(
            message(
                f"{where()}: no plate is named {self.plate!r}, so that nothing says what a batch is a part of.",
                expected=f"a plate {self.plate!r} around the sites of the data",
                got=f"plates {met}" if met else "no plate at all",
                fix=f'name the one of the data: Batches(..., plate="{met[0]}").'
                if met
                else f'write `with svijax.plate("{self.plate}", len(x)):` around what is observed.',
            )
        )

    def _check(self, site: PlateIndices, length: int) -> None:
        if site.subsample_size == length or site.subsample_size == site.size == self.size:
            return
        stated = f"size {site.size}"
        if site.subsample_size != site.size:
            stated += f", subsample_size {site.subsample_size}"
        raise ModelError(
            message(
                f"{where()} plate {site.name!r} has another number of elements than its batches.",
                expected=f"{length}, as the batches have, or {self.size}, as all the data",
                got=stated,
                fix=f"take it from the shape of the batch: svijax.plate({site.name!r}, x.shape[0]).",
            )
        )


def _padding(length: int, size: int, count: Any, shards: int) -> Padding:
    places = jnp.arange(length, dtype=jnp.int32) % (length // shards)
    ratio = jnp.asarray(size, jnp.result_type(float)) / count
    return Padding.of(places < jnp.asarray(count) // shards, ratio)
