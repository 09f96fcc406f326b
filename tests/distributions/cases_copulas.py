"""Rows: copulas."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats
from truths import dense

import svijax.distributions as dist


def normal_copula(loc: Any, scale: Any, correlation_matrix: Any, validate_args: Any = None) -> Any:
    marginal = dist.Normal(loc, scale, validate_args=validate_args)
    return dist.GaussianCopula(marginal, correlation_matrix, validate_args=validate_args)


def joined(loc: Any, scale: Any, correlation_matrix: Any) -> tuple[Any, Any]:
    return loc, np.outer(scale, scale) * correlation_matrix


def waiting_copula(rate: Any, correlation_cholesky: Any, validate_args: Any = None) -> Any:
    marginal = dist.Exponential(rate, validate_args=validate_args)
    return dist.GaussianCopula(
        marginal, correlation_cholesky=correlation_cholesky, validate_args=validate_args
    )


def waiting_reference(rate: Any, correlation_cholesky: Any) -> Reference:
    marginal = stats.expon(scale=1 / np.asarray(rate))
    joint = stats.multivariate_normal(np.zeros(2), correlation_cholesky @ correlation_cholesky.T)

    def log_prob(x: Any) -> Any:
        z = stats.norm.ppf(marginal.cdf(x))
        return joint.logpdf(z) + np.sum(marginal.logpdf(x) - stats.norm.logpdf(z), axis=-1)

    return Reference(log_prob, mean=marginal.mean(), variance=marginal.var())


def beta_copula_reference(concentration1: Any, concentration0: Any, correlation_matrix: Any) -> Reference:
    marginal = stats.beta(concentration1, concentration0)
    joint = stats.multivariate_normal(np.zeros(2), correlation_matrix)

    def log_prob(x: Any) -> Any:
        z = stats.norm.ppf(marginal.cdf(x))
        return joint.logpdf(z) + np.sum(marginal.logpdf(x) - stats.norm.logpdf(z), axis=-1)

    return Reference(log_prob, mean=marginal.mean(), variance=marginal.var())


CASES: dict[str, DistCase] = {
    "copula_of_normals": DistCase(
        normal_copula,
        {
            "loc": np.array([1.0, 2.0]),
            "scale": np.array([2.0, 0.5]),
            "correlation_matrix": np.array([[1.0, 0.6], [0.6, 1.0]]),
        },
        lambda **p: dense(*joined(**p), variance=np.asarray(p["scale"]) ** 2),
        "correlation_matrix",
        bump_to=np.array([[1.0, 0.7], [0.7, 1.0]]),
        values=[[0.0, 1.0], [3.0, 2.5], [-20.0, -4.0]],
        marginals=lambda **p: [
            (lambda x: x.sum(-1), stats.norm(p["loc"].sum(), np.sqrt(joined(**p)[1].sum())))
        ],
        pathwise="expectation",
        sharp=False,
    ),
    "copula_of_exponentials": DistCase(
        waiting_copula,
        {"rate": np.array([1.0, 2.0]), "correlation_cholesky": np.array([[1.0, 0.0], [0.6, 0.8]])},
        waiting_reference,
        "rate",
        values=[[0.1, 1.0], [3.0, 0.01], [9.0, 4.0]],
        outside=([1.0, -1.0],),
        marginals=lambda rate, **_: [
            (lambda x: x[..., 0], stats.expon(scale=1 / rate[0])),
            (lambda x: x[..., 1], stats.expon(scale=1 / rate[1])),
        ],
        pathwise="expectation",
    ),
    "copula_of_betas": DistCase(
        dist.GaussianCopulaBeta,
        {
            "concentration1": np.array([2.0, 3.0]),
            "concentration0": np.array([2.5, 1.5]),
            "correlation_matrix": np.array([[1.0, 0.6], [0.6, 1.0]]),
        },
        beta_copula_reference,
        "concentration1",
        values=[[0.1, 0.7], [0.5, 0.4], [0.95, 0.3]],
        outside=([0.5, -1.0],),
        marginals=lambda concentration1, concentration0, **_: [
            (lambda x: x[..., 0], stats.beta(concentration1[0], concentration0[0])),
            (lambda x: x[..., 1], stats.beta(concentration1[1], concentration0[1])),
        ],
        pathwise="expectation",
    ),
}
