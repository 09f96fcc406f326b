"""Rows: vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats

import svijax.distributions as dist

SIGMA = np.array([[2.0, 0.5], [0.5, 1.0]])


def _normal(loc: Any, covariance: Any) -> Reference:
    d = stats.multivariate_normal(loc, covariance)
    return Reference(d.logpdf, mean=d.mean, variance=np.diag(d.cov), entropy=d.entropy())


def _entries(loc: Any, covariance: Any) -> Any:
    """The first entry, and the sum of both, of a normal vector of two."""
    first = stats.norm(loc[0], np.sqrt(covariance[0, 0]))
    total = stats.norm(loc.sum(), np.sqrt(covariance.sum()))
    return [(lambda x: x[..., 0], first), (lambda x: x.sum(-1), total)]


CASES = {
    "mvn_covariance": DistCase(
        dist.MultivariateNormal,
        {"loc": np.array([1.0, -1.0]), "covariance_matrix": SIGMA},
        lambda loc, covariance_matrix: _normal(loc, covariance_matrix),
        "covariance_matrix",
        marginals=lambda loc, covariance_matrix: _entries(loc, covariance_matrix),
        pathwise="expectation",
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
    "mvn_precision": DistCase(
        dist.MultivariateNormal,
        {"loc": np.array([1.0, -1.0]), "precision_matrix": SIGMA},
        lambda loc, precision_matrix: _normal(loc, np.linalg.inv(precision_matrix)),
        "precision_matrix",
        marginals=lambda loc, precision_matrix: _entries(loc, np.linalg.inv(precision_matrix)),
        pathwise="expectation",
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
    "mvn_tril": DistCase(
        dist.MultivariateNormal,
        {"loc": 0.5, "scale_tril": np.array([[1.0, 0.0], [0.3, 2.0]])},
        lambda loc, scale_tril: _normal([loc, loc], scale_tril @ scale_tril.T),
        "scale_tril",
        marginals=lambda loc, scale_tril: _entries(np.array([loc, loc]), scale_tril @ scale_tril.T),
        pathwise="expectation",
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
}
