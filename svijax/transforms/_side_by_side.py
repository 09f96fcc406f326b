"""Constraints whose parts lie side by side along an axis, and the constraint that all parts of a mixture share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from svijax.base import ArgumentError, ShapeError, array_module, as_array, message

from ._constraint import Constraint, Dependent, IndependentConstraint, Point, _dtype_of
from ._ranges import Range


class SideBySide(Constraint):
    """The parts ``cseq`` along the axis ``dim``; each holds its own slice.

    The event axes are those of the part that has most; of the others, whole slices must lie inside. An axis
    ``dim`` to the left of them is a batch axis, so that a check keeps it.
    """

    _fields = ("cseq",)
    cseq: tuple[Constraint, ...]
    dim: int

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return any(part.is_discrete for part in self.cseq)

    @property
    def _widest(self) -> int:
        return max(part.event_dim for part in self.cseq)

    def _narrowed(self, inside: Any, part: Constraint) -> Any:
        extra = tuple(range(part.event_dim - self._widest, 0))
        return array_module(inside).all(inside, axis=extra) if extra else inside

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.cseq))
        rest = "".join(f", {name}={getattr(self, name)!r}" for name in self._static)
        return f"{self.name}([{parts}]{rest})"


class Cat(SideBySide):
    """``cseq[i]`` on the next ``lengths[i]`` entries along ``dim``."""

    name: ClassVar[str] = "cat"
    _static = ("dim", "lengths")
    lengths: tuple[int, ...]

    def __init__(
        self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None
    ) -> None:
        sizes = (1,) * len(cseq) if lengths is None else tuple(int(size) for size in lengths)
        need_parts("cat", cseq, sizes)
        self._assign(cseq=tuple(cseq), dim=int(dim), lengths=sizes)

    @property
    def event_dim(self) -> int:
        return self._widest

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, *jax.tree.leaves(self))
        axis = from_the_right(self.dim, np.ndim(x))
        slices = split(xp.asarray(x), axis, self.lengths)
        checks = [self._narrowed(part(piece), part) for part, piece in zip(self.cseq, slices)]
        axis += self.event_dim
        return xp.concatenate(checks, axis=axis) if axis < 0 else _all(checks)

    def feasible_like(self, prototype: Any) -> Any:
        shape = np.shape(prototype)
        axis = from_the_right(self.dim, len(shape))
        pieces = [
            part.feasible_like(_with_length(prototype, axis, size))
            for part, size in zip(self.cseq, self.lengths)
        ]
        return array_module(*pieces).concatenate(pieces, axis=axis)


class Stack(SideBySide):
    """``cseq[i]`` on the i-th slice across ``dim``; a slice does not have that axis."""

    name: ClassVar[str] = "stack"
    _static = ("dim",)

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        need_parts("stack", cseq, (1,) * len(cseq))
        self._assign(cseq=tuple(cseq), dim=int(dim))

    @property
    def event_dim(self) -> int:
        return self._widest + (-self.dim <= self._widest and self.dim < 0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, *jax.tree.leaves(self))
        axis = from_the_right(self.dim, np.ndim(x))
        slices = unstack(xp.asarray(x), axis, len(self.cseq))
        checks = [self._narrowed(part(piece), part) for part, piece in zip(self.cseq, slices)]
        axis += self._widest
        return xp.stack(checks, axis=axis) if axis < 0 else _all(checks)

    def feasible_like(self, prototype: Any) -> Any:
        axis = from_the_right(self.dim, len(np.shape(prototype)))
        pieces = [part.feasible_like(_with_length(prototype, axis, None)) for part in self.cseq]
        return array_module(*pieces).stack(pieces, axis=axis)


def mixture_same_family(base_constraint: Constraint) -> Constraint:
    """What lies inside for every component: the bounds of ``base_constraint`` have an axis of components.

    It is the last one before the event. Of ranges with unlike bounds this is the intersection.
    """
    return _shared(base_constraint, -1)


def _shared(base: Constraint, axis: int) -> Constraint:
    if isinstance(base, IndependentConstraint):
        return IndependentConstraint(_shared(base.base, axis - base.ndims), base.ndims)
    if not base._fields:
        return base
    if isinstance(base, (Point, Dependent, SideBySide)):
        return Dependent(is_discrete=base.is_discrete, event_dim=base.event_dim)
    bounds = {
        name: _reduced(name, getattr(base, name), axis, isinstance(base, Range)) for name in base._fields
    }
    return base._replace(**bounds)


def _reduced(name: str, bound: Any, axis: int, ordered: bool) -> Any:
    if np.ndim(bound) < -axis:
        return bound
    xp = array_module(bound)
    if not ordered:
        return xp.take(bound, 0, axis=axis)
    return (xp.max if name == "lower" else xp.min)(as_array(bound), axis=axis)


def need_parts(owner: str, parts: Sequence[Any], lengths: Sequence[int]) -> None:
    """Raise ``ArgumentError`` where there are no parts, or not one length for each."""
    if not parts:
        raise ArgumentError(message(f"{owner} needs one part at least.", got="none"))
    if len(parts) != len(lengths) or min(lengths) < 0:
        raise ArgumentError(
            message(f"{owner} needs one length >= 0 for each part.", expected=len(parts), got=tuple(lengths))
        )


def from_the_right(dim: int, ndim: int) -> int:
    """The axis ``dim`` counted from the right."""
    if not -ndim <= dim < ndim:
        raise ShapeError(message(f"there is no axis {dim}.", got=f"a value with {ndim} axes"))
    return dim if dim < 0 else dim - ndim


def split(x: Any, axis: int, lengths: Sequence[int]) -> list[Any]:
    """``x`` cut into pieces of these lengths along ``axis``, which counts from the right."""
    if x.shape[axis] != sum(lengths):
        raise ShapeError(message(f"wrong length of axis {axis}.", expected=sum(lengths), got=x.shape[axis]))
    ends = np.cumsum(lengths)
    rest = (slice(None),) * (-axis - 1)
    return [x[(..., slice(end - size, end), *rest)] for end, size in zip(ends, lengths)]


def unstack(x: Any, axis: int, count: int) -> list[Any]:
    """The ``count`` slices of ``x`` across ``axis``, which counts from the right."""
    if x.shape[axis] != count:
        raise ShapeError(message(f"wrong length of axis {axis}.", expected=count, got=x.shape[axis]))
    rest = (slice(None),) * (-axis - 1)
    return [x[(..., i, *rest)] for i in range(count)]


def _with_length(prototype: Any, axis: int, size: int | None) -> jax.ShapeDtypeStruct:
    """A stand-in for a slice of ``prototype``, with ``size`` entries along ``axis`` or without that axis."""
    shape = list(np.shape(prototype))
    shape[axis : axis + 1 or None] = [] if size is None else [size]
    return jax.ShapeDtypeStruct(shape, _dtype_of(prototype))


def _all(checks: Sequence[Any]) -> Any:
    inside = checks[0]
    for check in checks[1:]:
        inside = inside & check
    return inside
