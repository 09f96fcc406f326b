"""Rows: discrete families, their compounds and relaxations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats

import svijax.distributions as dist


def _sigmoid(x: Any) -> Any:
    return special.expit(x)


def _softmax(x: Any) -> Any:
    return special.softmax(x, axis=-1)


def _finite(log_masses: Any) -> Reference:
    """The law on 0, …, n - 1 with these log masses."""
    log_masses = np.asarray(log_masses, np.float64)
    masses, k = np.exp(log_masses), np.arange(len(log_masses))
    mean = (k * masses).sum()
    below = np.cumsum(masses)
    return Reference(
        log_prob=lambda x: log_masses[np.asarray(x, int)],
        cdf=lambda x: np.where(np.asarray(x) < 0, 0.0, below[np.clip(np.floor(x).astype(int), 0, None)]),
        icdf=lambda q: np.searchsorted(below, q).astype(float),
        mean=mean,
        variance=((k - mean) ** 2 * masses).sum(),
        entropy=-(masses[masses > 0] * log_masses[masses > 0]).sum(),
    )


def _categorical(probs: Any) -> Reference:
    with np.errstate(divide="ignore"):
        return _finite(np.log(np.asarray(probs)))


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


def _multinomial(total_count: Any, probs: Any) -> Reference:
    law = stats.multinomial(total_count, probs / probs.sum())
    mean = total_count * probs
    return Reference(log_prob=law.logpmf, mean=mean, variance=mean * (1 - probs))


def _multinomial_marginals(total_count: Any, probs: Any) -> list[Any]:
    pair = probs[0] + probs[2]
    return [
        (lambda k: k[:, 0], stats.binom(total_count, probs[0])),
        (lambda k: k[:, -1], stats.binom(total_count, probs[-1])),
        (lambda k: k[:, 0] + k[:, 2], stats.binom(total_count, pair)),
    ]


def _dirichlet_multinomial(concentration: Any, total_count: Any) -> Reference:
    a, total = np.asarray(concentration), np.sum(concentration)
    share = a / total
    grown = (total_count + total) / (1 + total)
    # SciPy's own takes integers for the counts only, and so does not take one that stands for many.
    return Reference(
        log_prob=lambda x: stats.dirichlet_multinomial(a, total_count).logpmf(np.asarray(x, int)),
        mean=total_count * share,
        variance=total_count * share * (1 - share) * grown,
    )


def _dirichlet_multinomial_marginals(concentration: Any, total_count: Any) -> list[Any]:
    a, total = np.asarray(concentration), np.sum(concentration)
    laws = [stats.betabinom(total_count, x, total - x) for x in (a[0], a[-1], a[0] + a[1])]
    statistics = (lambda k: k[:, 0], lambda k: k[:, -1], lambda k: k[:, 0] + k[:, 1])
    return list(zip(statistics, laws))


def _discrete_uniform(low: Any, high: Any) -> Reference:
    law = stats.randint(low, high + 1)
    return Reference(
        law.logpmf, law.cdf, law.ppf, law.mean(), law.var(), float(law.entropy()), law.logcdf, law.logsf
    )


def _ordered_logistic(predictor: Any, cutpoints: Any) -> Reference:
    below = np.concatenate([[0.0], _sigmoid(np.asarray(cutpoints) - predictor), [1.0]])
    return _categorical(np.diff(below))


def _log_normal_negative_binomial(
    total_count: Any, logits: Any, multiplicative_noise_scale: Any, num_quad_points: int
) -> Reference:
    points, weights = special.roots_hermitenorm(num_quad_points)
    shifted = logits + multiplicative_noise_scale * points
    law = stats.nbinom(total_count, _sigmoid(-shifted))

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


def _one_hot(probs: Any) -> Reference:
    probs = np.asarray(probs)
    return Reference(
        log_prob=lambda x: np.log((np.asarray(x) * probs).sum(axis=-1)),
        mean=probs,
        variance=probs * (1 - probs),
        entropy=-(probs * np.log(probs)).sum(),
    )


def _place(x: Any) -> Any:
    return np.argmax(np.asarray(x), axis=-1)


def _one_hot_marginals(probs: Any) -> list[Any]:
    return [(_place, _categorical(probs))]


def _relaxed_bernoulli(temperature: Any, logits: Any) -> Reference:
    def log_prob(y: Any) -> Any:
        z = temperature * special.logit(y) - logits
        return np.log(temperature) + stats.logistic.logpdf(z) - np.log(y) - np.log1p(-y)

    def standard(y: Any) -> Any:
        with np.errstate(divide="ignore"):
            return temperature * special.logit(y) - logits

    return Reference(
        log_prob=log_prob,
        cdf=lambda y: special.expit(standard(y)),
        icdf=lambda q: special.expit((special.logit(q) + logits) / temperature),
        log_survival_function=lambda y: special.log_expit(-standard(y)),
    )


def _relaxed_one_hot(temperature: Any, logits: Any) -> Reference:
    log_probs = special.log_softmax(logits)
    n = len(log_probs)

    def log_prob(y: Any) -> Any:
        log_y = np.log(y)
        scores = log_probs - temperature * log_y
        norm = special.gammaln(n) + (n - 1) * np.log(temperature)
        return norm + (scores - log_y).sum(axis=-1) - n * special.logsumexp(scores, axis=-1)

    return Reference(log_prob=log_prob)


def _relaxed_one_hot_marginals(temperature: Any, logits: Any) -> list[Any]:
    """log(y_i / y_j) is logistic about (logits_i - logits_j) / temperature, with scale 1 / temperature."""
    law = stats.logistic((logits[0] - logits[-1]) / temperature, 1 / temperature)
    return [(lambda y: _log_ratio(y), law)]


def _log_ratio(y: Any) -> Any:
    import jax.numpy as jnp

    return jnp.log(y[:, 0] / y[:, -1])


def _polya_gamma() -> Reference:
    k = np.arange(200) + 0.5

    # Of the two series for the distribution function the one, at all points.
    def above(x: Any) -> Any:
        x = np.asarray(x, np.float64)[..., None]
        return (2 / np.pi * (-1.0) ** np.arange(200) / k * np.exp(-2 * (np.pi * k) ** 2 * x)).sum(axis=-1)

    def density(x: Any) -> Any:
        x = np.asarray(x, np.float64)[..., None]
        return (4 * np.pi * (-1.0) ** np.arange(200) * k * np.exp(-2 * (np.pi * k) ** 2 * x)).sum(axis=-1)

    rest = above(2.5)
    grid = np.linspace(4e-3, 2.5, 200_001)
    table = (1 - above(grid)) / (1 - rest)
    x, weights = np.polynomial.legendre.leggauss(400)
    x, weights = 1.25 * (x + 1), 1.25 * weights
    moments = [(weights * x**power * density(x)).sum() / (1 - rest) for power in (1, 2)]
    return Reference(
        log_prob=lambda x: np.log(density(x) / (1 - rest)),
        cdf=lambda x: (1 - above(x)) / (1 - rest),
        icdf=lambda q: np.interp(q, table, grid),
        mean=moments[0],
        variance=moments[1] - moments[0] ** 2,
    )


PROBS = np.array([0.2, 0.5, 0.3])
LOGITS = np.array([0.2, -1.0, 2.0])
CLASSES = np.array([0.1, 0.35, 0.2, 0.35])
ONE_HOTS = np.eye(3, dtype=int)
NO_ONE_HOTS = [[0, 0, 0], [1, 1, 0], [0, 2, -1]]
COUNTS = [[0, 0, 0, 12], [1, 4, 3, 4], [12, 0, 0, 0], [3, 3, 3, 3]]
NO_COUNTS = [[0, 0, 0, 11], [-1, 5, 4, 4]]

CASES = {
    "bernoulli": DistCase(dist.Bernoulli, {"probs": 0.3}, lambda probs: stats.bernoulli(probs), "probs"),
    "bernoulli_logits": DistCase(
        dist.Bernoulli,
        {"logits": 1.3},
        lambda logits: stats.bernoulli(_sigmoid(logits)),
        "logits",
    ),
    "bernoulli_probs_class": DistCase(
        dist.BernoulliProbs, {"probs": 0.01}, lambda probs: stats.bernoulli(probs), "probs", change=0.05
    ),
    "bernoulli_logits_class": DistCase(
        dist.BernoulliLogits,
        {"logits": -4.0},
        lambda logits: stats.bernoulli(_sigmoid(logits)),
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
        lambda total_count, logits: stats.binom(total_count, _sigmoid(logits)),
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
    "categorical": DistCase(
        dist.Categorical, {"probs": PROBS}, _categorical, "probs", bump_to=[0.21, 0.49, 0.3], values=[0, 1, 2]
    ),
    "categorical_logits": DistCase(
        dist.CategoricalLogits,
        {"logits": LOGITS},
        lambda logits: _categorical(_softmax(logits)),
        "logits",
        values=[0, 1, 2],
    ),
    "categorical_probs_class": DistCase(
        dist.CategoricalProbs,
        {"probs": np.array([0.0, 0.25, 0.0, 0.75, 0.0])},
        _categorical,
        "probs",
        bump_to=[0.0, 0.26, 0.0, 0.74, 0.0],
        values=[1, 3],
        outside=(1.5, 0, 2, 4, 5),
    ),
    "dirichlet_multinomial": DistCase(
        dist.DirichletMultinomial,
        {"concentration": np.array([0.5, 2.0, 1.0, 7.5])},
        _dirichlet_multinomial,
        "concentration",
        bump_to=[0.55, 2.0, 1.0, 7.5],
        fixed={"total_count": 12},
        values=COUNTS,
        outside=NO_COUNTS,
        marginals=_dirichlet_multinomial_marginals,
    ),
    "dirichlet_multinomial_many": DistCase(
        dist.DirichletMultinomial,
        {"concentration": np.array([20.0, 3.0])},
        _dirichlet_multinomial,
        "concentration",
        bump_to=[20.0, 3.1],
        fixed={"total_count": 300},
        values=[[300, 0], [260, 40], [1, 299]],
        marginals=lambda concentration, total_count: [
            (lambda k: k[:, 1], stats.betabinom(total_count, concentration[1], concentration[0]))
        ],
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
    "empirical": DistCase(
        dist.Empirical,
        {"log_weights": np.array([0.2, -1.0, 2.0])},
        lambda samples, log_weights: _categorical(_softmax(log_weights)),
        "log_weights",
        fixed={"samples": np.array([0, 1, 2])},
        values=[0, 1, 2],
        outside=(-1, 0.5, 3),
        lacks=("entropy",),
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
            stats.geom(_sigmoid(logits), loc=-1), entropy=stats.geom(_sigmoid(logits)).entropy()
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
    "multinomial": DistCase(
        dist.Multinomial,
        {"probs": CLASSES},
        _multinomial,
        "probs",
        bump_to=[0.11, 0.34, 0.2, 0.35],
        fixed={"total_count": 12},
        values=COUNTS,
        outside=NO_COUNTS,
        marginals=_multinomial_marginals,
    ),
    "multinomial_logits": DistCase(
        dist.MultinomialLogits,
        {"logits": np.log(CLASSES) + 0.3},
        lambda logits, total_count, total_count_max: _multinomial(total_count, _softmax(logits)),
        "logits",
        fixed={"total_count": 12, "total_count_max": 20},
        values=COUNTS,
        marginals=lambda logits, total_count, **_: _multinomial_marginals(total_count, _softmax(logits)),
    ),
    "multinomial_many": DistCase(
        dist.MultinomialProbs,
        {"probs": CLASSES},
        _multinomial,
        "probs",
        bump_to=[0.101, 0.349, 0.2, 0.35],
        fixed={"total_count": 500},
        values=[[0, 0, 0, 500], [50, 180, 95, 175], [40, 190, 100, 170]],
        marginals=_multinomial_marginals,
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
        lambda total_count, logits: _negative_binomial(total_count, _sigmoid(logits)),
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
    "one_hot_categorical": DistCase(
        dist.OneHotCategorical,
        {"probs": PROBS},
        _one_hot,
        "probs",
        bump_to=[0.21, 0.49, 0.3],
        values=ONE_HOTS,
        outside=NO_ONE_HOTS,
        marginals=_one_hot_marginals,
    ),
    "one_hot_categorical_logits": DistCase(
        dist.OneHotCategoricalLogits,
        {"logits": LOGITS},
        lambda logits: _one_hot(_softmax(logits)),
        "logits",
        values=ONE_HOTS,
        marginals=lambda logits: _one_hot_marginals(_softmax(logits)),
    ),
    "one_hot_categorical_probs_class": DistCase(
        dist.OneHotCategoricalProbs,
        {"probs": PROBS},
        _one_hot,
        "probs",
        bump_to=[0.21, 0.49, 0.3],
        values=ONE_HOTS,
        marginals=_one_hot_marginals,
    ),
    # Straight-through derivatives are those of the mean, and neither of a quantile nor of other expectations.
    "one_hot_categorical_straight_through": DistCase(
        dist.OneHotCategoricalStraightThrough,
        {"probs": PROBS},
        _one_hot,
        "probs",
        bump_to=[0.21, 0.49, 0.3],
        values=ONE_HOTS,
        outside=NO_ONE_HOTS,
        marginals=_one_hot_marginals,
        pathwise="none",
    ),
    "ordered_logistic": DistCase(
        dist.OrderedLogistic,
        {"predictor": 0.4, "cutpoints": np.array([-1.0, 0.2, 2.0])},
        _ordered_logistic,
        "predictor",
        change=0.05,
        values=[0, 1, 2, 3],
        outside=(0.5, 4),
    ),
    "ordered_logistic_far": DistCase(
        dist.OrderedLogistic,
        {"predictor": 6.0, "cutpoints": np.array([-3.0, -2.9, 5.0])},
        _ordered_logistic,
        "predictor",
        values=[0, 1, 2, 3],
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
    "relaxed_bernoulli": DistCase(
        dist.RelaxedBernoulli,
        {"temperature": 0.7, "probs": 0.3},
        lambda temperature, probs: _relaxed_bernoulli(temperature, special.logit(probs)),
        "temperature",
        edges=(0.0, 1.0),
    ),
    "relaxed_bernoulli_logits": DistCase(
        dist.RelaxedBernoulliLogits,
        {"temperature": 2.0, "logits": 0.8},
        _relaxed_bernoulli,
        "temperature",
        edges=(0.0, 1.0),
    ),
    "relaxed_bernoulli_straight_through": DistCase(
        dist.RelaxedBernoulliStraightThrough,
        {"logits": 0.8},
        lambda temperature, logits: stats.bernoulli(_sigmoid(logits)),
        "logits",
        fixed={"temperature": 0.7},
        pathwise="none",
    ),
    "relaxed_one_hot_categorical": DistCase(
        dist.RelaxedOneHotCategorical,
        {"temperature": 0.9, "logits": LOGITS},
        _relaxed_one_hot,
        "logits",
        values=[[0.2, 0.3, 0.5], [0.01, 0.19, 0.8], [0.9, 0.09, 0.01]],
        outside=([0.5, 0.7, -0.2],),
        edges=([1.0, 0.0, 0.0],),
        marginals=_relaxed_one_hot_marginals,
        pathwise="expectation",
    ),
    "relaxed_one_hot_categorical_probs": DistCase(
        dist.RelaxedOneHotCategorical,
        {"temperature": 1.7, "probs": PROBS},
        lambda temperature, probs: _relaxed_one_hot(temperature, np.log(probs)),
        "temperature",
        values=[[0.2, 0.3, 0.5], [0.01, 0.19, 0.8], [0.9, 0.09, 0.01]],
        marginals=lambda temperature, probs: _relaxed_one_hot_marginals(temperature, np.log(probs)),
        pathwise="expectation",
        # A change of the temperature moves the tails of the one statistic, and little else.
        sharp=False,
    ),
    "relaxed_one_hot_categorical_straight_through": DistCase(
        dist.RelaxedOneHotCategoricalStraightThrough,
        {"logits": LOGITS},
        lambda temperature, logits: _one_hot(_softmax(logits)),
        "logits",
        fixed={"temperature": 0.9},
        values=ONE_HOTS,
        marginals=lambda temperature, logits: _one_hot_marginals(_softmax(logits)),
        pathwise="none",
    ),
    # It has no parameter that could be moved, and no inverse of the series.
    "truncated_polya_gamma": DistCase(
        dist.TruncatedPolyaGamma,
        {},
        lambda: _polya_gamma(),
        values=[0.02, 0.05, 0.1, 0.1599, 0.16, 0.3, 1.0, 2.4],
        edges=(1e-3, 2.5),
        outside=(-0.1, 0.0, 2.6),
        lacks=("icdf",),
        pathwise="none",
        slopes=False,
        half=False,
    ),
}
