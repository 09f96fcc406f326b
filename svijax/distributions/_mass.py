"""Probabilities of intervals, as logarithms and from the nearer tail: what truncation and censoring stand on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._tails import log1mexp


def ends_of(dist: Any) -> tuple[Any, Any]:
    """The ends of the support of a distribution of single numbers; None where there is none."""
    support = dist.support
    return getattr(support, "lower", None), getattr(support, "upper", None)


def feasible(dist: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A value in the support."""
    return dist.support.feasible_like(jax.ShapeDtypeStruct(shape, dtype))


def log_below(dist: Any, x: Any) -> Any:
    """log P(X <= x), of derivative 0 where the support ends."""
    return _log_tail(dist, x, dist.log_cdf, -np.inf, 0.0)


def log_above(dist: Any, x: Any) -> Any:
    """log P(X > x), of derivative 0 where the support ends."""
    return _log_tail(dist, x, dist.log_survival_function, 0.0, -np.inf)


def _log_tail(dist: Any, x: Any, log_tail: Any, at_lower: float, at_upper: float) -> Any:
    lower, upper = ends_of(dist)
    x = jnp.asarray(x)
    below = None if lower is None else (x < lower if dist.is_discrete else x <= lower)
    above = None if upper is None else x >= upper
    outside = below if above is None else above if below is None else below | above
    if outside is None:
        return log_tail(x)
    shape = np.broadcast_shapes(x.shape, tuple(dist.batch_shape))
    value = log_tail(jnp.where(outside, feasible(dist, shape, x.dtype), x))
    for beyond, end in ((below, at_lower), (above, at_upper)):
        value = value if beyond is None else jnp.where(beyond, jnp.asarray(end, value.dtype), value)
    return value


def log1mexp_closed(x: Any) -> Any:
    """log(1 - exp(x)) for x <= 0; -inf at 0, and of derivative 0 there and at -inf."""
    inner = (x < 0) & (x > -jnp.inf)
    value = log1mexp(jnp.where(inner, x, -1.0))
    return jnp.where(inner, value, jnp.where(x < 0, 0.0, -jnp.inf).astype(value.dtype))


def log_mass(dist: Any, low: Any, high: Any) -> Any:
    """log P(low < X <= high); None is no bound."""
    if low is None:
        return jnp.zeros((), jnp.result_type(float)) if high is None else log_below(dist, high)
    if high is None:
        return log_above(dist, low)
    below = log_below(dist, low), log_below(dist, high)
    above = log_above(dist, high), log_above(dist, low)
    # From the tail in which the interval lies: no difference of two numbers near 1.
    upper = below[0] > above[1]
    small, big = (jnp.where(upper, a, b) for a, b in zip(above, below))
    finite = big > -jnp.inf
    gap = jnp.where(finite, small, -1.0) - jnp.where(finite, big, 0.0)
    return big + jnp.where(finite, log1mexp_closed(jnp.minimum(gap, 0.0)), 0.0)
