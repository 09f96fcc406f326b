"""Safe numerics: what densities and bijections share, with gradients that stay finite at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def array_module(*values: Any) -> Any:
    """``numpy`` where no value is a JAX array, so that host checks start no backend; else ``jax.numpy``."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def is_concrete(value: Any) -> bool:
    """Whether the numbers can be read now: not a tracer, a stand-in or an array of another process."""
    if isinstance(value, jax.Array):
        return not isinstance(value, jax.core.Tracer) and value.is_fully_addressable
    return isinstance(value, (bool, int, float, np.ndarray, np.generic))


def as_array(value: Any) -> Any:
    """The value as a JAX array or tracer if it holds one, else as a Python scalar or numpy array."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic, bool, int, float)):
        return value
    if hasattr(value, "__jax_array__"):
        return value.__jax_array__()
    if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value)
    return np.asarray(value)


def cast(value: Any, dtype: Any) -> Any:
    """The value in ``dtype`` and strongly typed; what is not a JAX array becomes a numpy array."""
    if not isinstance(value, jax.Array):
        return np.asarray(value, dtype=dtype)
    if value.dtype == dtype and not getattr(value, "weak_type", False):
        return value
    return jax.lax.convert_element_type(value, dtype)


def float_dtype(*values: Any) -> Any:
    """The inexact dtype to which JAX promotes the values; Python scalars and integers take the default."""
    dtype = jnp.result_type(*values)
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(dtype, 1.0)


def broadcast(value: Any, shape: Sequence[int]) -> Any:
    """The value in ``shape``; no operation where it has it already, and a view where it is numpy."""
    shape = tuple(shape)
    if np.shape(value) == shape:
        return value
    return array_module(value).broadcast_to(value, shape)


def sum_rightmost(value: Any, ndims: int) -> Any:
    """Sum over the last ``ndims`` axes; no operation for 0."""
    if ndims == 0:
        return value
    return array_module(value).sum(value, axis=tuple(range(-ndims, 0)))


@jax.jit
def xlogy(x: Any, y: Any) -> jax.Array:
    """x log y with 0 log 0 = 0, whose derivatives in x and in y are finite there too."""
    return x * jnp.log(jnp.where((x == 0) & (y == 0), 1.0, y))


@jax.jit
def xlog1py(x: Any, y: Any) -> jax.Array:
    """x log(1 + y) with 0 log 0 = 0, whose derivatives in x and in y are finite there too."""
    return x * jnp.log1p(jnp.where((x == 0) & (y == -1), 0.0, y))


def softplus(x: Any) -> jax.Array:
    """log(1 + exp(x)) for x > -inf; each branch is the function itself, so that all derivatives are right at 0 too.

    max(x, 0) is written (x + |x|) / 2: a choice between x and 0 would make vmap move its axis to the front.
    """
    minus_size = jnp.where(x >= 0, -x, x)
    return 0.5 * (x - minus_size) + jnp.log1p(jnp.exp(minus_size))


def softplus_inverse(y: Any) -> jax.Array:
    """log(exp(y) - 1), without overflow for large y or cancellation for small y."""
    return y + jnp.log(-jnp.expm1(-y))


def log_sigmoid(x: Any) -> jax.Array:
    """log(1 / (1 + exp(-x)))."""
    return -softplus(-x)


def open_unit(x: Any) -> jax.Array:
    """x kept strictly inside (0, 1): at least the smallest normal number, at most 1 - eps."""
    info = jnp.finfo(x.dtype)
    # 1 - eps and not 1 - eps / 2: then low + (high - low) * x cannot be rounded above high.
    return jnp.clip(x, float(info.tiny), 1.0 - float(info.eps))


@jax.jit
def log1p_square(z: Any) -> jax.Array:
    """log(1 + z^2), finite where z^2 overflows."""
    far = jnp.abs(z) > float(jnp.finfo(jnp.result_type(z)).max) ** 0.4
    near = jnp.where(far, 1.0, z)
    return jnp.where(far, 2.0 * jnp.log(jnp.where(far, jnp.abs(z), 1.0)), jnp.log1p(near * near))
