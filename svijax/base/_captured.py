"""What a program reads from closures and globals, so that a rebound array is seen."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

_LIBRARIES = frozenset({"jax", "jaxlib", "numpy", "optax", "scipy", "svijax", "builtins", "functools"})
_DEPTH = 12


def captured(*programs: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(key, objects): identities of the arrays and functions that the programs reach, values of the scalars.

    The objects must be held as long as the key is used. An array changed in place is not seen.
    """
    seen: dict[int, Any] = {}
    key: list[Any] = []
    for program in programs:
        for kind, value in _walk(program, seen, 0):
            key.append((kind, value))
    return tuple(key), tuple(seen.values())


def reads_tracer(*programs: Any) -> bool:
    """Whether a program or an optimiser holds a traced value in a closure: then it is part of a traced program."""
    seen: dict[int, Any] = {}
    for program in programs:
        for _ in _walk(program, seen, 0, closures=True):
            pass
    return any(isinstance(obj, jax.core.Tracer) for obj in seen.values())


def _walk(obj: Any, seen: dict[int, Any], depth: int, closures: bool = False) -> Iterator[tuple[str, Any]]:
    """What ``obj`` reaches: with ``closures`` through closures only, those of libraries too."""
    if isinstance(obj, bool | int | float | complex | str | bytes | None):
        yield type(obj).__name__, obj
        return
    if isinstance(obj, np.generic):
        yield type(obj).__name__, obj.item()
        return
    if id(obj) in seen or depth > _DEPTH:
        return
    if isinstance(obj, jax.Array | np.ndarray):
        seen[id(obj)] = obj
        yield "array", id(obj)
    elif isinstance(obj, types.FunctionType):
        if not closures and (obj.__module__ or "").split(".")[0] in _LIBRARIES:
            return
        seen[id(obj)] = obj
        yield "function", id(obj)
        for part in _closure_parts(obj) if closures else [*_closure_parts(obj), *_global_parts(obj)]:
            yield from _walk(part, seen, depth + 1, closures)
    else:
        parts = _object_parts(obj)
        if parts:
            seen[id(obj)] = obj
        for part in parts:
            yield from _walk(part, seen, depth + 1, closures)


def _closure_parts(fn: types.FunctionType) -> list[Any]:
    parts: list[Any] = [*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()]
    for cell in fn.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # a name that is bound later
            continue
    wrapped = getattr(fn, "__wrapped__", None)
    if wrapped is not None:
        parts.append(wrapped)
    return parts


def _global_parts(fn: types.FunctionType) -> list[Any]:
    return [fn.__globals__[name] for name in _global_names(fn.__code__) if name in fn.__globals__]


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    names = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names += _global_names(const)
    return tuple(dict.fromkeys(names))


def _object_parts(obj: Any) -> list[Any]:
    match obj:
        case types.ModuleType() | type():
            return []
        case functools.partial():
            return [obj.func, *obj.args, *obj.keywords.values()]
        case types.MethodType():
            return [obj.__func__, obj.__self__]
        case dict():
            return list(obj.values())
        case list() | tuple() | set() | frozenset():
            return list(obj)
    if dataclasses.is_dataclass(obj):
        return [getattr(obj, field.name) for field in dataclasses.fields(obj)]
    if type(obj).__module__.split(".")[0] in _LIBRARIES and not callable(obj):
        return []
    return list(getattr(obj, "__dict__", {}).values())
