"""One file for a pytree of arrays: a zip of .npy entries under the names of their paths, and a JSON header.

No pickle. Each entry has the CRC-32 of a zip, so a file that was cut off or damaged is found. ``numpy.load`` opens it
too; dtypes that NumPy lacks (bfloat16, float8, int4) lie there as unsigned integers of the same bits.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path, tree_structure

from svijax.base import ArgumentError, CheckpointError, DamagedCheckpointError, message

from ._replacing import PathLike, replacing
from ._structure import describe, differences

FORMAT, VERSION = "svijax", 1
HEADER = "header.json"
SHOWN = 12
"""Most differences that an error lists."""

NO_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, KeyError)
"""What ``zipfile`` raises on damaged files."""

Scalar = bool | int | float | complex


@dataclass(frozen=True)
class Entry:
    """One leaf on the host. ``dtype``, ``shape``: the leaf's; ``key_impl``: of a typed key, whose data ``value`` is."""

    value: np.ndarray
    dtype: str
    shape: tuple[int, ...]
    key_impl: str | None = None

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def save(path: PathLike, tree: Any, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a pytree of arrays to one file, atomically: whoever looks sees the old file or the new one, whole.

    ``metadata``: what else the file shall tell, in words of JSON. Of arrays that lie on several processes each of these
    calls this, and the first one writes.

    :raises ArgumentError: a leaf is no array, or the metadata is not JSON.
    :raises CheckpointError: the file cannot be written.
    """
    found = entries(tree)
    several = any(isinstance(x, jax.Array) and not x.is_fully_addressable for x in jax.tree.leaves(tree))
    if not several or jax.process_index() == 0:
        write(path, found, describe(tree), metadata or {})


def restore(path: PathLike, like: Any = None) -> Any:
    """The pytree of a file. ``like``: a tree of its structure, of arrays or of ``jax.ShapeDtypeStruct``.

    Arrays come to the default device, or with the shardings of ``like``; where ``like`` has NumPy arrays or Python
    numbers, as such. Without ``like``: a dictionary of NumPy arrays by name; typed keys are their key data there.

    :raises CheckpointError: the file is of something else; the lines of the message say what differs.
    :raises DamagedCheckpointError: it is truncated, damaged, or not svijax's.
    """
    header, found = read(path)
    if like is None:
        return {name: entry.value for name, entry in found.items()}
    return fitted(path, header, found, like)


def read_metadata(path: PathLike) -> dict[str, Any]:
    """What was given to ``save`` as ``metadata``."""
    with _opened(path) as archive:
        return _header(path, archive)["metadata"]


def entries(tree: Any, copy: bool = False) -> dict[str, Entry]:
    """name ↦ leaf on the host; ``copy``: in memory of its own, whatever happens to the tree."""
    leaves = [(keystr(keys), leaf) for keys, leaf in tree_leaves_with_path(tree)]
    found: dict[str, Entry] = {}
    for name, leaf in leaves:
        if name in found:
            raise ArgumentError(f"two leaves of the tree have the same name {name!r}.")
        found[name] = _entry(name, leaf, copy)
    return found


def _entry(name: str, leaf: Any, copy: bool) -> Entry:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | Scalar) or isinstance(
        leaf, jax.core.Tracer
    ):
        raise ArgumentError(
            message(
                f"a leaf of the tree is no array: {name!r}.",
                expected="arrays and numbers",
                got=type(leaf).__name__,
                fix="save outside of jit and vmap, and give texts and the like as metadata=.",
            )
        )
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _whole(jax.random.key_data(leaf))
        return Entry(np.array(data), str(leaf.dtype), leaf.shape, str(jax.random.key_impl(leaf)))
    value = np.array(_whole(leaf)) if copy else np.asarray(_whole(leaf))
    if value.dtype.isbuiltin != 2 and value.dtype.kind not in "biufc":
        raise ArgumentError(f"a leaf of the tree is no array of numbers: {name!r} is of dtype {value.dtype}.")
    return Entry(value, value.dtype.name, value.shape)


def _whole(leaf: Any) -> Any:
    """All of an array of which other processes hold parts."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if leaf.is_fully_replicated:
        return leaf.addressable_data(0)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def write(
    path: PathLike, found: Mapping[str, Entry], structure: Mapping[str, Any], metadata: Mapping[str, Any]
) -> None:
    """Write entries, the structure of their tree, and metadata."""
    rows = {n: {"dtype": e.dtype, "shape": e.shape, "key_impl": e.key_impl} for n, e in found.items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "arrays": rows,
        "structure": structure,
        "metadata": metadata,
    }
    try:
        text = json.dumps(header, indent=1)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            message(
                "metadata= holds something that JSON has no word for.",
                got=str(error),
                fix="give texts, numbers, lists and dictionaries; arrays belong into the tree.",
            )
        ) from error
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), text)
        for name, entry in found.items():
            value = entry.value
            bits = value.view(f"u{value.dtype.itemsize}") if value.dtype.isbuiltin == 2 else value
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as place:
                np.lib.format.write_array(place, bits, allow_pickle=False)


