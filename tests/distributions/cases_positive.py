"""Rows: families on a half line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference, reference_of
from scipy import stats

import svijax.distributions as dist


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


def _generalized_pareto(loc: float, scale: float, concentration: float) -> Reference:
    truth = reference_of(stats.genpareto(concentration, loc, scale))
    # SciPy's form says NaN where the variance is infinite.
    return truth if concentration < 1 else replace(truth, variance=np.inf)


_BURR = {"concentration": 0.7, "sharpness": 3.5, "scale": 2.0}

CASES: dict[str, DistCase] = {
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
    "log_normal": DistCase(
        dist.LogNormal,
        {"loc": 0.3, "scale": 0.7},
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        "scale",
    ),
    "half_normal": DistCase(
        dist.HalfNormal, {"scale": 2.0}, lambda scale: stats.halfnorm(scale=scale), "scale", edges=(0.0,)
    ),
    "half_cauchy": DistCase(
        dist.HalfCauchy,
        {"scale": 2.0},
        lambda scale: stats.halfcauchy(scale=scale),
        "scale",
        edges=(0.0, 1e30),
    ),
    "exponential": DistCase(
        dist.Exponential, {"rate": 2.5}, lambda rate: stats.expon(scale=1 / rate), "rate", edges=(0.0, 1e30)
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
}
