"""Rows: counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats
from truths import sigmoid

import svijax.distributions as dist


def _of_counts(law: Any, **moments: Any) -> Reference:
    """What a law of counts tells; its entropy is asked for by name only, since SciPy sums it slowly."""
    return Reference(
        log_prob=law.logpmf,
        cdf=law.cdf,
        icdf=law.ppf,
        mean=law.mean(),
        variance=law.var(),
        log_survival_function=law.logsf,
        **moments,
    )


def _exact(log_prob: Callable[[Any], Any], law: Any, **moments: Any) -> Reference:
    """The log masses of ``log_prob``, a function of one mpmath number, and the rest from SciPy's ``law``."""
    return Reference(
        log_prob=lambda x: np.reshape([float(log_prob(k)) for k in np.ravel(x)], np.shape(x)),
        cdf=law.cdf,
        icdf=law.ppf,
        mean=law.mean(),
        variance=law.var(),
        log_survival_function=law.logsf,
        **moments,
    )


def _poisson_exact(rate: Any) -> Reference:
    import mpmath as mp

    mp.mp.dps = 40
    rate_ = mp.mpf(float(rate))
    return _exact(
        lambda k: int(k) * mp.log(rate_) - rate_ - mp.loggamma(int(k) + 1), stats.poisson(float(rate))
    )


def _binomial_exact(total_count: Any, probs: Any) -> Reference:
    import mpmath as mp

    mp.mp.dps = 40
    n, p = int(total_count), mp.mpf(float(probs))

    def log_prob(k: Any) -> Any:
        k = int(k)
        choices = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
        return choices + k * mp.log(p) + (n - k) * mp.log(1 - p)

    law = stats.binom(n, float(probs))
    return _exact(log_prob, law, entropy=float(law.entropy()))


def _negative_binomial(r: Any, p: Any) -> Reference:
    return _of_counts(stats.nbinom(r, 1 - p))


def _negative_binomial_exact(concentration: Any, rate: Any) -> Reference:
    import mpmath as mp

    mp.mp.dps = 40
    c, b = mp.mpf(float(concentration)), mp.mpf(float(rate))

    def log_prob(k: Any) -> Any:
        k = int(k)
        choices = mp.loggamma(k + c) - mp.loggamma(c) - mp.loggamma(k + 1)
        return choices + c * mp.log(b / (1 + b)) - k * mp.log(1 + b)

    return _exact(log_prob, stats.nbinom(float(concentration), float(rate / (1 + rate))))


def _beta_binomial(concentration1: Any, concentration0: Any, total_count: Any) -> Reference:
    law = stats.betabinom(total_count, concentration1, concentration0)
    masses = law.pmf(np.arange(int(total_count) + 1))
    return Reference(law.logpmf, None, law.ppf, law.mean(), law.var(), -(masses * np.log(masses)).sum())


def _beta_negative_binomial(concentration1: Any, concentration0: Any, n: Any) -> Reference:
    a, b = concentration1, concentration0

    def log_prob(k: Any) -> Any:
        joint = special.gammaln(n + k) - special.gammaln(k + 1) - special.gammaln(n)
        return joint + special.betaln(a + k, b + n) - special.betaln(a, b)

    def icdf(q: Any) -> Any:
        return np.searchsorted(np.cumsum(np.exp(log_prob(np.arange(400_000.0)))), q).astype(float)

    return Reference(
        log_prob=log_prob,
        icdf=icdf,
        mean=n * a / (b - 1) if b > 1 else np.inf,
        variance=n * (n + b - 1) * a * (a + b - 1) / ((b - 2) * (b - 1) ** 2) if b > 2 else np.inf,
    )


def _discrete_uniform(low: Any, high: Any) -> Reference:
    law = stats.randint(low, high + 1)
    return Reference(
        law.logpmf, law.cdf, law.ppf, law.mean(), law.var(), float(law.entropy()), law.logcdf, law.logsf
    )


