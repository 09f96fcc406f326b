"""Terms that have a first derivative, and no other."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import message, no_derivative


def only_first(owner: str) -> str:
    """What the error says to who differentiates the gradient of an estimator again."""
    return message(
        f"{owner} has no second derivatives.",
        expected="one differentiation of the loss in its parameters",
        got="a derivative of its gradient",
        fix="use ScoreFunction() or Enumerate() at this site, whose derivatives of every order are right.",
    )


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def first_order(reason: str, gradient: Any, at: Any) -> jax.Array:
    """0, of derivative Σ gradient · d at. Differentiated again it raises ``DerivativeError(reason)``.

    :param gradient: a tree of arrays. :param at: the tree, of the same shapes, that its entries are derivatives in.
    """
    return jnp.zeros((), jnp.result_type(*jax.tree.leaves(at), float))


@first_order.defjvp
def _derivative(reason: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    # One draw of an expectation: its own derivative says nothing of that of the expectation, whatever it reads.
    gradient, at = no_derivative(primals, reason)
    out = first_order(reason, gradient, at)
    parts = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, tangents[1])
    return out, jnp.asarray(sum(jax.tree.leaves(parts)), out.dtype)
