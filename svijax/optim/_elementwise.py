"""Whether an optimiser treats every number by itself, so that all parameters may lie in one vector."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._expressions import Expressions, NotElementwise, Value
from ._transformation import as_transformation

_LENGTH = 1009
"""Length of the vector in the first trace: a size that no constant of an optimiser has."""

_MANY_SHAPES = 12


def is_elementwise(optim: Any, tree: Mapping[str, Any]) -> bool:
    """Whether ``update`` on all parameters end to end in one vector equals ``update`` leaf by leaf.

    Decided from the optimiser's jaxprs; nothing is executed. On one vector every operation must be
    elementwise; and on leaves of the shapes of ``tree`` each leaf's new value must be that same expression in
    its own inputs and shared scalars. An optimiser that reads the names of the parameters, needs the value
    function, or does not trace at all is not elementwise.

    :param tree: parameters by name: pytrees of arrays or ``jax.ShapeDtypeStruct``.
    :raises ArgumentError: ``optim`` is no optimiser.
    """
    transformation = as_transformation(optim)
    leaves = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(dict(tree))]
    if not leaves:
        return False
    dtypes = list(dict.fromkeys(leaf.dtype for leaf in leaves))
    if not all(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes):
        return False
    vectors = [jax.ShapeDtypeStruct((_LENGTH,), dtype) for dtype in dtypes]
    expressions = Expressions()
    try:
        packed = _outputs(transformation, vectors, expressions, _LENGTH)
        by_leaf = _outputs(transformation, _representatives(leaves), expressions, None)
    except Exception:
        # Any failure here is a "no": the caller then initialises on the true tree, which raises by itself.
        return False
    return packed == by_leaf


def _representatives(leaves: list[Any]) -> list[Any]:
    """A leaf of each shape, or, of many, the smallest and the largest of each rank; three at the least."""
    distinct = list(dict.fromkeys((leaf.shape, leaf.dtype) for leaf in leaves))
    if len(distinct) > _MANY_SHAPES:
        groups: dict[Any, list[Any]] = {}
        for shape, dtype in sorted(distinct, key=lambda d: math.prod(d[0])):
            groups.setdefault((len(shape), dtype), []).append((shape, dtype))
        distinct = [d for group in groups.values() for d in dict.fromkeys((group[0], group[-1]))]
    while len(distinct) < 3:
        distinct.append(distinct[-1])
    return [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in distinct]


def _outputs(
    transformation: Any, leaves: list[Any], expressions: Expressions, length: int | None
) -> dict[Any, frozenset[int]]:
    """The expressions of what ``init`` and ``update`` return, by role: place in the state, and dtype."""
    start, state, structure = _trace_init(transformation, leaves)
    change, result = _trace_update(transformation, leaves, state, structure)
    zeroth = [_input(expressions, "param", leaf, i) for i, leaf in enumerate(leaves)]
    out = _by_role("init", state, leaves, expressions.evaluate(start, zeroth, length))

    inputs = [
        _input(expressions, what, leaf, i) for what in ("grad", "param") for i, leaf in enumerate(leaves)
    ]
    inputs += [_input(expressions, ("state", place.role), place, place.leaf) for place in state]
    inputs.append(_input(expressions, "value", None, None))
    return {**out, **_by_role("update", result, leaves, expressions.evaluate(change, inputs, length))}


def _input(expressions: Expressions, what: Any, array: Any, leaf: int | None) -> Value:
    dtype = None if array is None else str(array.dtype)
    return Value(expressions.intern(("input", what, dtype)), leaf)


def _by_role(
    when: str, places: list[_Place], leaves: list[Any], values: list[Value]
) -> dict[Any, frozenset[int]]:
    roles: dict[Any, set[int]] = {}
    for place, value in zip(places, values, strict=True):
        if value.leaf not in (None, place.leaf):
            raise NotElementwise("depends on another leaf")
        if place.leaf is not None and place.shape != leaves[place.leaf].shape:
            raise NotElementwise("state of another shape than its leaf")
        dtype = None if place.leaf is None else str(leaves[place.leaf].dtype)
        # One expression for all leaves of a role, else the sets of both traces differ.
        roles.setdefault((when, place.role, str(place.dtype), dtype), set()).add(value.expression)
    return {role: frozenset(found) for role, found in roles.items()}


@dataclass(frozen=True)
class _Place:
    """One array that the optimiser returns: ``role`` is its key path without the leaf's own key."""

    role: str
    leaf: int | None
    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class _LeafKey:
    index: int


