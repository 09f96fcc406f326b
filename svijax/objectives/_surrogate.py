"""The loss of terms with scores: its value that of the terms, its derivatives of every order unbiased.

A cost c that depends on draws with scores s enters as c · exp(Σ (s − sg s)) (DiCE, Foerster et al. 2018, eq. 5). A
baseline b that does not depend on the own draw enters as b · (1 − exp(s − sg s)): its value is 0, and the
expectation of each of its derivatives too, since ∫ q = 1 (Mao et al. 2019). So it does for log q of the draw itself,
whose own derivative is such a term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import constant

from ._terms import Cost, Score, add_up, reduced


def magic(log_q: Any) -> Any:
    """exp(s − sg s): 1, with the derivatives of exp(s) / sg exp(s)."""
    return jnp.exp(log_q - jax.lax.stop_gradient(log_q))


def with_scores(costs: Sequence[Cost], scores: Sequence[Score]) -> Any:
    """Σ costs, each times the magic box of its scores.

    Less the derivative of log q at the draw itself: it has expectation 0, and the score needs none of it.
    """
    by_name = {score.name: score for score in scores}
    parts = []
    for cost in costs:
        upstream = [reduced(by_name[k.score].log_q, k.plates) for k in cost.links if k.score in by_name]
        value = cost.value * magic(add_up(upstream)) if upstream else cost.value
        parts.append(jnp.sum(value))
        if cost.slope is not None and cost.name in by_name:
            parts.append(jnp.sum(cost.slope * (1 - magic(by_name[cost.name].log_q))))
    return add_up(parts)


def belonging(costs: Sequence[Cost], score: Score) -> Any:
    """The costs that depend on the draw, for each element of it the sum of those that depend on this element."""
    found = [reduced(c.value, k.plates) for c in costs for k in c.links if k.score == score.name]
    return jnp.broadcast_to(add_up(found), jnp.shape(score.log_q))


def downstream(costs: Sequence[Cost], score: Score) -> Any:
    """The costs that depend on the draw, by its elements, as numbers without derivatives."""
    return jax.lax.stop_gradient(belonging(costs, score))


def without_baselines(scores: Sequence[Score], baselines: Mapping[str, Any]) -> Any:
    """Σ b (1 − exp(s − sg s)), the baselines by name of score: of value 0."""
    parts = [
        jnp.sum(jax.lax.stop_gradient(baselines[s.name]) * (1 - magic(s.log_q)))
        for s in scores
        if s.name in baselines
    ]
    return add_up(parts)


def along(coefficient: Any, x: Any, reason: str) -> Any:
    """0, with the derivative ``coefficient · dx``; a second derivative is an error that says the reason."""
    return constant(coefficient, reason) * (x - constant(x, reason))
