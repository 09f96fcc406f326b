"""Minibatches for a run: of arrays on the device, or read from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, DataError, ShapeError, message
from svijax.objectives import check_count

from ._order import check_order


@dataclass(frozen=True, eq=False)
class Batches:
    """Each step of a run on ``size`` rows of the data: ``svi.run(key, num_steps, batches=Batches((x, y), 128))``.

    Arrays are shuffled anew in each epoch and their rows gathered on the device. Each row is met once an epoch; where
    ``size`` does not divide their number, the last batch is filled up with rows that are masked, and the scale of the
    others is N / (rows that are data). The estimate of each step is unbiased for all the data; over an epoch the mean,
    each step weighed by its rows, is that of all the data.

    An iterable of batches (a loader, a list, a function that makes a generator for each epoch) is read in a thread of
    its own, one group of batches ahead. One that can be iterated again is, epoch by epoch; else the run ends with it.
    Its order is its own business, and its batches are all of the same structure, dtypes and shapes, none longer than
    ``size``; shorter ones are filled up and masked as above. A function with a parameter ``epoch`` gets its number.

    :param data: an array; a tuple of arrays for positional arguments, before those of run; a dictionary for keywords;
        all of one length. Or an iterable of such batches, or a function without arguments that makes an iterator.
    :param size: rows of a batch. :param plate: the name of the plate over the rows, in model and guide.
    :param total: N, the rows of all the data, which an iterable does not tell.
    :param transform: ``transform(key, batch) -> batch`` inside the compiled step, with a key for each step: random
        binarisation, augmentation. It keeps the number of rows.
    :param shuffle: of arrays; False for their own order. :param shards: the arrays lie in so many blocks of one length
        on as many devices, and each batch takes the same number of rows from each.
    :param rows: the entry (position or keyword) of an iterable's batches that holds the numbers of their rows, which
        the programs do not see. Needed where parameters belong to rows, as those of an autoguide's local latents do.
    :raises ArgumentError: options that do not fit. :raises DataError: no rows, or arrays of several lengths.
    """

    data: Any
    size: int
    plate: str = "data"
    total: int | None = None
    transform: Callable[[jax.Array, Any], Any] | None = None
    shuffle: bool = True
    shards: int = 1
    rows: int | str | None = None

    def __post_init__(self) -> None:
        check_count("size", self.size)
        check_count("shards", self.shards)
        if self.transform is not None and not callable(self.transform):
            raise ArgumentError(
                message("Batches: transform is a function of (key, batch).", got=repr(self.transform))
            )
        if not self.in_memory:
            self._check_stream()
            return
        arrays = jax.tree.map(as_host_or_device, self.data)
        object.__setattr__(self, "data", arrays)
        _check_arrays(arrays)
        self._check_options()
        self.check_transform(arrays)

    @property
    def in_memory(self) -> bool:
        """Whether the data are arrays, and no iterable of batches."""
        return isinstance(self.data, tuple | Mapping) or hasattr(self.data, "__array__")

    @property
    def length(self) -> int:
        """N: the rows of all the data."""
        if not self.in_memory:
            return int(self.total)  # type: ignore[arg-type]
        return int(jnp.shape(jax.tree.leaves(self.data)[0])[0])

    @property
    def steps_per_epoch(self) -> int:
        """ceil(N / size)."""
        return -(-self.length // self.size)

    def check_transform(self, batch: Any) -> None:
        """Raise unless the transform keeps the number of rows. ``batch``: arrays like those of a batch, of any length.

        The transform is evaluated abstractly.
        """
        if self.transform is None:
            return
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (self.size, *jnp.shape(x)[1:]), jax.dtypes.canonicalize_dtype(x.dtype)
            ),
            batch,
        )
        key = jax.eval_shape(lambda: jax.random.key(0))
        found = jax.eval_shape(self.transform, key, like)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found):
            if leaf.shape[:1] != (self.size,):
                raise ShapeError(
                    message(
                        f"Batches: transform changes the number of rows at batch{jax.tree_util.keystr(path)}.",
                        expected=f"({self.size}, ...)",
                        got=leaf.shape,
                        fix="keep the first axis, one entry for each row.",
                    )
                )

    def _check_options(self) -> None:
        length = self.length
        if self.total is not None and self.total != length:
            raise ArgumentError(
                message(
                    "Batches: total is the number of rows, which arrays tell themselves.",
                    expected=length,
                    got=f"total={self.total}",
                    fix="leave total out.",
                )
            )
        if self.rows is not None:
            raise ArgumentError(
                message(
                    "Batches: the rows of arrays are numbered by their place; rows= is for iterables.",
                    got=f"rows={self.rows!r}",
                    fix="leave rows out.",
                )
            )
        self._check_size(length)
        check_order(length, self.size, self.shards)

    def _check_stream(self) -> None:
        kind = type(self.data).__name__
        if not (hasattr(self.data, "__iter__") or callable(self.data)) or isinstance(self.data, str):
            raise ArgumentError(
                message(
                    "Batches takes arrays or an iterable of batches.",
                    expected="an array, a tuple or dictionary of arrays, an iterable, or a function that makes one",
                    got=f"{self.data!r}, a {kind}",
                )
            )
        if self.total is None:
            hint = " Arrays go into a tuple: Batches((x, y), ...)." if isinstance(self.data, list) else ""
            raise ArgumentError(
                message(
                    f"Batches: an iterable ({kind}) does not tell how many rows there are in all.",
                    expected="total=N, by which batches are scaled",
                    got="total=None",
                    fix=f"pass total=, e.g. len(dataset).{hint}",
                )
            )
        check_count("total", self.total)
        self._check_size(int(self.total))
        if self.size % self.shards:
            raise ArgumentError(
                message(
                    "Batches: the shards do not divide a batch.",
                    expected=f"a size that is a multiple of {self.shards}",
                    got=self.size,
                )
            )

    def _check_size(self, length: int) -> None:
        if self.size > length:
            raise ArgumentError(
                message(
                    "Batches: a batch has more rows than there are.",
                    expected=f"size <= {length}",
                    got=f"size={self.size}",
                    fix=f"take size={length}, or run without batches.",
                )
            )


def as_host_or_device(leaf: Any) -> Any:
    """The leaf as an array of numpy or JAX."""
    if isinstance(leaf, jax.Array | np.ndarray) or not hasattr(leaf, "__array__"):
        return leaf
    return np.asarray(leaf)


def is_numeric(dtype: Any) -> bool:
    """Whether JAX computes with such numbers."""
    dtype = np.dtype(dtype)
    return dtype.kind == "b" or bool(jnp.issubdtype(dtype, jnp.number))


def _check_arrays(arrays: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(arrays, is_leaf=lambda x: x is None)
    if not leaves:
        raise DataError(
            message(
                "Batches: there are no arrays in the data.",
                got=repr(arrays),
                fix="pass Batches((x, y), size).",
            )
        )
    for path, leaf in leaves:
        numeric = isinstance(leaf, jax.Array | np.ndarray) and (
            isinstance(leaf, jax.core.Tracer) or is_numeric(leaf.dtype)
        )
        if not numeric or jnp.ndim(leaf) == 0:
            got = f"shape (), {leaf.dtype}" if numeric else _kind(leaf)
            raise DataError(
                message(
                    f"Batches: data{jax.tree_util.keystr(path)} is no array of rows.",
                    expected="numbers with the rows on the first axis",
                    got=got,
                    fix="pass what is no data to run itself: svi.run(key, num_steps, *args, batches=...).",
                )
            )
    lengths = {jax.tree_util.keystr(path): jnp.shape(leaf)[0] for path, leaf in leaves}
    if len(set(lengths.values())) > 1:
        raise DataError(
            message(
                "Batches: the arrays have different numbers of rows.",
                expected="one length of all first axes",
                got=", ".join(f"data{name}: {n}" for name, n in lengths.items()),
                fix="pass what is no row of the data to run itself: svi.run(key, num_steps, *args, batches=...).",
            )
        )
    if 0 in lengths.values():
        raise DataError(
            message("Batches: the data have no rows.", expected="one row at least", got="length 0")
        )


def _kind(leaf: Any) -> str:
    return (
        f"an array of {leaf.dtype}" if isinstance(leaf, np.ndarray) else f"{leaf!r}, a {type(leaf).__name__}"
    )
