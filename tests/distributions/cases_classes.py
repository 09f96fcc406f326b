"""Rows: classes, counts of classes, and relaxed classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats
from truths import sigmoid, softmax

import svijax.distributions as dist


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


def _ordered_logistic(predictor: Any, cutpoints: Any) -> Reference:
    below = np.concatenate([[0.0], sigmoid(np.asarray(cutpoints) - predictor), [1.0]])
    return _categorical(np.diff(below))


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


PROBS = np.array([0.2, 0.5, 0.3])
LOGITS = np.array([0.2, -1.0, 2.0])
CLASSES = np.array([0.1, 0.35, 0.2, 0.35])
ONE_HOTS = np.eye(3, dtype=int)
NO_ONE_HOTS = [[0, 0, 0], [1, 1, 0], [0, 2, -1]]
COUNTS = [[0, 0, 0, 12], [1, 4, 3, 4], [12, 0, 0, 0], [3, 3, 3, 3]]
NO_COUNTS = [[0, 0, 0, 11], [-1, 5, 4, 4]]

CASES: dict[str, DistCase] = {
    "categorical": DistCase(
        dist.Categorical, {"probs": PROBS}, _categorical, "probs", bump_to=[0.21, 0.49, 0.3], values=[0, 1, 2]
    ),
    "categorical_logits": DistCase(
        dist.CategoricalLogits,
        {"logits": LOGITS},
        lambda logits: _categorical(softmax(logits)),
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
    "empirical": DistCase(
        dist.Empirical,
        {"log_weights": np.array([0.2, -1.0, 2.0])},
        lambda samples, log_weights: _categorical(softmax(log_weights)),
        "log_weights",
        fixed={"samples": np.array([0, 1, 2])},
        values=[0, 1, 2],
        outside=(-1, 0.5, 3),
        lacks=("entropy",),
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
        lambda logits, total_count, total_count_max: _multinomial(total_count, softmax(logits)),
        "logits",
        fixed={"total_count": 12, "total_count_max": 20},
        values=COUNTS,
        marginals=lambda logits, total_count, **_: _multinomial_marginals(total_count, softmax(logits)),
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
        lambda logits: _one_hot(softmax(logits)),
        "logits",
        values=ONE_HOTS,
        marginals=lambda logits: _one_hot_marginals(softmax(logits)),
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
        lambda temperature, logits: stats.bernoulli(sigmoid(logits)),
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
        lambda temperature, logits: _one_hot(softmax(logits)),
        "logits",
        fixed={"temperature": 0.9},
        values=ONE_HOTS,
        marginals=lambda temperature, logits: _one_hot_marginals(softmax(logits)),
        pathwise="none",
    ),
}