def read(path: PathLike) -> tuple[dict[str, Any], dict[str, Entry]]:
    """(header, entries) of a whole file."""
    with _opened(path) as archive:
        header = _header(path, archive)
        found = {}
        for name, row in header["arrays"].items():
            raw = np.load(io.BytesIO(archive.read(name + ".npy")), allow_pickle=False)
            value = raw if row["key_impl"] or raw.dtype.name == row["dtype"] else raw.view(row["dtype"])
            found[name] = Entry(value, row["dtype"], tuple(row["shape"]), row["key_impl"])
        return header, found


@contextmanager
def _opened(path: PathLike) -> Iterator[zipfile.ZipFile]:
    """The archive; what damage raises is one error, whatever it met."""
    place = os.fspath(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            try:
                with zipfile.ZipFile(file) as archive:
                    yield archive
            except CheckpointError:
                raise
            except (*NO_ZIP, OSError) as error:
                if start.strip(b"\0") and start != b"PK\3\4":
                    raise _foreign(place, f"its first bytes are {start!r}") from error
                size = os.fstat(file.fileno()).st_size
                raise DamagedCheckpointError(
                    message(
                        f"the checkpoint {place!r} is truncated or damaged.",
                        got=f"{size} bytes; {type(error).__name__}: {error}",
                        fix="use an earlier one; run(checkpoint=...) does so with on_damaged='previous'.",
                    )
                ) from error
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {place!r}.") from error
    except OSError as error:
        raise CheckpointError(
            message(f"the checkpoint {place!r} cannot be read.", got=f"{type(error).__name__}: {error}")
        ) from error


def _header(path: PathLike, archive: zipfile.ZipFile) -> dict[str, Any]:
    if HEADER not in archive.namelist():
        raise _foreign(os.fspath(path), f"a zip without {HEADER}")
    header = json.loads(archive.read(HEADER))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _foreign(os.fspath(path), f"a zip with another {HEADER}")
    if header["version"] != VERSION:
        raise CheckpointError(
            message(
                f"the checkpoint {os.fspath(path)!r} is of another version of the format.",
                expected=VERSION,
                got=header["version"],
                fix="read it with the svijax that wrote it, or a newer one.",
            )
        )
    return header


def _foreign(place: str, got: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        message(
            f"{place!r} is no checkpoint of svijax.",
            expected="a file that svijax.fitting.save wrote",
            got=got,
        )
    )


def fitted(path: PathLike, header: Mapping[str, Any], found: Mapping[str, Entry], like: Any) -> Any:
    """The entries as a tree of ``like``'s structure."""
    wanted = {keystr(keys): leaf for keys, leaf in tree_leaves_with_path(like)}
    lines = differences(describe(like), header["structure"])
    lines += differences(
        {name: _label(name, leaf) for name, leaf in wanted.items()},
        {name: str(entry) for name, entry in found.items()},
    )
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        listed = "".join(f"\n    {line}" for line in (*lines[:SHOWN], *more))
        raise CheckpointError(
            message(
                f"the checkpoint {os.fspath(path)!r} is of something else: it differs in {len(lines)} places."
                + listed,
                fix="give the model, guide, optimiser, options and precision that it was written with, "
                "or look at it with svijax.fitting.restore(path).",
            )
        )
    leaves = [_placed(path, name, found[name], leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(tree_structure(like), leaves)


def _label(name: str, leaf: Any) -> str:
    if isinstance(leaf, Scalar):
        leaf = np.asarray(leaf)
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype") or isinstance(leaf, jax.core.Tracer):
        raise ArgumentError(
            message(
                f"a leaf of like= has no shape and dtype to compare: {name!r}.",
                got=type(leaf).__name__,
                fix="give a state, or jax.eval_shape of what makes one, outside of jit and vmap.",
            )
        )
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return f"{leaf.dtype if key else np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"


def _placed(path: PathLike, name: str, entry: Entry, like: Any) -> Any:
    """The leaf where, and as what, ``like`` has it."""
    if isinstance(like, np.ndarray):
        return entry.value
    if isinstance(like, np.generic):
        return entry.value[()]
    if isinstance(like, Scalar):
        return type(like)(entry.value.item())
    # In memory of its own: a loop that donates its carry writes into it.
    array = jnp.array(entry.value)
    if array.dtype != entry.value.dtype:
        raise CheckpointError(
            message(
                f"the checkpoint {os.fspath(path)!r} has {name} in {entry.value.dtype}, which JAX would cut down here.",
                fix="jax.config.update('jax_enable_x64', True) before the first array is made.",
            )
        )
    if entry.key_impl is not None:
        array = jax.random.wrap_key_data(array, impl=entry.key_impl)
    free = isinstance(like, jax.Array) and not like.committed
    sharding = None if free else getattr(like, "sharding", None)
    if sharding is None or sharding.is_fully_addressable:
        return array if sharding is None else jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])
