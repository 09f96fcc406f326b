"""Batches as an iterable of the user's gives them: pass after pass, each checked against the first."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import LoaderError, message

from ._batches import Batches, is_numeric

NARROWED = {
    np.dtype(wide): np.dtype(narrow)
    for wide, narrow in (
        ("float64", "float32"),
        ("int64", "int32"),
        ("uint64", "uint32"),
        ("complex128", "complex64"),
    )
}


class HostBatch(NamedTuple):
    """Arrays of numpy in the structure of a batch, and how many rows they have."""

    leaves: list[np.ndarray]
    structure: Any
    length: int


@dataclass(frozen=True)
class Loader:
    """The batches of an iterable, from the ``skip``-th on. ``wide``: 64-bit numbers stay what they are."""

    batches: Batches
    skip: int = 0
    wide: bool = False

    def __iter__(self) -> Iterator[HostBatch]:
        """:raises LoaderError: a batch that does not fit; what the iterable raises passes as it is."""
        first: HostBatch | None = None
        for number, batch in self._from(self.skip):
            host = self._as_host(batch, number)
            self._check(host, number)
            if first is None:
                first = host
            self._compare(host, first, number)
            yield host
        if first is None and self.skip == 0:
            raise LoaderError(
                message(
                    "the iterable of Batches yields no batch.",
                    got=type(self.batches.data).__name__,
                    fix="check its source; a generator that has been read before is at its end: pass the function that "
                    "makes it.",
                )
            )

    def _from(self, skip: int) -> Iterator[tuple[int, Any]]:
        """(number, batch) of all passes, without the first ``skip``."""
        number, epoch = 0, 0
        while True:
            source = self._open(epoch)
            iterator = iter(source)
            start, rows = number, 0
            try:
                for batch in iterator:
                    if number >= skip:
                        yield number, batch
                    rows += _rows_of(batch)
                    number += 1
            finally:
                close = getattr(iterator, "close", None)
                if callable(close):
                    close()
            if number == start or iterator is self.batches.data:
                return
            self._check_pass(rows)
            epoch += 1
            if self._numbered and number < skip:
                # Passes are alike, and can be made by their number: they need not be read.
                passes = (skip - number) // (number - start)
                number, epoch = number + passes * (number - start), epoch + passes

    @property
    def _numbered(self) -> bool:
        data = self.batches.data
        if hasattr(data, "__iter__"):
            return False
        try:
            return "epoch" in inspect.signature(data).parameters
        except (TypeError, ValueError):  # a callable without a signature takes no epoch by name
            return False

    def _open(self, epoch: int) -> Any:
        data = self.batches.data
        if hasattr(data, "__iter__"):
            return data
        return data(epoch=epoch) if self._numbered else data()

    def _as_host(self, batch: Any, number: int) -> HostBatch:
        batch = tuple(batch) if isinstance(batch, list) else batch
        paths = jax.tree_util.tree_leaves_with_path(batch, is_leaf=lambda x: x is None)
        leaves = []
        for path, leaf in paths:
            array = np.asarray(leaf) if hasattr(leaf, "__array__") else None
            if array is None or array.ndim == 0 or not is_numeric(array.dtype):
                raise LoaderError(
                    message(
                        f"{_place(number, path)} is no array of rows.",
                        expected="numbers with the rows on the first axis",
                        got=f"{leaf!r}, a {type(leaf).__name__}"
                        if array is None
                        else f"shape {array.shape}, {array.dtype}",
                        fix="let the loader yield arrays only: one, a tuple or a dictionary of them.",
                    )
                )
            narrow = array.dtype if self.wide else NARROWED.get(array.dtype, array.dtype)
            leaves.append(array.astype(narrow, copy=False))
        counts = {_name(path): len(x) for (path, _), x in zip(paths, leaves, strict=True)}
        if len(set(counts.values())) > 1:
            raise LoaderError(
                message(
                    f"batch {number} of the loader: its arrays have different numbers of rows.",
                    expected="one length of all first axes",
                    got=", ".join(f"batch{name}: {n}" for name, n in counts.items()),
                )
            )
        return HostBatch(leaves, jax.tree.structure(batch), next(iter(counts.values()), 0))

    def _check(self, host: HostBatch, number: int) -> None:
        size = self.batches.size
        if not 1 <= host.length <= size:
            raise LoaderError(
                message(
                    f"batch {number} of the loader has {host.length} rows.",
                    expected=f"1 to {size}, as Batches(size={size}) says",
                    got=host.length,
                    fix=f"give the loader batch_size={size}, or Batches size={host.length}."
                    if host.length
                    else "leave empty batches out.",
                )
            )
        if self.batches.rows is not None:
            self._check_rows(host, number)

    def _check_rows(self, host: HostBatch, number: int) -> None:
        entry, total = self.batches.rows, self.batches.length
        batch = jax.tree.unflatten(host.structure, host.leaves)
        known = list(batch) if isinstance(batch, Mapping) else list(range(len(batch)))
        if not isinstance(batch, tuple | Mapping) or entry not in known:
            raise LoaderError(
                message(
                    f"batch {number} of the loader has no entry {entry!r}, which Batches(rows=) names.",
                    expected=f"one of {known}"
                    if isinstance(batch, tuple | Mapping)
                    else "a tuple or dictionary",
                    got=f"rows={entry!r}",
                )
            )
        rows = batch[entry]  # type: ignore[index]
        if not (isinstance(rows, np.ndarray) and rows.ndim == 1 and jnp.issubdtype(rows.dtype, jnp.integer)):
            raise LoaderError(
                message(
                    f"batch {number} of the loader: entry {entry!r} holds no row numbers.",
                    expected=f"integers of shape ({host.length},)",
                    got=f"shape {rows.shape}, {rows.dtype}"
                    if isinstance(rows, np.ndarray)
                    else type(rows).__name__,
                )
            )
        if rows.min() < 0 or rows.max() >= total:
            raise LoaderError(
                message(
                    f"batch {number} of the loader: a row number is out of range.",
                    expected=f"0 to {total - 1}, as total={total} says",
                    got=f"{rows.min()} to {rows.max()}",
                )
            )

    def _compare(self, host: HostBatch, first: HostBatch, number: int) -> None:
        if host.structure != first.structure:
            raise LoaderError(
                message(
                    f"batch {number} of the loader has another structure than the first one.",
                    expected=first.structure,
                    got=host.structure,
                    fix="let the loader yield the same entries in each batch.",
                )
            )
        paths = jax.tree_util.tree_leaves_with_path(jax.tree.unflatten(host.structure, host.leaves))
        for (path, x), like in zip(paths, first.leaves, strict=True):
            if x.shape[1:] != like.shape[1:] or x.dtype != like.dtype:
                raise LoaderError(
                    message(
                        f"{_place(number, path)} is unlike that of the first batch.",
                        expected=f"rows of shape {like.shape[1:]}, {like.dtype}",
                        got=f"rows of shape {x.shape[1:]}, {x.dtype}",
                        fix="let the loader yield one shape and dtype.",
                    )
                )

    def _check_pass(self, rows: int) -> None:
        if rows > self.batches.length:
            raise LoaderError(
                message(
                    "the loader yields more rows in one pass than there are in all.",
                    expected=f"at most total={self.batches.length}",
                    got=f"{rows} rows",
                    fix="set total= to the number of rows of the data set.",
                )
            )


def _rows_of(batch: Any) -> int:
    leaves = jax.tree.leaves(batch)
    shape = np.shape(leaves[0]) if leaves and hasattr(leaves[0], "shape") else ()
    return shape[0] if shape else 0


def _place(number: int, path: Any) -> str:
    return f"batch {number} of the loader: batch{_name(path)}"


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path)
