"""What a bijection is, and those made of others: inverse, composition, independent axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from svijax.base import ArgumentError, ShapeError, broadcast, message, sum_rightmost

from . import constraints
from ._constraint import Constraint, independent
from ._record import Record


class Transform(Record):
    """A differentiable bijection y = t(x) from ``domain`` onto ``codomain``, with its log |det dy/dx|.

    ``t.inv`` is the inverse bijection, so ``t.inv(y)`` is x. A log-determinant has the shape of the batch:
    the ``domain.event_dim`` last axes of x are summed out.
    """

    @property
    def domain(self) -> Constraint:
        """Where x lies."""
        return constraints.real

    @property
    def codomain(self) -> Constraint:
        """Where t(x) lies."""
        return constraints.real

    @property
    def sign(self) -> Any:
        """1 where the bijection increases, -1 where it decreases; for bijections of single numbers."""
        raise ArgumentError(message(f"{type(self).__name__} is not known to be monotone."))

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError

    def _inverse(self, y: Any) -> Any:
        raise ArgumentError(message(f"{type(self).__name__} has no inverse that can be computed."))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """log |det dy/dx| at x, where y = t(x) is at hand."""
        raise NotImplementedError

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        """t(x) and log |det dy/dx|, in one pass."""
        y = self(x)
        return y, self.log_abs_det_jacobian(x, y)

    @property
    def inv(self) -> Transform:
        """The transform t^-1."""
        return InverseTransform(self)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of t(x) for x of this shape."""
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x for t(x) of this shape."""
        return tuple(shape)

    def __repr__(self) -> str:
        args = ", ".join(f"{name}={getattr(self, name)!r}" for name in (*self._fields, *self._static))
        return f"{type(self).__name__}({args})"


class ParameterFreeTransform(Transform):
    """A bijection without parameters: a base for your own, of which two of one class are equal."""

    def __init__(self) -> None:
        self._assign()


class InverseTransform(Transform):
    """x = t^-1(y) as a bijection of its own."""

    _fields = ("base",)
    base: Transform

    def __init__(self, base: Transform) -> None:
        self._assign(base=base)

    @property
    def domain(self) -> Constraint:
        return self.base.codomain

    @property
    def codomain(self) -> Constraint:
        return self.base.domain

    @property
    def sign(self) -> Any:
        return self.base.sign

    @property
    def inv(self) -> Transform:
        return self.base

    def __call__(self, x: Any) -> Any:
        return self.base._inverse(x)

    def _inverse(self, y: Any) -> Any:
        return self.base(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -self.base.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.forward_shape(shape)


class IdentityTransform(Transform):
    """y = x."""

    @property
    def sign(self) -> Any:
        return 1

    @property
    def inv(self) -> Transform:
        return self

    def __call__(self, x: Any) -> Any:
        return x

    def _inverse(self, y: Any) -> Any:
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        # A numpy constant: it costs no operation in a compiled program.
        return broadcast(np.zeros((), x.dtype), np.shape(x))


class ComposeTransform(Transform):
    """y = t_n(… t_2(t_1(x))) for ``parts`` = [t_1, …, t_n]."""

    _fields = ("parts",)
    parts: tuple[Transform, ...]

    def __init__(self, parts: Sequence[Transform]) -> None:
        flat: list[Transform] = []
        for part in parts:
            flat.extend(part.parts if isinstance(part, ComposeTransform) else [part])
        self._assign(parts=tuple(flat))

    @property
    def domain(self) -> Constraint:
        if not self.parts:
            return constraints.real
        event_dim = 0
        for part in reversed(self.parts):
            gained = part.codomain.event_dim - part.domain.event_dim
            event_dim = max(event_dim - gained, part.domain.event_dim)
        first = self.parts[0].domain
        return independent(first, event_dim - first.event_dim)

    @property
    def codomain(self) -> Constraint:
        if not self.parts:
            return constraints.real
        event_dim = self.domain.event_dim
        event_dim += sum(part.codomain.event_dim - part.domain.event_dim for part in self.parts)
        last = self.parts[-1].codomain
        return independent(last, event_dim - last.event_dim)

    @property
    def sign(self) -> Any:
        sign: Any = 1
        for part in self.parts:
            sign = sign * part.sign
        return sign

    def __call__(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Any) -> Any:
        for part in reversed(self.parts):
            y = part._inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self._pass(x, y)[1]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        return self._pass(x, None)

    def _pass(self, x: Any, y: Any) -> tuple[Any, Any]:
        """One walk through the parts; where the end ``y`` is known, the last part is not evaluated."""
        event_dim = self.domain.event_dim
        total: Any = None
        for i, part in enumerate(self.parts):
            if y is not None and i == len(self.parts) - 1:
                end, log_det = y, part.log_abs_det_jacobian(x, y)
            else:
                end, log_det = part.call_with_log_det(x)
            log_det = sum_rightmost(log_det, event_dim - part.domain.event_dim)
            total = log_det if total is None else total + log_det
            event_dim += part.codomain.event_dim - part.domain.event_dim
            x = end
        return (x, IdentityTransform().log_abs_det_jacobian(x, x)) if total is None else (x, total)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)


class IndependentTransform(Transform):
    """``base`` with the last ``ndims`` batch axes of its log-determinant summed."""

    _fields = ("base",)
    _static = ("ndims",)
    base: Transform
    ndims: int

    def __init__(self, base: Transform, reinterpreted_batch_ndims: int) -> None:
        self._assign(base=base, ndims=reinterpreted_batch_ndims)

    @property
    def domain(self) -> Constraint:
        return independent(self.base.domain, self.ndims)

    @property
    def codomain(self) -> Constraint:
        return independent(self.base.codomain, self.ndims)

    def __call__(self, x: Any) -> Any:
        return self.base(x)

    def _inverse(self, y: Any) -> Any:
        return self.base._inverse(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return sum_rightmost(self.base.log_abs_det_jacobian(x, y), self.ndims)

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        y, log_det = self.base.call_with_log_det(x)
        return y, sum_rightmost(log_det, self.ndims)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.forward_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.inverse_shape(shape)


def need_axes(transform: Transform, shape: Sequence[int], ndims: int) -> None:
    """Raise ``ShapeError`` where ``shape`` has fewer than ``ndims`` axes."""
    if len(shape) < ndims:
        raise ShapeError(
            message(f"{type(transform).__name__} needs at least {ndims} axes.", got=f"shape {tuple(shape)}")
        )
