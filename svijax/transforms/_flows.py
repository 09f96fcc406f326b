"""Bijections of vectors with free parameters: the layers of normalising flows that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import as_array, broadcast, softplus

from . import constraints
from ._constraint import Constraint
from ._transform import Transform, need_axes


class VectorFlow(Transform):
    """A bijection of R^n; ``_fields`` are its parameters, which may have batch axes in front."""

    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.real_vector

    def _batch(self) -> tuple[int, ...]:
        """The batch axes of the parameters."""
        raise NotImplementedError

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        need_axes(self, shape, 1)
        return (*np.broadcast_shapes(tuple(shape[:-1]), self._batch()), shape[-1])

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)


class Planar(VectorFlow):
    """y = x + v tanh(w x + b), where v = u + (softplus(w u) - 1 - w u) w / |w|^2 makes it a bijection.

    ``bias`` is (…), ``u`` and ``w`` are (…, n). The inverse finds its one unknown w x by bisection.
    Rezende and Mohamed (2015), equation 10 and appendix A.1.
    """

    _fields = ("bias", "u", "w")
    bias: Any
    u: Any
    w: Any

    def __init__(self, bias: Any, u: Any, w: Any) -> None:
        self._assign(bias=as_array(bias), u=as_array(u), w=as_array(w))

    def _batch(self) -> tuple[int, ...]:
        return np.broadcast_shapes(np.shape(self.bias), np.shape(self.u)[:-1], np.shape(self.w)[:-1])

    def _direction(self) -> tuple[Any, Any]:
        """v, and 1 + w v = softplus(w u)."""
        along = jnp.sum(self.w * self.u, axis=-1)
        stretch = softplus(along)
        move = (stretch - 1.0 - along) / jnp.sum(self.w * self.w, axis=-1)
        return self.u + move[..., None] * self.w, stretch

    def _slope(self, tanh: Any, stretch: Any) -> Any:
        """1 + (1 - tanh^2) w v, as a sum of what is not negative."""
        return tanh * tanh + (1.0 - tanh * tanh) * stretch

    def __call__(self, x: Any) -> Any:
        return self.call_with_log_det(x)[0]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        v, stretch = self._direction()
        tanh = jnp.tanh(jnp.sum(self.w * x, axis=-1) + self.bias)
        return x + v * tanh[..., None], jnp.log(self._slope(tanh, stretch))

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.call_with_log_det(x)[1]

    def _inverse(self, y: Any) -> Any:
        v, stretch = self._direction()
        target = jnp.sum(self.w * y, axis=-1)

        def gap(c: Any) -> Any:
            return c + (stretch - 1.0) * jnp.tanh(c + self.bias) - target

        # The root's place is found without derivatives; one Newton step then brings them in, and the last digits.
        reach = jnp.abs(stretch - 1.0)
        root = jax.lax.stop_gradient(_bisect(gap, target - reach, target + reach))
        tanh = jax.lax.stop_gradient(jnp.tanh(root + self.bias))
        slope = jax.lax.stop_gradient(self._slope(tanh, stretch))
        root = root - gap(root) / slope
        return y - v * jnp.tanh(root + self.bias)[..., None]


def _bisect(increasing: Any, low: Any, high: Any) -> Any:
    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = 0.5 * (low + high)
        above = increasing(middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.stop_gradient((low, high))
    low, high = jax.lax.fori_loop(0, jnp.finfo(low.dtype).nmant, halve, (low, high))
    return 0.5 * (low + high)


class Radial(VectorFlow):
    """y = x + beta (x - x0) / (alpha + |x - x0|), alpha = softplus(alpha'), beta = softplus(beta') - alpha.

    ``x0`` is (…, n), ``alpha_prime`` and ``beta_prime`` are (…). Rezende and Mohamed (2015), equation 14 and appendix
    A.2.
    """

    _fields = ("x0", "alpha_prime", "beta_prime")
    x0: Any
    alpha_prime: Any
    beta_prime: Any

    def __init__(self, x0: Any, alpha_prime: Any, beta_prime: Any) -> None:
        self._assign(x0=as_array(x0), alpha_prime=as_array(alpha_prime), beta_prime=as_array(beta_prime))

    def _batch(self) -> tuple[int, ...]:
        return np.broadcast_shapes(
            np.shape(self.x0)[:-1], np.shape(self.alpha_prime), np.shape(self.beta_prime)
        )

    def __call__(self, x: Any) -> Any:
        return self.call_with_log_det(x)[0]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        alpha, gamma = softplus(self.alpha_prime), softplus(self.beta_prime)
        gap = x - self.x0
        r = _length(gap)
        # The stretch across the radius is (r + gamma) / (r + alpha): a ratio of what is positive.
        along = jnp.log(r * (r + 2.0 * alpha) + alpha * gamma) - 2.0 * jnp.log(r + alpha)
        across = jnp.log(r + gamma) - jnp.log(r + alpha)
        y = self.x0 + gap * ((r + gamma) / (r + alpha))[..., None]
        return y, (np.shape(x)[-1] - 1) * across + along

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.call_with_log_det(x)[1]

    def _inverse(self, y: Any) -> Any:
        alpha, gamma = softplus(self.alpha_prime), softplus(self.beta_prime)
        gap = y - self.x0
        s = _length(gap)
        # r^2 + (gamma - s) r - s alpha = 0, its positive root in the form that does not cancel.
        b = gamma - s
        root = jnp.sqrt(b * b + 4.0 * s * alpha)
        r = jnp.where(b > 0, 2.0 * s * alpha / jnp.where(b > 0, b + root, 1.0), 0.5 * (root - b))
        return self.x0 + gap * ((r + alpha) / (r + gamma))[..., None]


def _length(x: Any) -> Any:
    """|x| along the last axis, with derivative 0 at 0."""
    square = jnp.sum(x * x, axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


class Householder(VectorFlow):
    """x reflected at the planes across u_1, …, u_k, one after the other: |det| = 1.

    ``u_unnormed`` is (…, k, n); no row is 0. Tomczak and Welling (2016), equation 8.
    """

    _fields = ("u_unnormed",)
    u_unnormed: Any

    def __init__(self, u_unnormed: Any) -> None:
        self._assign(u_unnormed=as_array(u_unnormed))

    def _batch(self) -> tuple[int, ...]:
        return np.shape(self.u_unnormed)[:-2]

    def _reflected(self, x: Any, backwards: bool) -> Any:
        x = jnp.broadcast_to(x, self.forward_shape(np.shape(x)))

        def reflect(x: Any, u: Any) -> tuple[Any, None]:
            scale = 2.0 * jnp.sum(u * x, axis=-1, keepdims=True) / jnp.sum(u * u, axis=-1, keepdims=True)
            return (x - scale * u).astype(x.dtype), None

        planes = jnp.moveaxis(jnp.asarray(self.u_unnormed), -2, 0)
        return jax.lax.scan(reflect, x, planes, reverse=backwards)[0]

    def __call__(self, x: Any) -> Any:
        return self._reflected(x, False)

    def _inverse(self, y: Any) -> Any:
        return self._reflected(y, True)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return broadcast(np.zeros((), x.dtype), self.forward_shape(np.shape(x))[:-1])


class Sylvester(VectorFlow):
    """y = x + Q R tanh(S Q^T x + b): Q the reflections ``u_unnormed``, R and S upper triangular.

    R and S have the strict triangles of ``R_dense`` and ``S_dense`` (…, n, n) and the diagonals tanh(R_diag) and
    tanh(S_diag) (…, n); ``b`` is (…, n). There is no inverse in closed form. Van den Berg et al. (2018), equation 13.
    """

    _fields = ("R_dense", "S_dense", "R_diag", "S_diag", "b", "u_unnormed")
    R_dense: Any
    S_dense: Any
    R_diag: Any
    S_diag: Any
    b: Any
    u_unnormed: Any

    def __init__(self, R_dense: Any, S_dense: Any, R_diag: Any, S_diag: Any, b: Any, u_unnormed: Any) -> None:
        given = zip(self._fields, (R_dense, S_dense, R_diag, S_diag, b, u_unnormed))
        self._assign(**{name: as_array(value) for name, value in given})

    def _batch(self) -> tuple[int, ...]:
        names = {"R_dense": 2, "S_dense": 2, "R_diag": 1, "S_diag": 1, "b": 1, "u_unnormed": 2}
        return np.broadcast_shapes(*(np.shape(getattr(self, name))[:-ndim] for name, ndim in names.items()))

    def __call__(self, x: Any) -> Any:
        return self.call_with_log_det(x)[0]

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        turn = Householder(self.u_unnormed)
        r_diag, s_diag = jnp.tanh(self.R_diag), jnp.tanh(self.S_diag)
        hidden = jnp.tanh(_upper(self.S_dense, s_diag, turn._inverse(x)) + self.b)
        log_det = jnp.sum(jnp.log1p((1.0 - hidden * hidden) * r_diag * s_diag), axis=-1)
        return x + turn(_upper(self.R_dense, r_diag, hidden)), log_det

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.call_with_log_det(x)[1]


def _upper(dense: Any, diagonal: Any, x: Any) -> Any:
    """(the strict upper triangle of ``dense``, and ``diagonal``) times x."""
    return jnp.matmul(jnp.triu(dense, 1), x[..., None])[..., 0] + diagonal * x
