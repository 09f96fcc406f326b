"""Incomplete gamma and beta functions with derivatives in all arguments, and their logarithms far out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._numerics import float_dtype
from ._tails import beta_tail, gamma_tail


def at_least_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function evaluated in single precision where its arguments are all half, with the result in theirs."""

    @functools.wraps(function)
    def evaluate(*args: Any, **options: Any) -> Any:
        dtype = float_dtype(*(arg for arg in args if arg is not None))
        if jnp.finfo(dtype).bits >= 32:
            return function(*args, **options)
        wide = (arg if arg is None else jnp.asarray(arg, jnp.float32) for arg in args)
        return jax.tree.map(lambda out: out.astype(dtype), function(*wide, **options))

    return evaluate


@at_least_single
@jax.jit
def gammainc(a: Any, x: Any) -> jax.Array:
    """P(a, x), the distribution function of Gamma(a, 1) at x; a > 0."""
    return _one(*_gamma_logs(a, x), wanted=True)


@at_least_single
@jax.jit
def gammaincc(a: Any, x: Any) -> jax.Array:
    """Q(a, x) = 1 - P(a, x), without cancellation."""
    return _one(*_gamma_logs(a, x), wanted=False)


@at_least_single
@jax.jit
def log_gammainc(a: Any, x: Any) -> jax.Array:
    """log P(a, x), without underflow."""
    return _log_one(*_gamma_logs(a, x), wanted=True)


@at_least_single
@jax.jit
def log_gammaincc(a: Any, x: Any) -> jax.Array:
    """log Q(a, x), without underflow."""
    return _log_one(*_gamma_logs(a, x), wanted=False)


@at_least_single
@jax.jit
def betainc(a: Any, b: Any, x: Any, rest: Any = None) -> jax.Array:
    """I_x(a, b), the distribution function of Beta(a, b) at x; a, b > 0. ``rest`` is 1 - x, if it is known better."""
    return _one(*_beta_logs(a, b, x, rest), wanted=True)


@at_least_single
@jax.jit
def betaincc(a: Any, b: Any, x: Any, rest: Any = None) -> jax.Array:
    """1 - I_x(a, b), without cancellation."""
    return _one(*_beta_logs(a, b, x, rest), wanted=False)


@at_least_single
@jax.jit
def log_betainc(a: Any, b: Any, x: Any, rest: Any = None) -> jax.Array:
    """log I_x(a, b), without underflow."""
    return _log_one(*_beta_logs(a, b, x, rest), wanted=True)


@at_least_single
@jax.jit
def log_betaincc(a: Any, b: Any, x: Any, rest: Any = None) -> jax.Array:
    """log(1 - I_x(a, b)), without underflow."""
    return _log_one(*_beta_logs(a, b, x, rest), wanted=False)


def _one(log_tail: Any, lower: Any, inside: Any, above: Any, *, wanted: bool) -> jax.Array:
    same = lower if wanted else ~lower
    tail = jnp.exp(log_tail)
    # The derivative of expm1 is written 1 + expm1, which rounds to 0 far out.
    rest = jnp.where(log_tail < -0.7, 1.0 - tail, -jnp.expm1(jnp.maximum(log_tail, -0.7)))
    value = jnp.where(same, tail, rest)
    return jnp.where(inside, value, above.astype(value.dtype) if wanted else (~above).astype(value.dtype))


def _log_one(log_tail: Any, lower: Any, inside: Any, above: Any, *, wanted: bool) -> jax.Array:
    same = lower if wanted else ~lower
    # A tail that is 1 to rounding has the log of the other one's smallest complement.
    other = jnp.log(
        -jnp.expm1(jnp.where(same, -1.0, jnp.minimum(log_tail, -float(jnp.finfo(log_tail.dtype).tiny))))
    )
    value = jnp.where(same, log_tail, other)
    return jnp.where(inside, value, jnp.where(above if wanted else ~above, 0.0, -jnp.inf))


def _gamma_logs(a: Any, x: Any) -> Any:
    dtype = float_dtype(a, x)
    a, x = jnp.broadcast_arrays(jnp.asarray(a, dtype), jnp.asarray(x, dtype))
    inside = (x > 0) & jnp.isfinite(x)
    log_tail, lower = _log_gamma_tail(a, jnp.where(inside, x, 1.0))
    return log_tail, lower, inside, x > 0


@jax.custom_jvp
def _log_gamma_tail(a: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    log_tail, _, lower = gamma_tail(a, x)
    return log_tail, lower


def _log_gamma_tail_jvp(primals: Any, tangents: Any) -> Any:
    a, x = primals
    da, dx = tangents
    return _with_tangents(lambda a: gamma_tail(a, x), (a,), (da,), dx, x)


def _beta_logs(a: Any, b: Any, x: Any, rest: Any) -> Any:
    dtype = float_dtype(a, b, x)
    x = jnp.asarray(x, dtype)
    given = rest is not None
    rest = jnp.asarray(rest, dtype) if given else 1 - x
    a, b, x, rest = jnp.broadcast_arrays(jnp.asarray(a, dtype), jnp.asarray(b, dtype), x, rest)
    inside = (x > 0) & (rest > 0)
    safe, safe_rest = (jnp.where(inside, value, 0.5) for value in (x, rest))
    lost = jnp.zeros_like(safe) if given else (1 - safe_rest) - safe
    log_tail, lower = _log_beta_tail(a, b, safe, *jax.lax.stop_gradient((safe_rest, lost)))
    return log_tail, lower, inside, x > 0


@jax.custom_jvp
def _log_beta_tail(
    a: jax.Array, b: jax.Array, x: jax.Array, rest: jax.Array, lost: jax.Array
) -> tuple[jax.Array, jax.Array]:
    log_tail, _, lower = beta_tail(a, b, x, rest, lost)
    return log_tail, lower


def _log_beta_tail_jvp(primals: Any, tangents: Any) -> Any:
    a, b, x, rest, lost = primals
    da, db, dx, *_ = tangents
    return _with_tangents(lambda a, b: beta_tail(a, b, x, rest, lost), (a, b), (da, db), dx, x * rest)


_log_gamma_tail.defjvp(_log_gamma_tail_jvp, symbolic_zeros=True)
_log_beta_tail.defjvp(_log_beta_tail_jvp, symbolic_zeros=True)


def _with_tangents(tail: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], dx: Any, unit: Any) -> Any:
    """The log of the tail and its derivative, in the parameters and in x: there it is exp(-ratio) / unit up or down."""
    (log_tail, ratio, lower), total = _along(tail, primals, tangents)
    if not _is_zero(dx):
        total = total + jnp.where(lower, 1.0, -1.0) * jnp.exp(-ratio) / unit * dx
    no_tangent = np.zeros(lower.shape, jax.dtypes.float0)
    return (log_tail, lower), (total, no_tangent)


def _along(tail: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """The tail and the derivative of its log in the parameters that move."""
    total: Any = None
    for place, tangent in enumerate(tangents):
        if not _is_zero(tangent):
            direction = tuple(jnp.full_like(p, float(i == place)) for i, p in enumerate(primals))
            # A direction of ones, so that what is left of the quadrature is a product, whichever way it is run.
            out, slope = jax.jvp(lambda *p: tail(*p)[:2], primals, direction)
            total = (0.0 if total is None else total) + slope[0] * tangent
    if total is None:
        return (out := tail(*primals)), jnp.zeros_like(out[0])
    return (*out, tail(*primals)[2]), total


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)
