"""Rows: the gamma and beta families."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats
from scipy.special import gammaln, xlogy

import svijax.distributions as dist


def _dirichlet(concentration: Any) -> Reference:
    c = np.asarray(concentration)
    d = stats.dirichlet(c)

    def log_prob(x: Any) -> Any:
        # SciPy's own wants the entries to sum to 1 closer than single precision does.
        return xlogy(c - 1, x).sum(-1) + gammaln(c.sum()) - gammaln(c).sum()

    return Reference(log_prob, mean=d.mean(), variance=d.var(), entropy=d.entropy())


CASES = {
    "student_t": DistCase(
        dist.StudentT, {"df": 5.0, "loc": 1.0, "scale": 2.0}, stats.t, "scale", pathwise="expectation"
    ),
    "gamma": DistCase(
        dist.Gamma,
        {"concentration": 2.5, "rate": 3.0},
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        "rate",
    ),
    "gamma_small": DistCase(
        dist.Gamma,
        {"concentration": 0.3, "rate": 0.5},
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        "concentration",
    ),
    "beta": DistCase(
        dist.Beta,
        {"concentration1": 2.0, "concentration0": 3.5},
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        "concentration1",
        pathwise="expectation",
    ),
    "beta_small": DistCase(
        dist.Beta,
        {"concentration1": 0.5, "concentration0": 0.7},
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        "concentration0",
        pathwise="expectation",
    ),
    "dirichlet": DistCase(
        dist.Dirichlet,
        {"concentration": np.array([0.8, 2.0, 3.0])},
        _dirichlet,
        values=[[0.2, 0.3, 0.5], [0.01, 0.19, 0.8]],
        bump="concentration",
        marginals=lambda concentration: [
            (lambda x: x[..., 0], stats.beta(concentration[0], concentration[1:].sum())),
            (lambda x: x[..., 2], stats.beta(concentration[2], concentration[:2].sum())),
        ],
        pathwise="expectation",
    ),
}
