"""The von Mises distribution of angles."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e

from svijax.base import at_least_single, float_dtype
from svijax.transforms import constraints

from ._distribution import Distribution
from ._implicit import implicit_draw
from ._parameters import parameters
from ._tails import log1mexp

_LOG_2PI = math.log(2.0 * math.pi)
# Coefficients of sqrt(2 pi k) I0(k) exp(-k) in 1 / k.
_HANKEL = (1.0, 1 / 8, 9 / 128, 225 / 3072, 11025 / 98304, 893025 / 3932160)


@at_least_single
@jax.jit
def log_i0e(k: Any) -> jax.Array:
    """log(exp(-k) I0(k)) for k > 0; in single precision its derivative does not cancel for large k."""
    k = jnp.asarray(k)
    if k.dtype != jnp.float32:
        return jnp.log(i0e(k))
    far = k > 25
    inverse = 1 / jnp.where(far, k, 25.0)
    series: Any = _HANKEL[-1]
    for coefficient in _HANKEL[-2::-1]:
        series = coefficient + inverse * series
    asymptotic = jnp.log(series) + 0.5 * (jnp.log(inverse) - _LOG_2PI)
    return jnp.where(far, asymptotic, jnp.log(i0e(jnp.where(far, 25.0, k))))


def _integral(k: jax.Array, angle: Any) -> jax.Array:
    """The integral of exp(k cos t) / exp(k cos angle) over t from an angle in [0, pi] to pi."""
    size, cut = (44, 40.0) if jnp.finfo(k.dtype).eps < 1e-10 else (18, 19.0)
    nodes, weights = np.polynomial.legendre.leggauss(size)
    rule = jnp.asarray(0.5 * nodes + 0.5, k.dtype), jnp.asarray(0.5 * weights, k.dtype)
    sine = jnp.sin(0.5 * angle)
    # Where the integrand has fallen to rounding.
    end = 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(sine * sine + 0.5 * cut / k, 1.0)))
    width = jax.lax.stop_gradient(jnp.maximum(end - angle, 0.0))

    def add(total: jax.Array, node_and_weight: Any) -> tuple[jax.Array, None]:
        node, weight = node_and_weight
        half = 0.5 * node * width
        return total + weight * jnp.exp(-2 * k * jnp.sin(half) * jnp.sin(angle + half)), None

    return width * jax.lax.scan(add, jnp.zeros_like(k * width), rule)[0]


@at_least_single
@jax.jit
def _log_tail(k: Any, angle: Any) -> jax.Array:
    """log P(X > angle) of the distribution around 0, for an angle in [0, pi]."""
    dtype = float_dtype(k, angle)
    return _tail(jnp.asarray(k, dtype), jnp.asarray(angle, dtype))


@jax.custom_jvp
def _tail(k: jax.Array, angle: jax.Array) -> jax.Array:
    # The norm by the same rule: then derivatives in k do not cancel against those of a Bessel function.
    sine = jnp.sin(0.5 * angle)
    whole = 2 * _integral(k, jnp.zeros_like(k))
    inside = _integral(k, angle)
    return jnp.log(jnp.where(inside > 0, inside, 0.0)) - jnp.log(whole) - 2 * k * sine * sine


@_tail.defjvp
def _tail_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    k, angle = primals
    log_tail = _tail(k, angle)
    inside = log_tail > -jnp.inf
    safe = jnp.where(inside, angle, 1.0)
    in_k = jax.jvp(lambda k: _tail.fun(k, safe), (k,), (jnp.ones_like(k),))[1]
    in_angle = -jnp.exp(_log_density(k, safe) - jnp.where(inside, log_tail, 0.0))
    return log_tail, jnp.where(inside, in_k, 0.0) * tangents[0] + jnp.where(inside, in_angle, 0.0) * tangents[
        1
    ]


@jax.jit
def _log_density(k: Any, angle: Any) -> Any:
    sine = jnp.sin(0.5 * angle)
    return -2 * k * sine * sine - _LOG_2PI - log_i0e(k)


def _wrapped(angle: Any) -> Any:
    turns = jnp.floor((angle + math.pi) / (2 * math.pi))
    return jnp.clip(angle - 2 * math.pi * turns, -math.pi, math.pi)


def _draw(key: jax.Array, k: jax.Array) -> jax.Array:
    """Best and Fisher (1979): rejection from a wrapped Cauchy distribution, with 1 - cos of the angle throughout."""
    root = jnp.sqrt(1 + 4 * k * k)
    r_root = jnp.sqrt(1 + root)
    rho = 2 * k * r_root / ((root + 1) * (r_root + math.sqrt(2.0)))
    far = (math.sqrt(2.0) * r_root - 1 - 1 / (root + 2 * k)) / (2 * k)
    gap = jnp.where(k > 1, far, 1 - rho)
    excess = gap * gap / (2 * rho)

    def go_on(state: Any) -> Any:
        return ~jnp.all(state[2])

    def propose(state: Any) -> Any:
        key, angle, done = state
        key, *keys = jax.random.split(key, 4)
        u, v, w = (jax.random.uniform(each, k.shape, k.dtype, jnp.finfo(k.dtype).tiny) for each in keys)
        sine, cosine = jnp.sin(0.5 * math.pi * u), jnp.cos(0.5 * math.pi * u)
        fall = excess * 2 * sine * sine / (excess + 2 * cosine * cosine)
        c = k * (excess + fall)
        accepted = (c * (2 - c) > v) | (jnp.log(c / v) + 1 - c >= 0)
        size = 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(0.5 * fall, 1.0)))
        new = jnp.where(w < 0.5, -size, size)
        return key, jnp.where(done | ~accepted, angle, new), done | accepted

    start = key, jnp.zeros_like(k), jnp.isnan(k)
    return jax.lax.while_loop(go_on, propose, start)[1]


class VonMises(Distribution):
    """p(x) = exp(concentration cos(x - loc)) / (2 pi I0(concentration)) for angles x in [-pi, pi], in radians.

    loc, of which whole turns do not matter, and concentration > 0 broadcast together. The mean and the
    variance are the circular ones: loc in [-pi, pi], and 1 - I1 / I0. Draws by Best and Fisher (1979). Their
    pathwise derivatives, by implicit reparameterisation, turn the circle with loc: they are those of expectations
    of functions that are the same at -pi and pi.
    """

    arg_constraints = parameters(loc=constraints.real, concentration=constraints.positive)
    support = constraints.circular
    _pathwise = True
    loc: jax.Array
    concentration: jax.Array

    def __init__(self, loc: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, concentration=concentration)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        shape = self.shape(sample_shape)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        k = jnp.broadcast_to(jnp.asarray(self.concentration, wide), shape)
        around_zero = VonMises(
            jnp.zeros((), wide), jnp.asarray(self.concentration, wide), validate_args=False
        )
        angle = implicit_draw(around_zero, _draw(key, jax.lax.stop_gradient(k)))
        return _wrapped(self.loc + angle.astype(self.dtype))

    def log_prob(self, value: Any) -> Any:
        inside = jnp.abs(value) <= jnp.asarray(math.pi, jnp.result_type(value, self.dtype))
        x = jnp.where(inside, value, 0.0)
        return jnp.where(inside, _log_density(self.concentration, x - self.loc), -jnp.inf)

    @property
    def mean(self) -> Any:
        return _wrapped(self.loc)

    @property
    def variance(self) -> Any:
        k = jnp.asarray(self.concentration)
        return -jax.jvp(log_i0e, (k,), (jnp.ones_like(k),))[1]

    def _around_zero(self, angle: Any) -> Any:
        """P(X - loc <= angle), and whole turns more for whole turns more."""
        turns = jax.lax.stop_gradient(jnp.floor((angle + math.pi) / (2 * math.pi)))
        angle = jnp.clip(angle - 2 * math.pi * turns, -math.pi, math.pi)
        below = angle < 0
        log_tail = _log_tail(self.concentration, jnp.where(below, -angle, angle))
        return turns + jnp.exp(jnp.where(below, log_tail, log1mexp(log_tail)))

    def cdf(self, value: Any) -> Any:
        value = jnp.clip(value, -math.pi, math.pi)
        # From the angle -pi on, wherever loc is.
        start = self._around_zero(-math.pi - self.loc)
        return jnp.clip(self._around_zero(value - self.loc) - start, 0.0, 1.0)

    def entropy(self) -> Any:
        k = self.concentration
        return _LOG_2PI + log_i0e(k) + k * self.variance
