"""Several bijections side by side along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, array_module, message, sum_rightmost

from . import constraints
from ._constraint import Constraint
from ._side_by_side import from_the_right, need_parts, split, unstack
from ._transform import Transform


class _SideBySide(Transform):
    """``transforms`` along the axis ``dim``, with the event axes of the one that has most."""

    _fields = ("transforms",)
    transforms: tuple[Transform, ...]
    dim: int

    def _need_kept_axes(self) -> None:
        for part in self.transforms:
            if part.domain.event_dim != part.codomain.event_dim:
                raise ArgumentError(
                    message(f"{type(self).__name__}: a part changes the number of axes.", got=repr(part))
                )

    @property
    def _widest(self) -> int:
        return max(part.domain.event_dim for part in self.transforms)

    def _pieces(self, value: Any, backwards: bool) -> tuple[list[Any], int]:
        """The slices of ``value``, and the axis that they lie along, from the right."""
        raise NotImplementedError

    def _joined(self, pieces: Sequence[Any], axis: int) -> Any:
        raise NotImplementedError

    def __call__(self, x: Any) -> Any:
        pieces, axis = self._pieces(x, False)
        return self._joined([part(piece) for part, piece in zip(self.transforms, pieces)], axis)

    def _inverse(self, y: Any) -> Any:
        pieces, axis = self._pieces(y, True)
        return self._joined([part._inverse(piece) for part, piece in zip(self.transforms, pieces)], axis)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        (before, axis), (after, _) = self._pieces(x, False), self._pieces(y, True)
        return self._total(
            [part.log_abs_det_jacobian(u, v) for part, u, v in zip(self.transforms, before, after)], axis
        )

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        pieces, axis = self._pieces(x, False)
        pairs = [part.call_with_log_det(piece) for part, piece in zip(self.transforms, pieces)]
        return self._joined([y for y, _ in pairs], axis), self._total([log_det for _, log_det in pairs], axis)

    def _total(self, log_dets: Sequence[Any], axis: int) -> Any:
        """The parts' log-determinants side by side where ``axis`` is a batch axis, else their sum."""
        widest = self._widest
        summed = [
            sum_rightmost(log_det, widest - part.domain.event_dim)
            for part, log_det in zip(self.transforms, log_dets)
        ]
        return self._joined(summed, axis + widest) if axis + widest < 0 else sum(summed[1:], summed[0])

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.transforms))
        rest = "".join(f", {name}={getattr(self, name)!r}" for name in self._static)
        return f"{type(self).__name__}([{parts}]{rest})"


class CatTransform(_SideBySide):
    """``tseq[i]`` on the next ``lengths[i]`` entries of x along ``dim`` (None: one entry each).

    A bijection may change the length of its slice: stick breaking adds an entry.
    """

    _static = ("dim", "lengths")
    lengths: tuple[int, ...]

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        sizes = (1,) * len(tseq) if lengths is None else tuple(int(size) for size in lengths)
        need_parts("CatTransform", tseq, sizes)
        self._assign(transforms=tuple(tseq), dim=int(dim), lengths=sizes)
        self._need_kept_axes()

    @property
    def domain(self) -> Constraint:
        return constraints.cat([part.domain for part in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Constraint:
        return constraints.cat([part.codomain for part in self.transforms], self.dim, self._lengths_after())

    def _lengths_after(self, shape: Sequence[int] | None = None) -> tuple[int, ...]:
        """The lengths of the slices of y; without the shape of x they are those of an axis from the right."""
        if shape is None:
            if self.dim >= 0:
                return self.lengths
            shape = (1,) * max(-self.dim, self._widest)
        return tuple(
            _changed(part, shape, self.dim, size, True) for part, size in zip(self.transforms, self.lengths)
        )

    def _pieces(self, value: Any, backwards: bool) -> tuple[list[Any], int]:
        axis = from_the_right(self.dim, np.ndim(value))
        lengths = self._lengths_after(np.shape(value)) if backwards else self.lengths
        return split(value, axis, lengths), axis

    def _joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return array_module(*pieces).concatenate(pieces, axis=axis)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._other_shape(shape, self.lengths, True)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._other_shape(shape, self._lengths_after(shape), False)

    def _other_shape(self, shape: Sequence[int], lengths: Sequence[int], forward: bool) -> tuple[int, ...]:
        axis = from_the_right(self.dim, len(shape))
        if shape[axis] != sum(lengths):
            raise ShapeError(
                message(f"wrong length of axis {axis}.", expected=sum(lengths), got=tuple(shape))
            )
        pieces = [
            _moved(part, _resized(shape, axis, size), forward) for part, size in zip(self.transforms, lengths)
        ]
        return _resized(pieces[0], axis, sum(piece[axis] for piece in pieces))


class StackTransform(_SideBySide):
    """``tseq[i]`` on the i-th slice of x across ``dim``; a slice does not have that axis."""

    _static = ("dim",)

    def __init__(self, tseq: Sequence[Transform], dim: int = 0) -> None:
        need_parts("StackTransform", tseq, (1,) * len(tseq))
        self._assign(transforms=tuple(tseq), dim=int(dim))
        self._need_kept_axes()

    @property
    def domain(self) -> Constraint:
        return constraints.stack([part.domain for part in self.transforms], self.dim)

    @property
    def codomain(self) -> Constraint:
        return constraints.stack([part.codomain for part in self.transforms], self.dim)

    def _pieces(self, value: Any, backwards: bool) -> tuple[list[Any], int]:
        axis = from_the_right(self.dim, np.ndim(value))
        return unstack(value, axis, len(self.transforms)), axis

    def _joined(self, pieces: Sequence[Any], axis: int) -> Any:
        return jnp.stack(pieces, axis=axis)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._other_shape(shape, True)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self._other_shape(shape, False)

    def _other_shape(self, shape: Sequence[int], forward: bool) -> tuple[int, ...]:
        axis = from_the_right(self.dim, len(shape)) + len(shape)
        if shape[axis] != len(self.transforms):
            raise ShapeError(
                message(f"wrong length of axis {self.dim}.", expected=len(self.transforms), got=tuple(shape))
            )
        rest = (*shape[:axis], *shape[axis + 1 :])
        moved = [_moved(part, rest, forward) for part in self.transforms]
        return (*moved[0][:axis], len(self.transforms), *moved[0][axis:])


def cat_of(parts: Sequence[Transform], constraint: Any) -> CatTransform:
    """The bijection onto ``constraints.cat`` whose slices ``parts`` lead onto."""
    shape = (1,) * max(-constraint.dim, constraint.event_dim)
    lengths = constraint.lengths
    if constraint.dim < 0:
        lengths = [_changed(part, shape, constraint.dim, size, False) for part, size in zip(parts, lengths)]
    return CatTransform(parts, constraint.dim, lengths)


def _changed(part: Transform, shape: Sequence[int], dim: int, size: int, forward: bool) -> int:
    """The length of axis ``dim`` after ``part``, where it was ``size``."""
    return _moved(part, _resized(shape, from_the_right(dim, len(shape)), size), forward)[
        from_the_right(dim, len(shape))
    ]


def _moved(part: Transform, shape: Sequence[int], forward: bool) -> tuple[int, ...]:
    return part.forward_shape(shape) if forward else part.inverse_shape(shape)


def _resized(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    new = list(shape)
    new[axis] = size
    return tuple(new)
