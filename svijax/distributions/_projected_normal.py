"""The direction of a normal vector."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from svijax.base import ShapeError, message
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class ProjectedNormal(Distribution):
    """x = y / |y| with y ~ N(m, 1), m = concentration (…, n), n >= 2, on the unit sphere of R^n.

    p(x) = (2 pi)^(-n/2) exp(-|m|^2 / 2) M_(n-1)(m . x), M_k(t) = int_0^inf r^k exp(t r - r^2 / 2) dr, by the
    surface measure. ``mean`` is the mean direction m / |m|, a point of the sphere.
    """

    arg_constraints = parameters(concentration=constraints.real_vector)
    support = constraints.sphere
    _noise_kind = "normal"
    concentration: jax.Array

    def __init__(self, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, concentration=concentration)
        if self.event_shape[0] < 2:
            raise ShapeError(
                message("ProjectedNormal: a direction has at least 2 entries.", got=self.event_shape)
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.concentration)[-1:]

    def from_noise(self, noise: Any) -> Any:
        return direction(self.concentration + noise)

    def log_prob(self, value: Any) -> Any:
        m, n = jnp.asarray(self.concentration), self.event_shape[0]
        t = jnp.sum(m * value, axis=-1)
        # |m|^2 - t^2 without cancellation where x points along m.
        across = m - t[..., None] * value
        squares = jnp.sum(across * across, axis=-1)
        return _log_radial(n - 1, t) - 0.5 * squares - (n - 1) * _HALF_LOG_2PI

    @property
    def mean(self) -> Any:
        return direction(jnp.asarray(self.concentration))


def direction(y: Any) -> Any:
    """y / |y|; the first axis where y is 0."""
    square = jnp.sum(y * y, axis=-1, keepdims=True)
    start = jnp.zeros_like(y).at[..., 0].set(1.0)
    none = square == 0
    return jnp.where(none, start, y / jnp.sqrt(jnp.where(none, 1.0, square)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_radial(k: int, t: Any) -> Any:
    """log of M_k(t) N(t; 0, 1), which is the integral of r^k N(r; t, 1) over r > 0; k >= 1."""
    return _radial(k, t)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _ratio(k: int, t: Any) -> Any:
    """M_k(t) / M_(k-1)(t)."""
    return _radial(k, t)[1]


@_log_radial.defjvp
def _log_radial_jvp(k: int, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (t,), (dt,) = primals, tangents
    # M_k' = M_(k+1) = t M_k + k M_(k-1).
    return _log_radial(k, t), k / _ratio(k, t) * dt


@_ratio.defjvp
def _ratio_jvp(k: int, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (t,), (dt,) = primals, tangents
    ratio = _ratio(k, t)
    return ratio, ratio * (_ratio(k + 1, t) - ratio) * dt


def _radial(k: int, t: Any) -> tuple[Any, Any]:
    """log(M_k(t) N(t; 0, 1)) and M_k(t) / M_(k-1)(t), by M_k = t M_(k-1) + (k-1) M_(k-2).

    For large negative t the M_k are the minimal solution, and the recurrence is stable backwards only (Gautschi,
    Recursive computation of the repeated integrals of the error function, 1961).
    """
    dtype = t.dtype
    wide = jnp.promote_types(dtype, jnp.float32)
    t = t.astype(wide)
    border = -(6.0 if wide == jnp.float64 else 2.0) / math.sqrt(k + 1)
    forward = t > border
    found = _forward(k, jnp.where(forward, t, 0.0)), _backward(k, jnp.where(forward, border, t))
    log_moment, ratio = (jnp.where(forward, up, down) for up, down in zip(*found))
    return log_moment.astype(dtype), ratio.astype(dtype)


def _forward(k: int, t: Any) -> tuple[Any, Any]:
    log_cdf = log_ndtr(t)
    ratio = t + jnp.exp(-0.5 * t * t - _HALF_LOG_2PI - log_cdf)
    log_moment = log_cdf + jnp.log(ratio)
    for j in range(1, k):
        ratio = t + j / ratio
        log_moment = log_moment + jnp.log(ratio)
    return log_moment, ratio


def _backward(k: int, t: Any) -> tuple[Any, Any]:
    terms = 12 * (k + 1) + 20
    # For large j the ratio solves r (r - t) = j.
    ratio = 0.5 * (t + jnp.sqrt(t * t + 4.0 * terms))

    def back(i: Any, ratio: Any) -> Any:
        return (terms - i) / (ratio - t)

    ratio = jax.lax.fori_loop(1, terms - k + 1, back, ratio)
    last, log_moment = ratio, jnp.log(ratio)
    for j in range(k - 1, 0, -1):
        ratio = j / (ratio - t)
        log_moment = log_moment + jnp.log(ratio)
    return log_moment - jnp.log(ratio - t) - 0.5 * t * t - _HALF_LOG_2PI, last
