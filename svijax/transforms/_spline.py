"""Monotone rational splines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import as_array, softplus

from ._transform import Transform

_LEAST_BIN, _LEAST_SLOPE, _LEAST_LAMBDA = 1e-3, 1e-3, 0.025


class _Bin(NamedTuple):
    """The bin that each entry falls into: its lower corner, size, slopes at both ends, and inner knot."""

    x: Any
    y: Any
    width: Any
    height: Any
    left: Any
    right: Any
    knot: Any


class Spline(Transform):
    """Entry by entry a monotone rational spline from [-bound, bound] onto itself, and the identity outside.

    Of K bins the ``widths`` and ``heights`` (…, K) are logits; the slopes at the inner knots are
    softplus(``derivatives``) (…, K - 1). Their batch axes broadcast with x. With ``lambdas`` (…, K), the logits of
    an additional knot in each bin, pieces are linear rational (Dolatabadi et al., 2020, algorithm 1), without them
    quadratic rational (Durkan et al., 2019, equations 4 to 8).
    """

    _fields = ("widths", "heights", "derivatives", "lambdas")
    _static = ("bound",)
    widths: Any
    heights: Any
    derivatives: Any
    lambdas: Any
    bound: float

    def __init__(
        self, widths: Any, heights: Any, derivatives: Any, lambdas: Any = None, *, bound: float = 3.0
    ) -> None:
        self._assign(
            widths=as_array(widths),
            heights=as_array(heights),
            derivatives=as_array(derivatives),
            lambdas=None if lambdas is None else as_array(lambdas),
            bound=float(bound),
        )

    @property
    def sign(self) -> Any:
        return 1

    def __call__(self, x: Any) -> Any:
        return self.call_with_log_det(x)[0]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        return self._outside(x, self._map(x, False))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.call_with_log_det(x)[1]

    def _inverse(self, y: Any) -> Any:
        return self._outside(y, self._map(y, True))[0]

    def _outside(self, x: Any, mapped: tuple[Any, Any]) -> tuple[Any, Any]:
        inside = jnp.abs(x) <= self.bound
        return jnp.where(inside, mapped[0], x), jnp.where(inside, mapped[1], 0.0)

    def _map(self, value: Any, backwards: bool) -> tuple[Any, Any]:
        """The image inside the bound, and log dy/dx (forwards only)."""
        value = jnp.clip(value, -self.bound, self.bound)
        piece = self._bin(value, backwards)
        if self.lambdas is None:
            return _quadratic_inverse(piece, value) if backwards else _quadratic(piece, value)
        return _linear_inverse(piece, value) if backwards else _linear(piece, value)

    def _bin(self, value: Any, backwards: bool) -> _Bin:
        across, up = (self._knots(logits, value.dtype) for logits in (self.widths, self.heights))
        slopes = _LEAST_SLOPE + softplus(jnp.asarray(self.derivatives, value.dtype))
        ends = jnp.ones((*slopes.shape[:-1], 1), value.dtype)
        slopes = jnp.concatenate([ends, slopes, ends], axis=-1)
        inner = (up if backwards else across)[..., 1:-1]
        index = jnp.sum(value[..., None] >= inner, axis=-1, keepdims=True)

        def at(table: Any, shift: int = 0) -> Any:
            table = jnp.broadcast_to(table, (*index.shape[:-1], table.shape[-1]))
            return jnp.take_along_axis(table, index + shift, axis=-1)[..., 0]

        x, y = at(across), at(up)
        knot = None
        if self.lambdas is not None:
            free = jax.nn.sigmoid(jnp.asarray(self.lambdas, value.dtype))
            knot = at(_LEAST_LAMBDA + (1.0 - 2.0 * _LEAST_LAMBDA) * free)
        return _Bin(x, y, at(across, 1) - x, at(up, 1) - y, at(slopes), at(slopes, 1), knot)

    def _knots(self, logits: Any, dtype: Any) -> Any:
        """The K + 1 corners from -bound to bound."""
        share = jax.nn.softmax(jnp.asarray(logits, dtype), axis=-1)
        sizes = _LEAST_BIN + (1.0 - _LEAST_BIN * np.shape(logits)[-1]) * share
        corners = self.bound * (2.0 * jnp.cumsum(sizes[..., :-1], axis=-1) - 1.0)
        edge = jnp.full((*corners.shape[:-1], 1), self.bound, dtype)
        return jnp.concatenate([-edge, corners, edge], axis=-1)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        tables = (self.widths, self.heights, self.derivatives, self.lambdas)
        batches = [np.shape(table)[:-1] for table in tables if table is not None]
        return np.broadcast_shapes(tuple(shape), *batches)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)


def _quadratic(piece: _Bin, x: Any) -> tuple[Any, Any]:
    slope = piece.height / piece.width
    t = (x - piece.x) / piece.width
    between = t * (1.0 - t)
    below = slope + (piece.left + piece.right - 2.0 * slope) * between
    y = piece.y + piece.height * (slope * t * t + piece.left * between) / below
    rise = piece.right * t * t + 2.0 * slope * between + piece.left * (1.0 - t) * (1.0 - t)
    return y, 2.0 * jnp.log(slope) + jnp.log(rise) - 2.0 * jnp.log(below)


def _quadratic_inverse(piece: _Bin, y: Any) -> tuple[Any, Any]:
    slope = piece.height / piece.width
    gap = y - piece.y
    bend = gap * (piece.left + piece.right - 2.0 * slope)
    a = piece.height * (slope - piece.left) + bend
    b = piece.height * piece.left - bend
    root = jnp.sqrt(jnp.maximum(b * b + 4.0 * a * slope * gap, 0.0))
    return piece.x + piece.width * 2.0 * slope * gap / (b + root), jnp.zeros_like(y)


def _weights(piece: _Bin) -> tuple[Any, Any, Any]:
    """The weights of the inner knot and of the right end, that of the left end being 1, and the height of the knot."""
    right = jnp.sqrt(piece.left / piece.right)
    flat = piece.knot * piece.left + (1.0 - piece.knot) * right * piece.right
    middle = flat * piece.width / piece.height
    share = piece.knot * right / (1.0 - piece.knot + piece.knot * right)
    return middle, right, share * piece.height


def _linear(piece: _Bin, x: Any) -> tuple[Any, Any]:
    middle, right, rise = _weights(piece)
    t, knot = (x - piece.x) / piece.width, piece.knot
    first = t <= knot
    # Heights relative to the lower corner, whose own weight then drops out.
    below = jnp.where(first, knot - t + middle * t, middle * (1.0 - t) + right * (t - knot))
    above = jnp.where(first, middle * rise * t, middle * rise * (1.0 - t) + right * piece.height * (t - knot))
    slope = jnp.where(first, knot * middle * rise, right * middle * (1.0 - knot) * (piece.height - rise))
    return piece.y + above / below, jnp.log(slope) - 2.0 * jnp.log(below) - jnp.log(piece.width)


def _linear_inverse(piece: _Bin, y: Any) -> tuple[Any, Any]:
    middle, right, rise = _weights(piece)
    gap, knot = y - piece.y, piece.knot
    first = gap <= rise
    above = jnp.where(first, knot * gap, middle * (gap - rise) + knot * right * (piece.height - gap))
    below = jnp.where(
        first, gap + middle * (rise - gap), middle * (gap - rise) + right * (piece.height - gap)
    )
    return piece.x + piece.width * above / below, jnp.zeros_like(y)
