"""What a run is about, as plain data: a checkpoint of another model, other data or another key is not continued."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from svijax.base import captured
from svijax.density import Program

from ._feed import Feed, Group
from ._hosts import read
from ._state import SVIState
from ._structure import describe, plain

LOOKED_AT = 1 << 22
"""Bytes of an array that its checksum is of, about: of a larger one, rows spread over it."""


def signature_of(
    programs: tuple[Program, ...], state: SVIState, feed: Feed, init_params: Mapping[str, Any]
) -> dict[str, Any]:
    """A description of a run that is equal in every process which makes that run, in words of JSON.

    ``state``: the first one. Of the arrays that programs read from closures and globals only a checksum.
    """
    steps = read(state.step)
    return {
        "parameters": {n: ", ".join(map(str, s)) for n, s in state.free.layout.describe().items()},
        "chains": steps.shape[0] if steps.ndim else None,
        "first step": int(steps.min()),
        "key": f"{state.key_impl} {_label(state.key_data)}",
        "data": _of_feed(feed),
        "init_params": {keystr(k): _label(x) for k, x in tree_leaves_with_path(dict(init_params))},
        "closures and globals": f"{_captured_sum(programs):08x}",
    }


def _of_feed(feed: Feed) -> dict[str, Any]:
    leaves = {keystr(keys): leaf for keys, leaf in tree_leaves_with_path(feed)}
    if isinstance(feed, Group):
        # How many batches are read at once, and which, is no matter.
        outside = {n: x for n, x in leaves.items() if n.startswith((".data", ".counts", ".first"))}
        labels = {n: f"{x.dtype} {x.shape[1:]}" for n, x in outside.items()}
        leaves = {n: x for n, x in leaves.items() if n not in outside}
    else:
        labels = {}
    return {**labels, **{n: _label(x) for n, x in leaves.items()}, **describe(feed)}


def _label(leaf: Any) -> str:
    """Dtype, shape, and a checksum."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    text = f"{np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return text
    return f"{text} crc32 {_checksum(leaf):08x}"


def _checksum(leaf: Any) -> int:
    if leaf.size and leaf.nbytes > LOOKED_AT and leaf.ndim:
        rows = max(1, LOOKED_AT * leaf.shape[0] // leaf.nbytes)
        leaf = leaf[np.linspace(0, leaf.shape[0] - 1, rows).astype(np.int64)]
    return zlib.crc32(np.asarray(leaf).tobytes())


def _captured_sum(programs: tuple[Program, ...]) -> int:
    """Of the numbers and texts that the programs reach, and of the arrays."""
    key, objects = captured(*programs)
    scalars = [plain(value) for kind, value in key if kind not in ("array", "function")]
    total = zlib.crc32(repr(scalars).encode())
    for x in objects:
        if isinstance(x, jax.Array | np.ndarray) and not isinstance(x, jax.core.Tracer):
            total = zlib.crc32(_label(x).encode(), total)
    return total
