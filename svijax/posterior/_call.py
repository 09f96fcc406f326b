"""Functions of programs and their arguments, compiled once for all calls of equal shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax

from svijax.base import captured, compiled, is_traced, join_arguments, signature, split_arguments


def call(
    kind: Hashable,
    programs: tuple[Any, ...],
    function: Callable[..., Any],
    traced: tuple[Any, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """``function(*traced, args, kwargs)``, compiled; inside a program that JAX traces, as a part of it.

    ``kind`` must say everything else that the function depends on.
    """
    if is_traced(traced, args, kwargs):
        return function(*traced, args, kwargs)
    arrays, static = split_arguments(args, kwargs)
    names, keep = captured(*programs)

    def build() -> Callable[..., Any]:
        return jax.jit(lambda traced, arrays: function(*traced, *join_arguments(arrays, static)))

    key = (
        kind,
        tuple(_identity(program) for program in programs),
        static,
        signature(arrays),
        jax.tree.structure(traced),
        names,
        bool(jax.config.read("jax_enable_x64")),
    )
    return compiled(key, build, (*keep, *programs))(traced, arrays)


def _identity(program: Any) -> Hashable:
    try:
        hash(program)
    except TypeError:
        return id(program)
    return program
