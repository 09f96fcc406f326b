"""Coins and one-hot vectors as functions of continuous noise: b = H(z), z = location + noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import softplus, sum_rightmost
from svijax.distributions import (
    Bernoulli,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    OneHotCategorical,
)
from svijax.effects import Sample

from ._finite import family, log_table

_FAR = 80.0
"""Logits beyond it are as good as infinite, and their exponentials finite in single precision."""


class Relaxation(ABC):
    """The noise behind the elements of a draw b, by logits a."""

    @abstractmethod
    def logits(self, site: Sample) -> Any:
        """a, in the shape of the draw."""

    @abstractmethod
    def log_q(self, logits: Any, b: Any) -> Any:
        """log q(b) of each element."""

    @abstractmethod
    def location(self, logits: Any) -> Any:
        """What the logits add to the noise."""

    @abstractmethod
    def given(self, logits: Any, b: Any, v: Any) -> Any:
        """z | b made of uniforms v, of the law of z where b is drawn too."""

    @abstractmethod
    def soft(self, z: Any, temperature: Any) -> Any:
        """The relaxed draw."""


class Coins(Relaxation):
    """z = a + log u − log(1 − u), b = 1[z > 0] (Maddison et al. 2017; Tucker et al. 2017, appendix C)."""

    def logits(self, site: Sample) -> Any:
        log_q = log_table(site)
        return jnp.clip(log_q[1] - log_q[0], -_FAR, _FAR)

    def log_q(self, logits: Any, b: Any) -> Any:
        return b * logits - softplus(logits)

    def location(self, logits: Any) -> Any:
        return logits

    def given(self, logits: Any, b: Any, v: Any) -> Any:
        odds = jnp.log(v) - jnp.log1p(-v)
        heads, tails = softplus(odds + softplus(logits)), -softplus(odds + softplus(-logits))
        return jnp.where(b > 0, heads, tails)

    def soft(self, z: Any, temperature: Any) -> Any:
        return jax.nn.sigmoid(z / temperature)


class OneHots(Relaxation):
    """z_k = log p_k − log(−log u_k), b the unit vector of the largest (Tucker et al. 2017, appendix C)."""

    def logits(self, site: Sample) -> Any:
        return jnp.maximum(jnp.moveaxis(log_table(site), 0, -1), -_FAR)

    def log_q(self, logits: Any, b: Any) -> Any:
        return jnp.sum(b * self.location(logits), axis=-1)

    def location(self, logits: Any) -> Any:
        return jax.nn.log_softmax(logits, axis=-1)

    def given(self, logits: Any, b: Any, v: Any) -> Any:
        waits = -jnp.log(v)
        first = jnp.sum(b * waits, axis=-1, keepdims=True)
        others = waits * jnp.exp(-self.location(logits)) + first
        return -jnp.log(jnp.where(b > 0, first, others))

    def soft(self, z: Any, temperature: Any) -> Any:
        return jax.nn.softmax(z / temperature, axis=-1)


def relaxation_of(site: Sample) -> Relaxation | None:
    """The noise of a site's family; None where it is not known."""
    inner = family(site.fn)
    if isinstance(inner, Bernoulli):
        return Coins()
    return OneHots() if isinstance(inner, OneHotCategorical) else None


def linear_log_prob(fn: Any, value: Any) -> Any:
    """log p at relaxed one-hot vectors: Σ_k value_k log p_k."""
    if isinstance(fn, Independent):
        return sum_rightmost(linear_log_prob(fn.base_dist, value), fn.reinterpreted_batch_ndims)
    if isinstance(fn, MaskedDistribution):
        return jnp.where(fn.mask_value, linear_log_prob(fn.base_dist, value), 0.0)
    if isinstance(fn, ExpandedDistribution):
        return linear_log_prob(fn.base_dist, value)
    return jnp.sum(value * jnp.log(fn.probs), axis=-1)
