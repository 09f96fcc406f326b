"""The difference of two runs on antithetic coins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from svijax.distributions import Bernoulli
from svijax.effects import Sample

from ._finite import elements, family, log_table, not_drawn_at_once, per_element
from ._first_order import first_order
from ._rerun import Place, Surrogate


@dataclass(frozen=True)
class DisARM(Surrogate):
    """½ (f(b) − f(b̃)) (−1)^b̃ 1[b ≠ b̃] s(|a|) ∇ a, where b = 1[1 − u < s(a)], b̃ = 1[u < s(a)], a the log odds.

    At Bernoulli sites, whole vectors at once: one more run of the programs whatever their length, on b̃. f is, for each
    batch element, the sum of the costs that depend on it. Dong, Mnih and Tucker (2020), eq. 9; also Yin et al. (2020).
    It has no second derivatives.
    """

    def obstacle(self, site: Sample) -> str | None:
        if not isinstance(family(site.fn), Bernoulli):
            return "it is a difference over coins, of Bernoulli(probs) or Bernoulli(logits)"
        return not_drawn_at_once(site)

    def surrogate(self, place: Place) -> Any:
        site = place.site
        log_q = log_table(site)
        p, heads = jnp.exp(log_q[1]), site.value != 0
        # u given b, as its place v on the part of (0, 1) where b is what it is.
        v = place.uniforms(elements(site))
        opposite = jnp.where(heads, p * v < 2 * p - 1, v * (1 - p) < p)
        there = place.costs(place.again(opposite.astype(jnp.result_type(site.value))))
        gap = per_element(place.costs(place.first.terms) - there, site)
        sign = jnp.where(opposite, -1.0, 1.0)
        weight = 0.5 * jnp.maximum(p, 1 - p) * gap * jnp.where(heads == opposite, 0.0, sign)
        return first_order(place.reason, weight, log_q[1] - log_q[0])
