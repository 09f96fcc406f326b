"""Logistic regression, and how well its posterior predicts rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.distributions import Bernoulli, Normal
from svijax.effects import plate, sample


def logistic_regression(x: Any, y: Any = None) -> None:
    """y_i ~ Bernoulli(logit = b + x_i · w), b ~ N(0, 5²), w_k ~ N(0, 1); ``x`` (n, k), ``y`` (n,) or None."""
    intercept = sample("intercept", Normal(0.0, 5.0))
    weights = sample("weights", Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    with plate("rows", x.shape[0]):
        sample("y", Bernoulli(logits=intercept + x @ weights), obs=y)


@dataclass(frozen=True)
class HeldOut:
    """Accuracy, and the mean log predictive probability of the true label in nats."""

    accuracy: float
    log_score: float


def held_out(intercept: Any, weights: Any, x: Any, y: Any) -> HeldOut:
    """Scores of the posterior predictive p(y | x) = mean_s p(y | x, b_s, w_s), draws on the leading axis."""
    logits = jnp.asarray(intercept)[:, None] + jnp.asarray(weights) @ jnp.asarray(x).T
    signs = 2 * jnp.asarray(y) - 1
    log_p = jax.nn.logsumexp(jax.nn.log_sigmoid(signs * logits), axis=0) - jnp.log(logits.shape[0])
    return HeldOut(float(jnp.mean(log_p > jnp.log(0.5))), float(jnp.mean(log_p)))
