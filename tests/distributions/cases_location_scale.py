"""Rows: families of location and scale on the whole line."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import optimize, stats

import svijax.distributions as dist


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


def _location_scale(family: Any, truth: Any, **more: Any) -> DistCase:
    # The mode is an edge: kinks and removable singularities lie there. Far tails neither overflow nor give NaN.
    return DistCase(family, {"loc": 1.0, "scale": 2.0}, truth, "scale", edges=(1.0, -60.0, 60.0), **more)


_OFF_THE_KINK = np.array([1e-3, 0.02, 0.2, 0.4, 0.8, 0.98, 0.999])
_ASYMMETRIC = {"loc": 1.0, "scale": 2.0, "asymmetry": 1.6}

CASES: dict[str, DistCase] = {
    "normal": DistCase(dist.Normal, {"loc": 1.0, "scale": 2.0}, stats.norm, "scale"),
    "cauchy": DistCase(dist.Cauchy, {"loc": 1.0, "scale": 2.0}, stats.cauchy, "scale", edges=(1e30, 1.0)),
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
}
