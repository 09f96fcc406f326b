"""Random keys: both kinds that JAX has, and keys that depend on names."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp

from ._errors import ArgumentError, message


def as_key(key: jax.Array) -> jax.Array:
    """A typed key from a typed key or from raw key data (``jax.random.PRNGKey``)."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if getattr(key, "dtype", None) != jnp.uint32:
        raise ArgumentError(
            message(
                "a random key is needed.",
                got=repr(key),
                fix="pass jax.random.key(0), or another key that JAX made.",
            )
        )
    return jax.random.wrap_key_data(key)


def name_hash(name: str) -> int:
    """crc32 of the name: equal in every process."""
    return zlib.crc32(name.encode())


def site_key(key: jax.Array, name: str) -> jax.Array:
    """The key of one site: independent of which other sites there are."""
    return jax.random.fold_in(key, name_hash(name))


def is_threefry(key: jax.Array) -> bool:
    """Whether draws of ``vmap`` over keys equal the draws key by key, as threefry's do."""
    return "threefry" in str(jax.random.key_impl(key))
