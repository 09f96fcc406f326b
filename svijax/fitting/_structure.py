"""What a pytree is besides its arrays: classes and static fields as plain data, to compare and to write as JSON."""

from __future__ import annotations

import dataclasses
import functools
import re
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from svijax.base import Layout

CONTAINERS = (dict, OrderedDict, defaultdict, list, tuple, type(None))
"""Nodes of which the names of their leaves tell everything."""


def describe(tree: Any) -> dict[str, Any]:
    """path ↦ {class, static fields} of every node that is no plain container; equal in every process."""
    return dict(_nodes(tree, ""))


def _nodes(tree: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    structure: Any
    children, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    node = structure.node_data()
    if node is None:
        return
    kind, static = node
    if kind not in CONTAINERS:
        names = {getattr(keys[0], "name", None) for keys, _ in children}
        if dataclasses.is_dataclass(kind):
            fields = [f.name for f in dataclasses.fields(kind) if f.name not in names]
            static = {name: getattr(tree, name, None) for name in fields}
        yield path, {"class": kind.__qualname__, "static": plain(static)}
    for keys, child in children:
        yield from _nodes(child, path + jax.tree_util.keystr(keys))


def plain(value: Any) -> Any:
    """The value in words of JSON: no addresses, no order of hashing."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() | complex() | np.generic() | np.dtype():
            return repr(value)
        case Layout():
            return _layout(value)
        case Mapping():
            return {str(name): plain(x) for name, x in value.items()}
        case list() | tuple():
            return [plain(x) for x in value]
        case set() | frozenset():
            return sorted(map(_text, value))
        case np.ndarray() | jax.Array():
            array = np.asarray(value)
            return f"{array.dtype.name} {array.shape} crc32 {zlib.crc32(array.tobytes()):08x}"
        case functools.partial():
            return [plain(value.func), plain(value.args), plain(value.keywords)]
        case type():
            return value.__qualname__
    if dataclasses.is_dataclass(value):
        fields = {f.name: plain(getattr(value, f.name, None)) for f in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    return _text(value)


def _layout(layout: Layout) -> dict[str, Any]:
    """What decides where each parameter lies, the shapes first."""
    return {
        "parameters": {n: ", ".join(map(str, shapes)) for n, shapes in layout.describe().items()},
        "order": list(layout.names),
        "structures": [str(structure) for structure in layout.structures],
        "packed": layout.packed,
        "dtypes": list(layout.dtypes),
        "groups": plain(layout.groups),
    }


def _text(value: Any) -> str:
    """``repr``, or the name of what has none but its address."""
    name = getattr(value, "__qualname__", None)
    text = name if isinstance(name, str) else repr(value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """Lines "path: expected x, got y". Of each dictionary of static fields the first field that differs."""
    if expected == got:
        return []
    if isinstance(expected, dict) and isinstance(got, dict):
        return _of_dicts(expected, got, path)
    return [f"{path}: expected {_short(expected)}, got {_short(got)}"]


def _of_dicts(expected: dict[str, Any], got: dict[str, Any], path: str) -> list[str]:
    lines: list[str] = []
    for name in dict.fromkeys((*expected, *got)):
        here = path if name in ("class", "static") else f"{path} {name}".strip()
        if name not in got:
            lines.append(f"{here}: expected {_short(expected[name])}, which the file lacks")
        elif name not in expected:
            lines.append(f"{here}: the file has {_short(got[name])}, which is not expected")
        else:
            lines += differences(expected[name], got[name], here)
        # The fields of one class follow from each other.
        if lines and ("class" in expected or "parameters" in expected):
            break
    return lines


def _short(value: Any, limit: int = 160) -> str:
    if isinstance(value, dict) and "class" in value:
        return str(value["class"])
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 4] + " ..."
