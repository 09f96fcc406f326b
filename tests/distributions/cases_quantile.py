"""Rows: families with closed-form quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

    def meanreference_of(f: Callable[[float], float]) -> float:
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

    mean = meanreference_of(lambda x: x)
    variance = meanreference_of(lambda x: (x - mean) ** 2)
    entropy = np.log(mass) - meanreference_of(lambda x: np.log(density(x)) if density(x) > 0 else 0.0)
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


def _generalized_pareto(loc: float, scale: float, concentration: float) -> Reference:
    truth = reference_of(stats.genpareto(concentration, loc, scale))
    # SciPy's form says NaN where the variance is infinite.
    return truth if concentration < 1 else replace(truth, variance=np.inf)


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


def _soft_asymmetric_laplace(loc: float, scale: float, asymmetry: float, softness: float) -> Reference:
    left, right, soft = scale * asymmetry, scale / asymmetry, scale * softness
    # A normal minus an exponential, and a normal plus one: the density is their mixture.
    up = stats.exponnorm(right / soft, loc, soft)
    down = stats.exponnorm(left / soft, -loc, soft)
    share = right / (left + right)

    def pdf(x: Any) -> Any:
        return share * up.pdf(x) + (1 - share) * down.pdf(-np.asarray(x))

    def cdf(x: Any) -> Any:
        return share * up.cdf(x) + (1 - share) * down.sf(-np.asarray(x))

    def above(x: Any) -> Any:
        return share * up.sf(x) + (1 - share) * down.cdf(-np.asarray(x))

    def icdf(q: Any) -> Any:
        span = 60 * (left + right + soft)
        return np.vectorize(
            lambda q: optimize.brentq(lambda x: cdf(x) - q, loc - span, loc + span, xtol=1e-14, rtol=1e-14)
        )(q)

    mean = share * up.mean() - (1 - share) * down.mean()
    second = share * (up.var() + up.mean() ** 2) + (1 - share) * (down.var() + down.mean() ** 2)
    return Reference(
        lambda x: np.log(pdf(x)),
        cdf,
        icdf,
        mean,
        second - mean**2,
        log_survival_function=lambda x: np.log(above(x)),
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


def _folded_logistic(loc: float, scale: float) -> Reference:
    law = stats.logistic(loc, scale)

    def cdf(x: Any) -> Any:
        x = np.maximum(x, 0)
        return law.cdf(x) - law.cdf(-x)

    def icdf(q: Any) -> Any:
        top = loc + 60 * scale
        return np.vectorize(lambda q: optimize.brentq(lambda x: cdf(x) - q, 0, top, xtol=1e-15, rtol=1e-14))(
            q
        )

    return Reference(
        lambda x: np.logaddexp(law.logpdf(x), law.logpdf(-np.asarray(x))),
        cdf,
        icdf,
        log_survival_function=lambda x: np.logaddexp(law.logsf(x), law.logcdf(-np.asarray(x))),
    )


def _folded(base: Any) -> Callable[..., Any]:
    return lambda validate_args=None, **params: dist.FoldedDistribution(
        base(**params, validate_args=validate_args)
    )


def _location_scale(family: Any, truth: Any, **more: Any) -> DistCase:
    # The mode is an edge: kinks and removable singularities lie there. Far tails neither overflow nor give NaN.
    return DistCase(family, {"loc": 1.0, "scale": 2.0}, truth, "scale", edges=(1.0, -60.0, 60.0), **more)


_OFF_THE_KINK = np.array([1e-3, 0.02, 0.2, 0.4, 0.8, 0.98, 0.999])
_BURR = {"concentration": 0.7, "sharpness": 3.5, "scale": 2.0}
_ASYMMETRIC = {"loc": 1.0, "scale": 2.0, "asymmetry": 1.6}

CASES = {
    "normal": DistCase(dist.Normal, {"loc": 1.0, "scale": 2.0}, stats.norm, "scale"),
    "log_normal": DistCase(
        dist.LogNormal,
        {"loc": 0.3, "scale": 0.7},
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        "scale",
    ),
    "half_normal": DistCase(
        dist.HalfNormal, {"scale": 2.0}, lambda scale: stats.halfnorm(scale=scale), "scale", edges=(0.0,)
    ),
    "cauchy": DistCase(dist.Cauchy, {"loc": 1.0, "scale": 2.0}, stats.cauchy, "scale", edges=(1e30, 1.0)),
    "half_cauchy": DistCase(
        dist.HalfCauchy,
        {"scale": 2.0},
        lambda scale: stats.halfcauchy(scale=scale),
        "scale",
        edges=(0.0, 1e30),
    ),
    "uniform": DistCase(
        dist.Uniform,
        {"low": -1.0, "high": 3.0},
        lambda low, high: stats.uniform(low, high - low),
        "high",
        edges=(-1.0, 3.0),
    ),
    "exponential": DistCase(
        dist.Exponential, {"rate": 2.5}, lambda rate: stats.expon(scale=1 / rate), "rate", edges=(0.0, 1e30)
    ),
    "laplace": _location_scale(
        dist.Laplace, stats.laplace, values=stats.laplace(1.0, 2.0).ppf(_OFF_THE_KINK)
    ),
    "logistic": _location_scale(dist.Logistic, stats.logistic),
    "soft_laplace": _location_scale(dist.SoftLaplace, stats.hypsecant),
    "gumbel": _location_scale(dist.Gumbel, stats.gumbel_r),
    "asymmetric_laplace": DistCase(
        dist.AsymmetricLaplace,
        _ASYMMETRIC,
        lambda loc, scale, asymmetry: stats.laplace_asymmetric(asymmetry, loc, scale),
        "asymmetry",
        edges=(1.0, -1e30, 1e30),
    ),
    "asymmetric_laplace_quantile": DistCase(
        dist.AsymmetricLaplaceQuantile,
        {"loc": 1.0, "scale": 2.0, "quantile": 0.2},
        lambda loc, scale, quantile: stats.laplace_asymmetric(
            np.sqrt(quantile / (1 - quantile)), loc, scale / np.sqrt(quantile * (1 - quantile))
        ),
        "quantile",
        values=[-12.0, -3.0, 0.5, 1.5, 4.0, 20.0, 40.0],
        edges=(1.0, -1e30, 1e30),
    ),
    "soft_asymmetric_laplace": DistCase(
        dist.SoftAsymmetricLaplace,
        {**_ASYMMETRIC, "softness": 0.8},
        _soft_asymmetric_laplace,
        "scale",
        edges=(1.0, -300.0, 300.0),
        lacks=("icdf",),
        pathwise="expectation",
    ),
    "soft_asymmetric_laplace_soft": DistCase(
        dist.SoftAsymmetricLaplace,
        {"loc": 1.0, "scale": 2.0, "asymmetry": 0.5, "softness": 20.0},
        _soft_asymmetric_laplace,
        "softness",
        lacks=("icdf",),
        pathwise="expectation",
    ),
    "skew_logistic": DistCase(
        dist.SkewLogistic,
        _ASYMMETRIC,
        lambda loc, scale, asymmetry: stats.genlogistic(asymmetry, loc, scale),
        "asymmetry",
        edges=(1.0, -1e30, 1e30),
    ),
    "skew_logistic_left": DistCase(
        dist.SkewLogistic,
        {"loc": 1.0, "scale": 2.0, "asymmetry": 0.05},
        lambda loc, scale, asymmetry: stats.genlogistic(asymmetry, loc, scale),
        "asymmetry",
    ),
    "levy": DistCase(dist.Levy, {"loc": 1.0, "scale": 2.0}, stats.levy, "scale", edges=(1.05, 1e30)),
    "gompertz": DistCase(
        dist.Gompertz,
        {"concentration": 0.7, "rate": 2.0},
        lambda concentration, rate: stats.gompertz(concentration, scale=1 / rate),
        "rate",
        edges=(0.0,),
        lacks=("variance",),
    ),
    "gompertz_concentrated": DistCase(
        dist.Gompertz,
        {"concentration": 60.0, "rate": 0.5},
        lambda concentration, rate: stats.gompertz(concentration, scale=1 / rate),
        "concentration",
        lacks=("variance",),
    ),
    "dagum": DistCase(
        dist.Dagum,
        _BURR,
        lambda concentration, sharpness, scale: stats.burr(sharpness, concentration, scale=scale),
        "sharpness",
        edges=(1e-6, 1e6),
    ),
    "dagum_heavy": DistCase(
        dist.Dagum,
        {"concentration": 2.0, "sharpness": 0.8, "scale": 2.0},
        # SciPy's form says NaN where the moments are infinite.
        lambda concentration, sharpness, scale: replace(
            reference_of(stats.burr(sharpness, concentration, scale=scale)),
            mean=np.inf,
            variance=np.inf,
        ),
        "sharpness",
        edges=(1e-6, 1e30),
    ),
    "weibull": DistCase(
        dist.Weibull,
        {"scale": 2.0, "concentration": 2.5},
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        "concentration",
        edges=(1e-6, 20.0),
    ),
    "weibull_falling": DistCase(
        dist.Weibull,
        {"scale": 2.0, "concentration": 0.6},
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        "scale",
        edges=(1e-30, 1e30),
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
    "pareto": DistCase(
        dist.Pareto,
        {"scale": 2.0, "alpha": 3.5},
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        "alpha",
        edges=(2.0, 1e30),
    ),
    "pareto_heavy": DistCase(
        dist.Pareto,
        {"scale": 2.0, "alpha": 0.3},
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        "alpha",
        edges=(2.0, 1e30),
    ),
    "lower_truncated_power_law": DistCase(
        dist.LowerTruncatedPowerLaw,
        {"alpha": -3.5, "low": 2.0},
        lambda alpha, low: stats.pareto(-alpha - 1, scale=low),
        "alpha",
        edges=(2.0, 1e30),
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
        f"generalized_pareto_{name}": DistCase(
            dist.GeneralizedPareto,
            {"loc": 1.0, "scale": 2.0, "concentration": c},
            _generalized_pareto,
            "scale",
            values=_generalized_pareto(1.0, 2.0, c).icdf(np.array([1e-3, 0.02, 0.2, 0.5, 0.8, top])),
            edges=(1.0, far),
        )
        # Near an end where the density is infinite, neither float32 nor differences can follow it.
        for name, c, top, far in (
            ("exponential", 0.0, 0.999, 100.0),
            ("heaviest", 1.5, 0.999, 1e30),
            ("bounded", -0.3, 0.999, 7.6),
            ("rising", -1.4, 0.9, 2.4),
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
    "folded_normal": DistCase(
        _folded(dist.Normal),
        {"loc": 1.0, "scale": 2.0},
        lambda loc, scale: stats.foldnorm(loc / scale, scale=scale),
        "scale",
        edges=(0.0,),
        lacks=("icdf", "mean", "variance", "entropy"),
        pathwise="expectation",
    ),
    "folded_logistic": DistCase(
        _folded(dist.Logistic),
        {"loc": -0.5, "scale": 1.0},
        _folded_logistic,
        "scale",
        edges=(0.0, 50.0),
        lacks=("icdf",),
        pathwise="expectation",
    ),
}