def _log_normal_negative_binomial(
    total_count: Any, logits: Any, multiplicative_noise_scale: Any, num_quad_points: int
) -> Reference:
    points, weights = special.roots_hermitenorm(num_quad_points)
    shifted = logits + multiplicative_noise_scale * points
    law = stats.nbinom(total_count, sigmoid(-shifted))

    def log_prob(k: Any) -> Any:
        k = np.asarray(k)[..., None]
        return special.logsumexp(law.logpmf(k), b=weights / weights.sum(), axis=-1)

    def icdf(q: Any) -> Any:
        return np.searchsorted(np.cumsum(np.exp(log_prob(np.arange(4000)))), q).astype(float)

    # Moments of the exact law, by a fine rule.
    fine, fine_weights = special.roots_hermitenorm(60)
    odds = np.exp(logits + multiplicative_noise_scale * fine)
    average = fine_weights / fine_weights.sum()
    mean = (average * total_count * odds).sum()
    square = (average * (total_count * odds * (1 + odds) + (total_count * odds) ** 2)).sum()
    return Reference(log_prob=log_prob, icdf=icdf, mean=mean, variance=square - mean**2)


CASES: dict[str, DistCase] = {
    "bernoulli": DistCase(dist.Bernoulli, {"probs": 0.3}, lambda probs: stats.bernoulli(probs), "probs"),
    "bernoulli_logits": DistCase(
        dist.Bernoulli,
        {"logits": 1.3},
        lambda logits: stats.bernoulli(sigmoid(logits)),
        "logits",
    ),
    "bernoulli_probs_class": DistCase(
        dist.BernoulliProbs, {"probs": 0.01}, lambda probs: stats.bernoulli(probs), "probs", change=0.05
    ),
    "bernoulli_logits_class": DistCase(
        dist.BernoulliLogits,
        {"logits": -4.0},
        lambda logits: stats.bernoulli(sigmoid(logits)),
        "logits",
    ),
    "binomial": DistCase(
        dist.Binomial,
        {"probs": 0.3},
        lambda total_count, probs: stats.binom(total_count, probs),
        "probs",
        fixed={"total_count": 12},
        outside=(13, 1_000_000_000),
    ),
    "binomial_logits": DistCase(
        dist.BinomialLogits,
        {"logits": -0.4},
        lambda total_count, logits: stats.binom(total_count, sigmoid(logits)),
        "logits",
        fixed={"total_count": 12},
    ),
    "binomial_large": DistCase(
        dist.BinomialProbs,
        {"probs": 0.71},
        _binomial_exact,
        "probs",
        fixed={"total_count": 100_000},
        values=[0, 1, 69_000, 70_900, 71_000, 71_143, 72_000, 99_990, 100_000],
        # Curvatures of 10^5 are beyond central differences.
        slopes=False,
    ),
    "extended_binomial": DistCase(
        dist.ExtendedBinomial,
        {"probs": 0.8},
        lambda total_count, probs: stats.binom(total_count, probs),
        "probs",
        fixed={"total_count": 4},
        outside=(-1, 5, 1000),
    ),
    "beta_binomial": DistCase(
        dist.BetaBinomial,
        {"concentration1": 2.5, "concentration0": 0.7},
        _beta_binomial,
        "concentration1",
        change=0.05,
        fixed={"total_count": 11},
    ),
    "beta_binomial_sharp": DistCase(
        dist.BetaBinomial,
        {"concentration1": 2500.0, "concentration0": 1200.0},
        _beta_binomial,
        "concentration0",
        fixed={"total_count": 30},
        values=np.arange(31),
        # The logarithms of SciPy's beta functions, of 2000 each, cancel.
        double=1e-9,
        moments=1e-8,
    ),
    "extended_beta_binomial": DistCase(
        dist.ExtendedBetaBinomial,
        {"concentration1": 1.5, "concentration0": 2.0},
        _beta_binomial,
        "concentration1",
        change=0.05,
        fixed={"total_count": 6},
        outside=(-3, 7),
    ),
    "beta_negative_binomial": DistCase(
        dist.BetaNegativeBinomial,
        {"concentration1": 2.0, "concentration0": 8.5, "n": 3.5},
        _beta_negative_binomial,
        "n",
    ),
    "beta_negative_binomial_heavy": DistCase(
        dist.BetaNegativeBinomial,
        {"concentration1": 0.8, "concentration0": 4.0, "n": 1.5},
        _beta_negative_binomial,
        "concentration1",
        values=[0, 1, 2, 3, 7, 20, 100, 1000],
    ),
    "discrete_uniform": DistCase(
        dist.DiscreteUniform,
        {},
        _discrete_uniform,
        fixed={"low": -3, "high": 4},
        values=[-3, -1, 0, 4],
        outside=(-4, 5, 0.5),
        slopes=False,
    ),
    "gamma_poisson": DistCase(
        dist.GammaPoisson,
        {"concentration": 2.5, "rate": 0.4},
        lambda concentration, rate: _of_counts(stats.nbinom(concentration, rate / (1 + rate))),
        "rate",
    ),
    "gamma_poisson_large": DistCase(
        dist.GammaPoisson,
        {"concentration": 20_000.0, "rate": 2.5},
        _negative_binomial_exact,
        "rate",
        values=[0, 1, 7000, 7900, 8000, 8123, 9000, 20_000],
    ),
    "geometric": DistCase(
        dist.Geometric,
        {"probs": 0.3},
        lambda probs: _of_counts(stats.geom(probs, loc=-1), entropy=stats.geom(probs).entropy()),
        "probs",
    ),
    "geometric_logits": DistCase(
        dist.GeometricLogits,
        {"logits": -2.0},
        lambda logits: _of_counts(
            stats.geom(sigmoid(logits), loc=-1), entropy=stats.geom(sigmoid(logits)).entropy()
        ),
        "logits",
    ),
    "geometric_rare": DistCase(
        dist.GeometricProbs,
        {"probs": 1e-3},
        lambda probs: _of_counts(stats.geom(probs, loc=-1), entropy=stats.geom(probs).entropy()),
        "probs",
        values=[0, 1, 10, 700, 5000, 100_000],
    ),
    "log_normal_negative_binomial": DistCase(
        dist.LogNormalNegativeBinomial,
        {"total_count": 3.5, "logits": 0.4, "multiplicative_noise_scale": 0.3},
        _log_normal_negative_binomial,
        "logits",
        fixed={"num_quad_points": 8},
        values=np.arange(0, 60, 3),
    ),
    "log_normal_negative_binomial_fine": DistCase(
        dist.LogNormalNegativeBinomial,
        {"total_count": 2.0, "logits": -0.4, "multiplicative_noise_scale": 0.9},
        _log_normal_negative_binomial,
        "multiplicative_noise_scale",
        change=0.05,
        fixed={"num_quad_points": 24},
        values=np.arange(0, 60, 3),
    ),
    "negative_binomial": DistCase(
        dist.NegativeBinomial,
        {"total_count": 3.5, "probs": 0.6},
        lambda total_count, probs: _negative_binomial(total_count, probs),
        "total_count",
    ),
    "negative_binomial_logits": DistCase(
        dist.NegativeBinomialLogits,
        {"total_count": 0.4, "logits": 1.0},
        lambda total_count, logits: _negative_binomial(total_count, sigmoid(logits)),
        "logits",
        change=0.05,
    ),
    "negative_binomial_probs_class": DistCase(
        dist.NegativeBinomialProbs,
        {"total_count": 40.0, "probs": 0.1},
        lambda total_count, probs: _negative_binomial(total_count, probs),
        "probs",
    ),
    "negative_binomial_2": DistCase(
        dist.NegativeBinomial2,
        {"mean": 6.0, "concentration": 1.7},
        lambda mean, concentration: _of_counts(
            stats.nbinom(concentration, concentration / (mean + concentration))
        ),
        "mean",
    ),
    "poisson": DistCase(
        dist.Poisson, {"rate": 3.7}, lambda rate: stats.poisson(rate), "rate", lacks=("entropy",)
    ),
    "poisson_large": DistCase(
        dist.Poisson, {"rate": 41.0}, lambda rate: stats.poisson(rate), "rate", lacks=("entropy",)
    ),
    "poisson_huge": DistCase(
        dist.Poisson,
        {"rate": 30_000.0},
        _poisson_exact,
        "rate",
        values=[0, 1, 7, 8, 29_000, 29_900, 30_000, 30_123, 31_000, 60_000, 1_000_000],
    ),
    "poisson_sparse": DistCase(
        dist.Poisson,
        {"rate": 0.4},
        lambda rate, is_sparse: stats.poisson(rate),
        "rate",
        fixed={"is_sparse": True},
        lacks=("entropy",),
    ),
}
