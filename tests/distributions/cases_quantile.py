"""Rows: families with closed-form quantiles."""

from __future__ import annotations

import numpy as np
from distribution_case import DistCase
from scipy import stats

import svijax.distributions as dist

CASES = {
    "normal": DistCase(dist.Normal, {"loc": 1.0, "scale": 2.0}, stats.norm, "scale"),
    "log_normal": DistCase(
        dist.LogNormal,
        {"loc": 0.3, "scale": 0.7},
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        "scale",
    ),
    "half_normal": DistCase(
        dist.HalfNormal, {"scale": 2.0}, lambda scale: stats.halfnorm(scale=scale), "scale"
    ),
    "cauchy": DistCase(dist.Cauchy, {"loc": 1.0, "scale": 2.0}, stats.cauchy, "scale"),
    "half_cauchy": DistCase(
        dist.HalfCauchy, {"scale": 2.0}, lambda scale: stats.halfcauchy(scale=scale), "scale"
    ),
    "uniform": DistCase(
        dist.Uniform, {"low": -1.0, "high": 3.0}, lambda low, high: stats.uniform(low, high - low), "high"
    ),
    "exponential": DistCase(
        dist.Exponential, {"rate": 2.5}, lambda rate: stats.expon(scale=1 / rate), "rate"
    ),
}
