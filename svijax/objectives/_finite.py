"""Latents of finitely many values: the values, and the log probabilities of each for every element of a draw."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.distributions import ExpandedDistribution, Independent, MaskedDistribution
from svijax.effects import Sample


def family(fn: Any) -> Any:
    """The distribution inside to_event, expand and mask: what the elements of a draw are drawn from."""
    while isinstance(fn, Independent | ExpandedDistribution | MaskedDistribution):
        fn = fn.base_dist
    return fn


def elements(site: Sample) -> tuple[int, ...]:
    """The shape of a draw in elements that are independent of each other: batch and event, without the family's own."""
    shape = site.shape
    return shape[: len(shape) - len(family(site.fn).event_shape)]


def per_element(x: Any, site: Sample) -> Any:
    """What is known per batch element, for each element of the draw."""
    ones = (1,) * (len(elements(site)) - len(site.fn.batch_shape))
    return jnp.broadcast_to(jnp.reshape(x, (*jnp.shape(x), *ones)), elements(site))


def over_values(x: Any, site: Sample) -> Any:
    """A mask or weight over elements, in the shape of the draw."""
    return jnp.reshape(x, (*jnp.shape(x), *(1,) * len(family(site.fn).event_shape)))


def values_of(site: Sample) -> jax.Array:
    """All values (K, …) that an element can take, each in the shape of the whole draw."""
    inner = family(site.fn)
    values = jnp.asarray(inner.enumerate_support(expand=False))
    values = values.reshape(len(values), *(1,) * len(elements(site)), *inner.event_shape)
    return jnp.broadcast_to(values, (len(values), *site.shape))


def log_table(site: Sample) -> jax.Array:
    """log q of each value (K, …) at each element. What a mask hides is drawn all the same."""
    inner = family(site.fn)
    table = inner.log_prob(inner.enumerate_support(expand=True))
    shape = elements(site)
    table = table.reshape(len(table), *(1,) * (len(shape) - table.ndim + 1), *table.shape[1:])
    return jnp.broadcast_to(table, (len(table), *shape))


def not_drawn_at_once(site: Sample) -> str | None:
    """Why the elements of a draw are not independent given the draws before it; None if they are."""
    if site.sample_shape:
        return "it is stated with a sample_shape"
    if site.steps:
        return "it stands in a scan, where the draw of one step is read by the next"
    return None


def not_finite(site: Sample) -> str | None:
    """Why the values of an element cannot be listed; None if they can."""
    inner = family(site.fn)
    if not getattr(inner, "has_enumerate_support", False):
        return f"the values of {type(inner).__name__} cannot be listed"
    return not_drawn_at_once(site)
