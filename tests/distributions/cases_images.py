"""Rows: images under bijections, folded and censored families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import optimize, stats

import svijax.distributions as dist
from svijax.transforms import AffineTransform, ExpTransform


def _moments_of(base: Any) -> dict[str, Any]:
    return {"mean": base.mean(), "variance": base.var()}


def _affine(loc: Any, scale: Any) -> Any:
    return dist.TransformedDistribution(dist.Exponential(1.3), AffineTransform(loc, scale))


def _affine_reference(loc: float, scale: float) -> Reference:
    base = stats.expon(scale=1 / 1.3)

    def back(y: Any) -> Any:
        return (np.asarray(y) - loc) / scale

    return Reference(
        lambda y: base.logpdf(back(y)) - np.log(-scale),
        lambda y: base.sf(back(y)),
        lambda q: loc + scale * base.isf(q),
        loc + scale * base.mean(),
        scale**2 * base.var(),
        base.entropy() + np.log(-scale),
        lambda y: base.logsf(back(y)),
        lambda y: base.logcdf(back(y)),
    )


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


CASES: dict[str, DistCase] = {
    # Censored: likelihoods, of which only the log density is a truth.
    "left_censored": DistCase(
        lambda loc, scale, validate_args=None: dist.LeftCensoredDistribution(dist.Normal(loc, scale), 1),
        {"loc": 0.5, "scale": 1.5},
        lambda loc, scale: Reference(stats.norm(loc, scale).logcdf, **_moments_of(stats.norm(loc, scale))),
        values=[-20.0, -1.0, 0.0, 3.0],
        pathwise="expectation",
    ),
    "right_censored": DistCase(
        lambda loc, scale, validate_args=None: dist.RightCensoredDistribution(
            dist.Logistic(loc, scale), True
        ),
        {"loc": 0.5, "scale": 1.5},
        lambda loc, scale: Reference(
            stats.logistic(loc, scale).logsf, **_moments_of(stats.logistic(loc, scale))
        ),
        values=[-20.0, -1.0, 0.0, 50.0],
        pathwise="expectation",
    ),
    "interval_censored": DistCase(
        lambda loc, scale, validate_args=None: dist.IntervalCensoredDistribution(
            dist.Normal(loc, scale), 0, 0
        ),
        {"loc": 0.5, "scale": 1.5},
        lambda loc, scale: Reference(
            lambda x: np.log(stats.norm.sf(x[..., 0], loc, scale) - stats.norm.sf(x[..., 1], loc, scale))
        ),
        values=[[0.5, 2.0], [8.0, 9.0]],
    ),
    "transformed_exp": DistCase(
        lambda loc, scale, validate_args=None: dist.TransformedDistribution(
            dist.Normal(loc, scale, validate_args=validate_args), ExpTransform()
        ),
        {"loc": 0.3, "scale": 0.7},
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        "scale",
        lacks=("mean", "variance", "entropy"),
        outside=(-1.0, 0.0),
    ),
    "transformed_decreasing": DistCase(
        lambda loc, scale, validate_args=None: _affine(loc, scale),
        {"loc": 0.5, "scale": -2.0},
        _affine_reference,
        "scale",
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
