"""Probabilities and logits: either is stored, both can be read."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message


def take_one(owner: str, **given: Any) -> None:
    """Raise unless exactly one of the alternatives is given."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ArgumentError(
            message(
                f"{owner} needs exactly one of {', '.join(given)}.",
                got=", ".join(names) or "none of them",
            )
        )


def probs_of(logits: Any) -> jax.Array:
    """1 / (1 + exp(-logits))."""
    return jax.nn.sigmoid(logits)


def logits_of(probs: Any) -> jax.Array:
    """log(p / (1 - p)); -inf and inf at 0 and 1."""
    return jnp.log(probs) - jnp.log1p(-probs)
