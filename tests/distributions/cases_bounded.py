"""Rows: families on an interval or a simplex."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference, reference_of
from scipy import integrate, optimize, special, stats

import svijax.distributions as dist


def _by_quadrature(
    density: Callable[[float], float], low: float, high: float, breaks: tuple[float, ...] = (), **more: Any
) -> Reference:
    """The truth of a density that need not be normalised, by adaptive quadrature and root finding."""
    points = [low, *(point for point in breaks if low < point < high), high]

    def integral(f: Callable[[float], float], to: float = high) -> float:
        ends = [point for point in points if point < to] + [to]
        return sum(
            integrate.quad(f, a, b, epsabs=1e-15, epsrel=1e-13, limit=400)[0] for a, b in pairwise(ends)
        )

    mass = integral(density)

    def mean_of(f: Callable[[float], float]) -> float:
        return integral(lambda x: f(x) * density(x)) / mass

    def cdf(x: Any) -> Any:
        return np.vectorize(
            lambda x: integral(density, min(max(x, low), high)) / mass if x > low else 0.0, otypes=[float]
        )(x)

    def icdf(q: Any) -> Any:
        ends = (low if np.isfinite(low) else -200.0, high if np.isfinite(high) else 200.0)
        return np.vectorize(
            lambda q: optimize.brentq(lambda x: cdf(x) - q, *ends, xtol=1e-15, rtol=1e-14), otypes=[float]
        )(q)

    def log_prob(x: Any) -> Any:
        return np.vectorize(lambda x: np.log(density(x)), otypes=[float])(x) - np.log(mass)

    mean = mean_of(lambda x: x)
    variance = mean_of(lambda x: (x - mean) ** 2)
    entropy = np.log(mass) - mean_of(lambda x: np.log(density(x)) if density(x) > 0 else 0.0)
    return Reference(
        **{
            "log_prob": log_prob,
            "cdf": cdf,
            "icdf": icdf,
            "mean": mean,
            "variance": variance,
            "entropy": entropy,
            **more,
        }
    )


def _kumaraswamy(concentration1: float, concentration0: float) -> Reference:
    a, b = float(concentration1), float(concentration0)
    # X^a is a beta variable with the parameters 1 and b.
    power = stats.beta(1.0, b)
    moment = [power.expect(lambda y, n=n: y ** (n / a)) for n in (1, 2)]
    log_x = power.expect(lambda y: np.log(y)) / a

    def log_prob(x: Any) -> Any:
        return power.logpdf(np.asarray(x) ** a) + np.log(a) + (a - 1) * np.log(x)

    return Reference(
        log_prob,
        lambda x: power.cdf(np.clip(x, 0, 1) ** a),
        lambda q: power.ppf(q) ** (1 / a),
        moment[0],
        moment[1] - moment[0] ** 2,
        power.entropy() - np.log(a) - (a - 1) * log_x,
        log_survival_function=lambda x: power.logsf(np.clip(x, 0, 1) ** a),
    )


def _power_law(alpha: float, low: float, high: float) -> Reference:
    k = alpha + 1
    # In double precision the closed forms of the inverse are exact enough, away from alpha = -1.
    if abs(k) < 1e-12:
        return reference_of(stats.loguniform(low, high))

    def cdf(x: Any) -> Any:
        x = np.clip(x, low, high)
        return (x**k - low**k) / (high**k - low**k)

    return _by_quadrature(
        lambda x: x**alpha,
        low,
        high,
        cdf=cdf,
        icdf=lambda q: (low**k + np.asarray(q) * (high**k - low**k)) ** (1 / k),
    )


def _continuous_bernoulli(t: float) -> Reference:
    t = float(t)
    if abs(t) < 1e-4:
        # First order in t about the uniform law, whose error is far below 1e-10.
        return Reference(
            lambda x: t * (np.asarray(x) - 0.5) - t * t / 24,
            lambda x: np.clip(x, 0, 1) * (1 - t * (1 - np.clip(x, 0, 1)) / 2),
            lambda q: np.asarray(q) * (1 + t * (1 - np.asarray(q)) / 2),
            0.5 + t / 12,
            1 / 12 - t * t / 240,
            -t * t / 24,
        )
    law = stats.truncexpon(b=abs(t), scale=1 / abs(t))
    if t < 0:
        return reference_of(law)
    return Reference(
        lambda x: law.logpdf(1 - np.asarray(x)),
        lambda x: law.sf(1 - np.asarray(x)),
        lambda q: 1 - law.isf(q),
        1 - law.mean(),
        law.var(),
        law.entropy(),
        log_survival_function=lambda x: law.logcdf(1 - np.asarray(x)),
    )


def _logistic_normal(loc: Any, scale: Any) -> Reference:
    def log_prob(y: Any) -> Any:
        y = np.asarray(y, np.float64)
        n = y.shape[-1] - 1
        left = 1 - np.cumsum(y, axis=-1)[..., :-1]
        before = left + y[..., :-1]
        x = np.log(y[..., :-1] / left) + np.log(np.arange(n, 0, -1))
        # dy_i/dx_i = y_i (1 - y_i / before_i).
        log_det = np.log(y[..., :-1] * left / before).sum(axis=-1)
        return stats.norm(loc, scale).logpdf(x).sum(axis=-1) - log_det

    return Reference(log_prob)


def _logistic_normal_marginals(loc: Any, scale: Any) -> list[Any]:
    def odds(y: Any, i: int) -> Any:
        n = y.shape[-1] - 1
        return np.log(y[..., i] / y[..., i + 1 :].sum(axis=-1)) + np.log(n - i)

    return [
        (lambda y, i=i: odds(y, i), stats.norm(np.asarray(loc)[i], np.asarray(scale)[i]))
        for i in range(len(loc))
    ]


CASES: dict[str, DistCase] = {
    "uniform": DistCase(
        dist.Uniform,
        {"low": -1.0, "high": 3.0},
        lambda low, high: stats.uniform(low, high - low),
        "high",
        edges=(-1.0, 3.0),
    ),
    "kumaraswamy": DistCase(
        dist.Kumaraswamy,
        {"concentration1": 2.0, "concentration0": 3.5},
        _kumaraswamy,
        "concentration1",
        edges=(1e-6, 1 - 1e-6),
    ),
    "kumaraswamy_small": DistCase(
        dist.Kumaraswamy,
        {"concentration1": 0.5, "concentration0": 0.7},
        _kumaraswamy,
        "concentration0",
        edges=(1e-30, 1 - 1e-6),
    ),
    "log_uniform": DistCase(
        dist.LogUniform,
        {"low": 0.5, "high": 20.0},
        lambda low, high: stats.loguniform(low, high),
        "high",
        edges=(0.5, 20.0),
    ),
    **{
        f"doubly_truncated_power_law_{name}": DistCase(
            dist.DoublyTruncatedPowerLaw,
            {"alpha": alpha, "low": low, "high": 20.0},
            _power_law,
            bump,
            edges=(low, 20.0),
            slopes=alpha != -1.0,  # the truth has no derivative in alpha at -1
        )
        for name, alpha, low, bump in (
            ("steep", -4.5, 0.5, "alpha"),
            ("rising", 2.5, 0.5, "high"),
            ("log_uniform", -1.0, 0.5, "high"),
        )
    },
    **{
        f"continuous_bernoulli_{name}": DistCase(
            dist.ContinuousBernoulli,
            {"probs": probs},
            lambda probs: _continuous_bernoulli(special.logit(probs)),
            "probs",
            change=change,
            edges=(0.0, 1.0),
        )
        for name, probs, change in (("half", 0.5, 0.05), ("high", 0.9, 0.02))
    },
    "continuous_bernoulli_logits": DistCase(
        dist.ContinuousBernoulli,
        {"logits": -40.0},
        lambda logits: _continuous_bernoulli(logits),
        "logits",
        edges=(0.0, 1.0),
    ),
    "logistic_normal": DistCase(
        dist.LogisticNormal,
        {"loc": np.array([0.3, -0.5]), "scale": np.array([0.8, 1.5])},
        _logistic_normal,
        "scale",
        values=np.array([[0.2, 0.3, 0.5], [0.01, 0.19, 0.8], [0.6, 0.399, 0.001]]),
        marginals=_logistic_normal_marginals,
    ),
}
