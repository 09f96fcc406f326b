"""Rows: discrete families."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats

import svijax.distributions as dist


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum()


def _categorical(probs: Any) -> Reference:
    k, probs = np.arange(len(probs)), np.asarray(probs)
    mean = (k * probs).sum()
    return Reference(
        log_prob=lambda x: np.log(probs[np.asarray(x, int)]),
        mean=mean,
        variance=((k - mean) ** 2 * probs).sum(),
        entropy=-(probs * np.log(probs)).sum(),
    )


CASES = {
    "bernoulli": DistCase(dist.Bernoulli, {"probs": 0.3}, lambda probs: stats.bernoulli(probs), "probs"),
    "bernoulli_logits": DistCase(
        dist.Bernoulli,
        {"logits": 1.3},
        lambda logits: stats.bernoulli(_sigmoid(logits)),
        "logits",
    ),
    "binomial": DistCase(
        dist.Binomial,
        {"probs": 0.3},
        lambda total_count, probs: stats.binom(total_count, probs),
        "probs",
        fixed={"total_count": 12},
        lacks=("entropy",),
    ),
    "binomial_logits": DistCase(
        dist.Binomial,
        {"logits": -0.4},
        lambda total_count, logits: stats.binom(total_count, _sigmoid(logits)),
        "logits",
        fixed={"total_count": 12},
        lacks=("entropy",),
    ),
    "categorical": DistCase(
        dist.Categorical,
        {"probs": np.array([0.2, 0.5, 0.3])},
        lambda probs: _categorical(probs),
        "probs",
        bump_to=np.array([0.204, 0.5, 0.296]),
        values=[0, 1, 2],
    ),
    "categorical_logits": DistCase(
        dist.Categorical,
        {"logits": np.array([0.2, -1.0, 2.0])},
        lambda logits: _categorical(_softmax(logits)),
        "logits",
        values=[0, 1, 2],
    ),
    "poisson": DistCase(
        dist.Poisson, {"rate": 3.7}, lambda rate: stats.poisson(rate), "rate", lacks=("entropy",)
    ),
    "poisson_large": DistCase(
        dist.Poisson, {"rate": 41.0}, lambda rate: stats.poisson(rate), "rate", lacks=("entropy",)
    ),
}
