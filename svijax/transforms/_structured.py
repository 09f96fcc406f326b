"""Constraints on vectors as wholes."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, array_module, as_array, message

from ._constraint import Constraint, filled
from ._ranges import Boolean, Interval, NonnegativeInteger, Positive, Range, Real, UnitInterval


class Structured(Constraint):
    """Vectors or matrices: ``entries`` holds each entry; constraints of one ``family`` are one set."""

    entries: ClassVar[Range] = Real()
    family: ClassVar[str] = ""


def tolerance(x: Any, factor: int) -> float:
    """What rounding may do to a sum over the last axis of numbers of size 1."""
    return max(1e-6, factor * rounding(x) * x.shape[-1])


def rounding(x: Any) -> float:
    """The relative rounding error of one number of ``x``; 0 for integers."""
    return float(jnp.finfo(x.dtype).eps) if jnp.issubdtype(x.dtype, jnp.inexact) else 0.0


def in_single(x: Any) -> Any:
    """``x`` in single precision where it has less: numpy has no eigenvalues and no Fourier transform in half."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


class Vectors(Structured):
    """Values of one axis."""

    @property
    def event_dim(self) -> int:
        return 1


class Simplex(Vectors):
    """Vectors of probabilities: entries >= 0 that sum to 1, up to rounding."""

    name = family = "simplex"
    entries = UnitInterval()

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return xp.all(x >= 0, axis=-1) & (abs(xp.sum(x, axis=-1) - 1) <= tolerance(x, 8))

    def feasible_like(self, prototype: Any) -> Any:
        return filled(1.0 / np.shape(prototype)[-1], prototype)


class OrderedVector(Vectors):
    """x_1 < x_2 < … < x_n."""

    name = family = "ordered_vector"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return xp.all(x[..., 1:] > x[..., :-1], axis=-1) & xp.all(xp.isfinite(x), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(np.shape(prototype)[-1]), prototype)


class PositiveOrderedVector(OrderedVector):
    """0 < x_1 < x_2 < … < x_n."""

    name = family = "positive_ordered_vector"
    entries = Positive()

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return super().__call__(x) & xp.all(x > 0, axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(1, np.shape(prototype)[-1] + 1), prototype)


class Sphere(Vectors):
    """Vectors of Euclidean length 1, up to rounding."""

    name = family = "sphere"
    entries = Interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return abs(xp.sum(x * x, axis=-1) - 1) <= tolerance(x, 16)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.shape(prototype)[-1] ** -0.5, prototype)


class Multinomial(Vectors):
    """Vectors of counts that sum to ``upper``."""

    name = family = "multinomial"
    is_discrete = True
    entries = NonnegativeInteger()
    _fields = ("upper",)
    upper: Any

    def __init__(self, upper_bound: Any) -> None:
        self._assign(upper=as_array(upper_bound))

    @property
    def upper_bound(self) -> Any:
        """``upper``, by the name that NumPyro has."""
        return self.upper

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, self.upper)
        x = xp.asarray(x)
        counts = (x >= 0) & (x == xp.floor(x))
        return xp.all(counts, axis=-1) & (xp.sum(x, axis=-1) == self.upper)

    def feasible_like(self, prototype: Any) -> Any:
        xp = array_module(self.upper)
        first = np.arange(np.shape(prototype)[-1]) == 0
        return filled(xp.asarray(self.upper)[..., None] * first, prototype)


class OneHot(Vectors):
    """Vectors of zeros with a single 1."""

    name = family = "one_hot"
    is_discrete = True
    entries = Boolean()

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return xp.all((x == 0) | (x == 1), axis=-1) & (xp.sum(x, axis=-1) == 1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(np.shape(prototype)[-1]) == 0, prototype)


class L1Ball(Vectors):
    """Vectors with |x_1| + … + |x_n| <= 1, up to rounding."""

    name = family = "l1_ball"
    entries = Interval(-1.0, 1.0)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        return xp.sum(abs(x), axis=-1) <= 1 + 10 * rounding(x) * max(x.shape[-1], 1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(0.0, prototype)


class PositiveDefiniteCirculantVector(Vectors):
    """First rows of positive definite circulant matrices: the Fourier transform is real and positive.

    Up to rounding: smooth rows have eigenvalues that no precision tells from 0.
    """

    name = family = "positive_definite_circulant_vector"

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        eigenvalues = xp.fft.rfft(in_single(x), axis=-1)
        small = 10 * rounding(x) * xp.max(abs(eigenvalues), axis=-1, keepdims=True)
        real = xp.all(abs(eigenvalues.imag) <= small, axis=-1)
        return real & xp.all(eigenvalues.real > -small, axis=-1) & xp.all(xp.isfinite(x), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return filled(np.arange(np.shape(prototype)[-1]) == 0, prototype)


class ZeroSum(Structured):
    """Arrays that sum to 0 along each of their last ``event_dim`` axes, up to rounding."""

    name = family = "zero_sum"
    _static = ("_event_dim",)

    def __init__(self, event_dim: int = 1) -> None:
        if event_dim < 1:
            raise ArgumentError(message("zero_sum: the sums go along one axis at least.", got=event_dim))
        self._assign(_event_dim=int(event_dim))

    @property
    def event_dim(self) -> int:
        return int(self.__dict__["_event_dim"])

    def __call__(self, x: Any) -> Any:
        xp = array_module(x)
        x = xp.asarray(x)
        axes = tuple(range(-self.event_dim, 0))
        size = xp.maximum(xp.max(abs(x), axis=axes, keepdims=True, initial=0), 1)
        inside: Any = True
        for axis in axes:
            gap = abs(xp.sum(x, axis=axis, keepdims=True))
            inside = inside & xp.all(gap <= 10 * rounding(x) * x.shape[axis] * size, axis=axes)
        return inside

    def feasible_like(self, prototype: Any) -> Any:
        return filled(0.0, prototype)

    def __repr__(self) -> str:
        return f"zero_sum({self.event_dim})"