class _Leaves(Mapping[str, Any]):
    """Parameters whose names must not be read while ``_WATCHED``. A pytree; as a mapping it only says no."""

    def __init__(self, children: Iterable[Any]) -> None:
        self.children = tuple(children)

    def __getitem__(self, name: str) -> Any:
        raise NotElementwise("reads a parameter by name")

    def __iter__(self) -> Iterator[str]:
        raise NotElementwise("reads the names of parameters")

    def __len__(self) -> int:
        raise NotElementwise("counts parameters")

    def flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.children, None

    def flatten_with_keys(self) -> tuple[tuple[Any, ...], None]:
        if _WATCHED.get() and not _called_by_jax():
            raise NotElementwise("reads the paths of parameters")
        return tuple((_LeafKey(i), child) for i, child in enumerate(self.children)), None


_WATCHED: ContextVar[bool] = ContextVar("watched", default=False)

jax.tree_util.register_pytree_with_keys(
    _Leaves, _Leaves.flatten_with_keys, lambda _, children: _Leaves(children), _Leaves.flatten
)


def _called_by_jax() -> bool:
    """Whether JAX itself asks for paths (``jit`` does, for the names in its messages), not a program."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        parts = module.split(".")
        if parts[0] != "jax":
            return False
        if "tree" not in parts[-1]:
            return True
        frame = frame.f_back
    return False


@contextmanager
def _watching() -> Iterator[None]:
    token = _WATCHED.set(True)
    try:
        yield
    finally:
        _WATCHED.reset(token)


def _trace_init(transformation: Any, leaves: list[Any]) -> tuple[Any, list[_Place], Any]:
    """(jaxpr, its outputs' places, the state's structure)."""
    places: list[_Place] = []
    structures: list[Any] = []

    def init(*params: Any) -> list[Any]:
        with _watching():
            state = transformation.init(_Leaves(params))
        places.extend(_places(state))
        structures.append(jax.tree.structure(state))
        return jax.tree.leaves(state)

    return jax.make_jaxpr(init)(*leaves), places, structures[0]


def _trace_update(
    transformation: Any, leaves: list[Any], state: list[_Place], structure: Any
) -> tuple[Any, list[_Place]]:
    """(jaxpr, its outputs' places) as a function of gradients, parameters, state and value."""
    places: list[_Place] = []
    count = len(leaves)

    def update(*flat: Any) -> list[Any]:
        grads, params = _Leaves(flat[:count]), _Leaves(flat[count : 2 * count])
        before = jax.tree.unflatten(structure, flat[2 * count : -1])
        with _watching():
            result = transformation.update(
                grads, before, params, value=flat[-1], grad=grads, value_fn=_no_value
            )
        places.extend(_places(result))
        return jax.tree.leaves(result)

    value = jax.ShapeDtypeStruct((), jnp.result_type(float))
    abstract = [jax.ShapeDtypeStruct(place.shape, place.dtype) for place in state]
    return jax.make_jaxpr(update)(*leaves, *leaves, *abstract, value), places


def _no_value(params: Any) -> Any:
    raise NotElementwise("needs the value function")


def _places(tree: Any) -> list[_Place]:
    found = []
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        leaf = next((key.index for key in path if isinstance(key, _LeafKey)), None)
        role = "".join("<leaf>" if isinstance(key, _LeafKey) else str(key) for key in path)
        found.append(_Place(role, leaf, tuple(jnp.shape(x)), jnp.result_type(x)))
    return found
