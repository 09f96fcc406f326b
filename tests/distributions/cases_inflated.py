"""Rows: zero inflation and hurdles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats
from truths import sigmoid

import svijax.distributions as dist


def _gated(base: Any, gate: float, hurdle: bool) -> Reference:
    """By summation over the support."""
    k = np.arange(3 * int(base.ppf(1 - 1e-12)) + 60)
    p = base.pmf(k)
    p = np.where(k == 0, 0.0, p) / (1 - p[0]) if hurdle else p
    p = (1 - gate) * p + np.where(k == 0, gate, 0.0)
    mean, total = (k * p).sum(), np.cumsum(p)

    def log_prob(x: Any) -> Any:
        x = np.asarray(x)
        rest = base.logpmf(x) - (np.log1p(-base.pmf(0)) if hurdle else 0.0) + np.log1p(-gate)
        return np.where(x == 0, np.log(p[0]), rest)

    def cdf(x: Any) -> Any:
        x = np.floor(np.asarray(x))
        return np.where(x < 0, 0.0, total[np.clip(x, 0, len(k) - 1).astype(int)])

    def above(x: Any) -> Any:
        scale = (1 - gate) / ((1 - base.pmf(0)) if hurdle else 1.0)
        return np.log(scale) + base.logsf(x)

    logs = np.log(np.where(p > 0, p, 1.0))
    return Reference(
        log_prob,
        cdf,
        lambda q: np.searchsorted(total, np.asarray(q) - 1e-15),
        mean,
        ((k - mean) ** 2 * p).sum(),
        -(p * logs).sum(),
        log_survival_function=above,
    )


def _negative_binomial(mean: float, concentration: float) -> Any:
    return stats.nbinom(concentration, concentration / (concentration + mean))


def _without_entropy(truth: Reference) -> Reference:
    return replace(truth, entropy=None)


def _hurdle_continuous(base: Any, gate: float) -> Reference:
    def log_prob(x: Any) -> Any:
        x = np.asarray(x, np.float64)
        return np.where(x == 0, np.log(gate), np.log1p(-gate) + base.logpdf(np.where(x == 0, 1.0, x)))

    mean = (1 - gate) * base.mean()
    entropy = (1 - gate) * base.entropy() - gate * np.log(gate) - (1 - gate) * np.log1p(-gate)
    return Reference(
        log_prob,
        lambda x: np.where(np.asarray(x) >= 0, gate, 0) + (1 - gate) * base.cdf(x),
        mean=mean,
        variance=(1 - gate) * (base.var() + base.mean() ** 2) - mean**2,
        entropy=entropy,
        log_survival_function=lambda x: np.log1p(-gate) + base.logsf(x),
    )


CASES: dict[str, DistCase] = {
    "zero_inflated_poisson": DistCase(
        dist.ZeroInflatedPoisson,
        {"gate": 0.3, "rate": 3.5},
        lambda gate, rate: _without_entropy(_gated(stats.poisson(rate), gate, False)),
        "rate",
    ),
    "zero_inflated_binomial_logits": DistCase(
        lambda gate_logits, probs: dist.ZeroInflatedLogits(dist.Binomial(6, probs), gate_logits),
        {"gate_logits": -0.7, "probs": 0.4},
        lambda gate_logits, probs: _gated(stats.binom(6, probs), sigmoid(gate_logits), False),
        "probs",
    ),
    "zero_inflated_bernoulli": DistCase(
        lambda gate, probs: dist.ZeroInflatedDistribution(dist.Bernoulli(probs), gate=gate),
        {"gate": 0.3, "probs": 0.4},
        lambda gate, probs: _gated(stats.bernoulli(probs), gate, False),
        "probs",
        values=[0, 1],
    ),
    "zero_inflated_negative_binomial": DistCase(
        dist.ZeroInflatedNegativeBinomial,
        {"total_count": 3.0, "logits": 0.2, "gate_logits": -1.0},
        lambda total_count, logits, gate_logits: _without_entropy(
            _gated(stats.nbinom(total_count, 1 - sigmoid(logits)), sigmoid(gate_logits), False)
        ),
        "total_count",
    ),
    "zero_inflated_negative_binomial2": DistCase(
        dist.ZeroInflatedNegativeBinomial2,
        {"mean": 4.0, "concentration": 2.0, "gate": 0.2},
        lambda mean, concentration, gate: _without_entropy(
            _gated(_negative_binomial(mean, concentration), gate, False)
        ),
        "mean",
    ),
    "hurdle_poisson": DistCase(
        dist.HurdlePoisson,
        {"gate": 0.3, "rate": 1.5},
        lambda gate, rate: _without_entropy(_gated(stats.poisson(rate), gate, True)),
        "rate",
    ),
    "hurdle_binomial_logits": DistCase(
        lambda gate_logits, probs: dist.HurdleLogits(dist.Binomial(3, probs), gate_logits),
        {"gate_logits": -0.4, "probs": 0.4},
        lambda gate_logits, probs: _gated(stats.binom(3, probs), sigmoid(gate_logits), True),
        "probs",
    ),
    "hurdle_negative_binomial2": DistCase(
        dist.HurdleNegativeBinomial2,
        {"gate": 0.3, "mean": 2.5, "concentration": 1.7},
        lambda gate, mean, concentration: _without_entropy(
            _gated(_negative_binomial(mean, concentration), gate, True)
        ),
        "mean",
    ),
    "hurdle_gamma": DistCase(
        dist.HurdleGamma,
        {"gate": 0.3, "concentration": 2.5, "rate": 1.5},
        lambda gate, concentration, rate: _hurdle_continuous(
            stats.gamma(concentration, scale=1 / rate), gate
        ),
        values=[0.0, 0.1, 1.0, 4.0],
        atom=True,
    ),
    "hurdle_log_normal": DistCase(
        dist.HurdleLogNormal,
        {"gate": 0.3, "loc": 0.2, "scale": 0.6},
        lambda gate, loc, scale: _hurdle_continuous(stats.lognorm(scale, scale=np.exp(loc)), gate),
        values=[0.0, 0.1, 1.0, 4.0],
        atom=True,
    ),
}
