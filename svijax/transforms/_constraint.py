"""What a constraint is, and the two that are about other constraints: ``independent`` and ``dependent``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, array_module, as_array, broadcast, is_concrete, message

from ._record import Record


class Constraint(Record):
    """A set of values. ``constraint(x)`` is a boolean array over the batch shape of ``x``.

    ``event_dim`` counts the rightmost axes of ``x`` that make up one value. Bounds are leaves of the pytree.
    Checks of numpy values run in numpy.
    """

    name: ClassVar[str] = "constraint"
    is_discrete: bool = False

    @property
    def event_dim(self) -> int:
        """The number of axes of one value."""
        return 0

    def __call__(self, x: Any) -> Any:
        """Whether each value of ``x`` lies inside."""
        raise NotImplementedError

    def check(self, x: Any) -> Any:
        """Whether each value of ``x`` lies inside."""
        return self(x)

    def feasible_like(self, prototype: Any) -> Any:
        """A value inside, of the shape and dtype of ``prototype``; numpy unless a bound is a JAX array."""
        raise NotImplementedError

    def __repr__(self) -> str:
        names = (*self._fields, *self._static)
        args = ", ".join(f"{name}={_show(getattr(self, name))}" for name in names)
        return f"{self.name}({args})" if names else self.name


class IndependentConstraint(Constraint):
    """Values whose last ``ndims`` batch axes belong to one event: all entries lie in ``base``."""

    name = "independent"
    _fields = ("base",)
    _static = ("ndims",)
    base: Constraint
    ndims: int

    def __init__(self, base: Constraint, ndims: int) -> None:
        self._assign(base=base, ndims=ndims)

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.base.is_discrete

    @property
    def event_dim(self) -> int:
        return self.base.event_dim + self.ndims

    def __call__(self, x: Any) -> Any:
        inside = self.base(x)
        if np.ndim(inside) < self.ndims:
            raise ArgumentError(
                message(f"{self!r}: a value has at least {self.event_dim} axes.", got=f"shape {np.shape(x)}")
            )
        return array_module(inside).all(inside, axis=tuple(range(-self.ndims, 0)))

    def feasible_like(self, prototype: Any) -> Any:
        return self.base.feasible_like(prototype)

    def __repr__(self) -> str:
        short = {("real", 1): "real_vector", ("real", 2): "real_matrix"}
        return short.get((repr(self.base), self.ndims), f"independent({self.base!r}, {self.ndims})")


def independent(base: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """``base`` for each entry of the last axes: ``independent(real, 1)`` is ``real_vector``."""
    if reinterpreted_batch_ndims < 0:
        raise ArgumentError(
            message("independent: a number of axes is not negative.", got=reinterpreted_batch_ndims)
        )
    if reinterpreted_batch_ndims == 0:
        return base
    if isinstance(base, IndependentConstraint):
        return IndependentConstraint(base.base, base.ndims + reinterpreted_batch_ndims)
    return IndependentConstraint(base, reinterpreted_batch_ndims)


class Dependent(Constraint):
    """A set that depends on other values, so that nothing can be said of it alone."""

    name = "dependent"
    _static = ("is_discrete", "_event_dim")

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        self._assign(is_discrete=is_discrete, _event_dim=event_dim)

    @property
    def event_dim(self) -> int:
        return int(self.__dict__["_event_dim"])

    def __call__(self, x: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> Any:
        """``dependent(is_discrete=, event_dim=)`` states those two; there is nothing to check."""
        if x is not None:
            raise ArgumentError(message("a dependent constraint cannot be checked on its own."))
        return Dependent(is_discrete=is_discrete, event_dim=event_dim)

    def feasible_like(self, prototype: Any) -> Any:
        raise ArgumentError(message("a dependent constraint has no value that is known to be feasible."))

    def __repr__(self) -> str:
        return "dependent"


class dependent_property(property):
    """A property whose value is a constraint on a distribution's draws, with what is known of it beforehand."""

    def __init__(
        self,
        fget: Callable[[Any], Any] | None = None,
        *,
        is_discrete: bool = False,
        event_dim: int = 0,
    ) -> None:
        super().__init__(fget)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fget: Callable[[Any], Any]) -> dependent_property:
        return dependent_property(fget, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Whether nothing can be said of the constraint alone."""
    return isinstance(constraint, (Dependent, dependent_property))


class Point(Constraint):
    """The one value ``value``, with ``event_dim`` event axes: {value}."""

    name = "point"
    _fields = ("value",)
    _static = ("_event_dim",)
    value: Any

    def __init__(self, value: Any, event_dim: int = 0) -> None:
        self._assign(value=as_array(value), _event_dim=event_dim)

    @property
    def event_dim(self) -> int:
        return int(self.__dict__["_event_dim"])

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return not jnp.issubdtype(_dtype_of(self.value), jnp.inexact)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, self.value)
        same = xp.asarray(x) == self.value
        return xp.all(same, axis=tuple(range(-self.event_dim, 0))) if self.event_dim else same

    def feasible_like(self, prototype: Any) -> Any:
        return filled(self.value, prototype)

    def __repr__(self) -> str:
        return f"point({_show(self.value)})"


def filled(value: Any, prototype: Any) -> Any:
    """``value`` in the shape and dtype of ``prototype``."""
    dtype = _dtype_of(prototype)
    xp = array_module(value)
    return broadcast(xp.asarray(value, dtype=dtype), np.shape(prototype))


def _dtype_of(prototype: Any) -> Any:
    dtype = getattr(prototype, "dtype", None)
    return jnp.result_type(prototype) if dtype is None else dtype


def _show(value: Any) -> str:
    if isinstance(value, jax.Array) and not is_concrete(value):
        return f"<traced {value.dtype}{list(value.shape)}>"
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return np.array2string(np.asarray(value), threshold=6, separator=", ")
    return repr(value)
