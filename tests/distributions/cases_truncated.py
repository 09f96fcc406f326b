"""Rows: truncation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import integrate, stats

import svijax.distributions as dist

INF = np.inf


def _truncated(base: Any, low: float = -INF, high: float = INF) -> Reference:
    """Of a frozen distribution, from the nearer tail; moments and entropy by quadrature."""
    right = base.cdf(low) > 0.5
    tail = base.sf if right else base.cdf
    edges = tail(low), tail(high)
    mass = abs(edges[1] - edges[0])

    def below(x: Any) -> Any:
        return np.clip(np.abs(tail(x) - edges[0]) / mass, 0.0, 1.0)

    def above(x: Any) -> Any:
        return np.clip(np.abs(tail(x) - edges[1]) / mass, 0.0, 1.0)

    def icdf(q: Any) -> Any:
        return (base.isf if right else base.ppf)(edges[0] + np.asarray(q) * (edges[1] - edges[0]))

    def log_prob(x: Any) -> Any:
        return base.logpdf(x) - np.log(mass)

    return Reference(
        log_prob,
        below,
        icdf,
        log_cdf=lambda x: np.log(below(x)),
        log_survival_function=lambda x: np.log(above(x)),
    )


def _moments(truth: Reference, low: float, high: float) -> Reference:
    """The reference with its moments and entropy, by quadrature between two ends."""

    def expect(f: Callable[[Any], Any]) -> float:
        return integrate.quad(
            lambda x: f(x) * np.exp(truth.log_prob(x)), low, high, epsabs=0, epsrel=1e-12, limit=400
        )[0]

    mean = expect(lambda x: x)
    return replace(
        truth,
        mean=mean,
        variance=expect(lambda x: (x - mean) ** 2),
        entropy=expect(lambda x: -truth.log_prob(x)),
    )


def _truncated_normal(loc: Any, scale: Any, low: float = -INF, high: float = INF) -> Reference:
    truth = _truncated(stats.norm(loc, scale), low, high)
    ends = truth.icdf(np.array([0.0, 1.0]))
    far = loc - 12 * scale, loc + 12 * scale
    if np.isinf(high) and low > far[1] - 6 * scale:
        ends[1] = low + 4 * scale
    return _moments(truth, max(ends[0], far[0]), ends[1] if np.isfinite(ends[1]) else far[1])


def _mirrored(truth: Reference) -> Reference:
    return Reference(
        lambda x: truth.log_prob(-x),
        lambda x: np.exp(truth.log_survival_function(-x)),
        lambda q: _far_below(truth, q),
        -truth.mean,
        truth.variance,
        truth.entropy,
        lambda x: truth.log_survival_function(-x),
        lambda x: truth.log_cdf(-x),
    )


def _far_below(truth: Reference, q: Any) -> Any:
    return -truth.icdf(1 - np.asarray(q))


def _truncated_cauchy(loc: float, scale: float, low: float, high: float) -> Reference:
    a, b = np.arctan((low - loc) / scale), np.arctan((high - loc) / scale)

    def log_prob(x: Any) -> Any:
        return -np.log1p(((x - loc) / scale) ** 2) - np.log(scale * (b - a))

    def cdf(x: Any) -> Any:
        return np.clip((np.arctan((x - loc) / scale) - a) / (b - a), 0, 1)

    return Reference(log_prob, cdf, lambda q: loc + scale * np.tan(a + np.asarray(q) * (b - a)))


def _gamma(concentration: float, rate: float, low: float = 0.0, high: float = INF) -> Reference:
    return _truncated(stats.gamma(concentration, scale=1 / rate), low, high)


CASES: dict[str, DistCase] = {
    "truncated_normal": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.5, "scale": 1.5, "low": -1.0, "high": 2.0},
        _truncated_normal,
        "high",
        outside=(-1.5, 2.5),
        edges=(-1.0, 2.0),
    ),
    "truncated_normal_left": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.5, "scale": 1.5, "low": -1.0},
        _truncated_normal,
        "scale",
        outside=(-1.5,),
        edges=(-1.0,),
    ),
    "truncated_normal_right": DistCase(
        lambda high, validate_args=None: dist.RightTruncatedDistribution(
            dist.Normal(0.5, 1.5), high, validate_args=validate_args
        ),
        {"high": -1.0},
        lambda high: _truncated_normal(0.5, 1.5, high=high),
        "high",
        outside=(0.0,),
        edges=(-1.0,),
    ),
    # 8 and 10 standard deviations out, where 1 - cdf is 0 in float32
    "truncated_normal_far": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "low": 8.0, "high": 8.5},
        _truncated_normal,
        "low",
        outside=(7.9, 8.6),
        edges=(8.0, 8.5),
        moments=1e-7,
    ),
    "truncated_normal_farther": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "low": 10.0},
        _truncated_normal,
        "low",
        edges=(10.0,),
        moments=1e-7,
        inverse=1e-8,
    ),
    "truncated_normal_far_below": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "high": -10.0},
        lambda loc, scale, high: _mirrored(_truncated_normal(-loc, scale, low=-high)),
        "high",
        edges=(-10.0,),
        moments=1e-7,
        inverse=1e-8,
    ),
    "truncated_cauchy": DistCase(
        dist.TruncatedCauchy,
        {"loc": 0.0, "scale": 1.5, "low": -1.0, "high": 40.0},
        lambda loc, scale, low, high: _truncated_cauchy(loc, scale, low, high),
        "high",
        change=0.2,
        outside=(-1.5, 41.0),
        edges=(-1.0, 40.0),
    ),
    "truncated_laplace": DistCase(
        lambda loc, scale, low, validate_args=None: dist.LeftTruncatedDistribution(
            dist.Laplace(loc, scale, validate_args=validate_args), low, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0},
        lambda loc, scale, low: _truncated(stats.laplace(loc, scale), low),
        "scale",
    ),
    "truncated_logistic": DistCase(
        lambda loc, scale, low, high, validate_args=None: dist.TwoSidedTruncatedDistribution(
            dist.Logistic(loc, scale, validate_args=validate_args), low, high, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0, "high": 9.0},
        lambda loc, scale, low, high: _truncated(stats.logistic(loc, scale), low, high),
        "high",
        change=0.1,
    ),
    "truncated_gumbel": DistCase(
        lambda loc, scale, low, validate_args=None: dist.TruncatedDistribution(
            dist.Gumbel(loc, scale, validate_args=validate_args), low, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0},
        lambda loc, scale, low: _truncated(stats.gumbel_r(loc, scale), low),
        "scale",
    ),
    # the base ends before the bound does
    "truncated_exponential": DistCase(
        lambda rate, low, high, validate_args=None: dist.TruncatedDistribution(
            dist.Exponential(rate, validate_args=validate_args), low, high, validate_args=validate_args
        ),
        {"rate": 0.7, "high": 2.0},
        lambda rate, low, high: _truncated(stats.expon(scale=1 / rate), max(low, 0.0), high),
        "high",
        fixed={"low": -1.0},
        outside=(-0.5,),
        edges=(0.0,),
    ),
    "truncated_gamma": DistCase(
        dist.TruncatedGamma,
        {"concentration": 2.5, "rate": 1.5, "low": 0.5, "high": 3.0},
        _gamma,
        "high",
        outside=(0.4, 3.1),
        edges=(0.5, 3.0),
    ),
    "truncated_gamma_right": DistCase(
        dist.TruncatedGamma,
        {"concentration": 2.5, "rate": 1.5, "high": 1.0},
        _gamma,
        "high",
        outside=(-0.1, 1.1),
        edges=(1.0,),
    ),
    "truncated_gamma_left": DistCase(
        lambda concentration, rate, low, validate_args=None: dist.LeftTruncatedGamma(
            dist.Gamma(concentration, rate, validate_args=validate_args), low, validate_args=validate_args
        ),
        {"concentration": 2.5, "rate": 1.5, "low": 4.0},
        _gamma,
        "rate",
        outside=(3.9,),
        edges=(4.0, 1e4),
    ),
    "truncated_student_t": DistCase(
        lambda df, loc, scale, low, high, validate_args=None: dist.TruncatedDistribution(
            dist.StudentT(df, loc, scale, validate_args=validate_args), low, high, validate_args=validate_args
        ),
        {"df": 3.5, "loc": 0.5, "scale": 1.5, "low": -1.0, "high": 4.0},
        lambda df, loc, scale, low, high: _truncated(stats.t(df, loc, scale), low, high),
        "high",
        outside=(-1.5, 4.5),
        edges=(-1.0, 4.0),
    ),
    "truncated_beta": DistCase(
        lambda concentration1, concentration0, low, high, validate_args=None: dist.TruncatedDistribution(
            dist.Beta(concentration1, concentration0, validate_args=validate_args),
            low,
            high,
            validate_args=validate_args,
        ),
        {"concentration1": 2.5, "concentration0": 1.5, "low": 0.3, "high": 0.9},
        lambda concentration1, concentration0, low, high: _truncated(
            stats.beta(concentration1, concentration0), low, high
        ),
        "high",
        outside=(0.2, 0.95),
        edges=(0.3, 0.9),
    ),
}
