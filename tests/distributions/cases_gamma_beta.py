"""Rows: the gamma and beta families, Student's t, F and von Mises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from distribution_case import DistCase, Reference, reference_of
from scipy import stats
from scipy.special import gammaln, i0e, i1e, xlogy

import svijax.distributions as dist


def _gamma(concentration: Any, rate: Any) -> Any:
    return stats.gamma(concentration, scale=1 / rate)


def _inverse_gamma(concentration: Any, rate: Any) -> Any:
    return stats.invgamma(concentration, scale=rate)


def _beta(concentration1: Any, concentration0: Any) -> Any:
    return stats.beta(concentration1, concentration0)


def _by_mean(mean: Any, concentration: Any) -> Any:
    return stats.beta(mean * concentration, (1 - mean) * concentration)


def _affine_beta(concentration1: Any, concentration0: Any, loc: Any, scale: Any) -> Any:
    return stats.beta(concentration1, concentration0, loc, scale)


def _dirichlet(concentration: Any) -> Reference:
    c = np.asarray(concentration)
    d = stats.dirichlet(c)

    def log_prob(x: Any) -> Any:
        # SciPy's own wants the entries to sum to 1 closer than single precision does.
        return xlogy(c - 1, x).sum(-1) + gammaln(c.sum()) - gammaln(c).sum()

    return Reference(log_prob, mean=d.mean(), variance=d.var(), entropy=d.entropy())


def _fisher(df1: Any, df2: Any) -> Any:
    return stats.f(df1, df2)


def _undefined_mean(df: Any, loc: Any, scale: Any) -> Reference:
    # SciPy says inf of the mean too, which is inf - inf.
    return replace(reference_of(stats.t(df, loc, scale)), mean=np.nan, variance=np.nan)


def _von_mises(loc: Any, concentration: Any) -> Reference:
    d = stats.vonmises(concentration)
    start = -np.pi - loc

    def log_prob(x: Any) -> Any:
        return concentration * (np.cos(x - loc) - 1) - np.log(2 * np.pi * i0e(concentration))

    def cdf(x: Any) -> Any:
        # SciPy's cdf counts whole turns.
        return d.cdf(x - loc) - d.cdf(start)

    def icdf(q: Any) -> Any:
        x = d.ppf((q + d.cdf(start)) % 1.0) + loc
        return x - 2 * np.pi * np.floor((x + np.pi) / (2 * np.pi))

    ratio = i1e(concentration) / i0e(concentration)
    entropy = np.log(2 * np.pi * i0e(concentration)) + concentration * (1 - ratio)
    turned = (loc + np.pi) % (2 * np.pi) - np.pi
    return Reference(log_prob, cdf, icdf, turned, 1 - ratio, entropy)


def _cosine(loc: Any, concentration: Any) -> Any:
    d = stats.vonmises(concentration)
    law = Reference(
        cdf=lambda c: 2 * (1 - d.cdf(np.arccos(c))), icdf=lambda q: np.cos(d.ppf(1 - np.asarray(q) / 2))
    )
    return [(lambda x: jnp.cos(x - loc), law)]


CASES = {
    "student_t": DistCase(
        dist.StudentT,
        {"df": 5.0, "loc": 1.0, "scale": 2.0},
        stats.t,
        "scale",
        edges=[1.0, 1e30, -1e30],
        pathwise="expectation",
    ),
    "student_t_heavy": DistCase(
        dist.StudentT,
        {"df": 0.7, "loc": -1.0, "scale": 0.5},
        _undefined_mean,
        "scale",
        edges=[1e30, -1e30],
        pathwise="expectation",
        sharp=False,
    ),
    "student_t_light": DistCase(
        dist.StudentT,
        {"df": 1e5, "loc": 0.0, "scale": 1.0},
        stats.t,
        "scale",
        pathwise="expectation",
        # The cumulative function of SciPy has 8 digits there.
        inverse=1e-7,
    ),
    "gamma": DistCase(dist.Gamma, {"concentration": 2.5, "rate": 3.0}, _gamma, "rate", outside=[-0.5]),
    "gamma_small": DistCase(
        dist.Gamma, {"concentration": 0.3, "rate": 0.5}, _gamma, "concentration", edges=[1e-30]
    ),
    "gamma_one": DistCase(
        dist.Gamma, {"concentration": 1.0, "rate": 2.0}, _gamma, "concentration", edges=[0.0]
    ),
    "gamma_large": DistCase(dist.Gamma, {"concentration": 2e4, "rate": 3.0}, _gamma, "rate"),
    "chi2": DistCase(dist.Chi2, {"df": 3.0}, stats.chi2, "df"),
    "chi2_large": DistCase(dist.Chi2, {"df": 500.0}, stats.chi2, "df"),
    "inverse_gamma": DistCase(
        dist.InverseGamma, {"concentration": 3.5, "rate": 2.0}, _inverse_gamma, "rate", edges=[1e-10, 1e30]
    ),
    "inverse_gamma_heavy": DistCase(
        dist.InverseGamma, {"concentration": 0.8, "rate": 0.5}, _inverse_gamma, "rate", edges=[1e30]
    ),
    "inverse_gamma_large": DistCase(
        dist.InverseGamma, {"concentration": 3e3, "rate": 40.0}, _inverse_gamma, "concentration"
    ),
    "beta": DistCase(
        dist.Beta,
        {"concentration1": 2.0, "concentration0": 3.5},
        _beta,
        "concentration1",
        pathwise="expectation",
    ),
    "beta_small": DistCase(
        dist.Beta,
        {"concentration1": 0.5, "concentration0": 0.7},
        _beta,
        "concentration0",
        edges=[1e-30, 1 - 1e-7],
        pathwise="expectation",
    ),
    "beta_uniform": DistCase(
        dist.Beta,
        {"concentration1": 1.0, "concentration0": 1.0},
        _beta,
        "concentration0",
        edges=[0.0, 1.0],
        pathwise="expectation",
    ),
    "beta_large": DistCase(
        dist.Beta,
        {"concentration1": 3e3, "concentration0": 2e4},
        _beta,
        "concentration0",
        pathwise="expectation",
    ),
    "beta_proportion": DistCase(
        dist.BetaProportion,
        {"mean": 0.3, "concentration": 5.0},
        _by_mean,
        "mean",
        pathwise="expectation",
    ),
    "affine_beta": DistCase(
        dist.AffineBeta,
        {"concentration1": 2.0, "concentration0": 1.7, "loc": -1.0, "scale": 3.0},
        _affine_beta,
        "concentration1",
        outside=[-1.5, 2.5],
        pathwise="expectation",
        # Observations near the end at 2 stand 1e-7 apart, and the density is a power of what is left.
        single=3e-5,
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
    "dirichlet_large": DistCase(
        dist.Dirichlet,
        {"concentration": np.array([1e3, 5e3, 2e4])},
        _dirichlet,
        values=[[0.0385, 0.1923, 0.7692], [0.04, 0.19, 0.77]],
        bump="concentration",
        bump_to=np.array([1.02e3, 5e3, 2e4]),
        marginals=lambda concentration: [
            (lambda x: x[..., 0], stats.beta(concentration[0], concentration[1:].sum())),
        ],
        pathwise="expectation",
    ),
    "fisher_snedecor": DistCase(
        dist.FisherSnedecor, {"df1": 3.0, "df2": 8.0}, _fisher, "df1", change=0.1, pathwise="expectation"
    ),
    "fisher_snedecor_heavy": DistCase(
        dist.FisherSnedecor,
        {"df1": 2.0, "df2": 1.5},
        _fisher,
        "df2",
        edges=[0.0, 1e20],
        pathwise="expectation",
    ),
    "von_mises": DistCase(
        dist.VonMises,
        {"loc": 0.0, "concentration": 2.0},
        _von_mises,
        "concentration",
        edges=[-np.pi + 1e-6, np.pi - 1e-6],
        lacks=("icdf",),
        pathwise="expectation",
    ),
    "von_mises_turned": DistCase(
        dist.VonMises,
        {"loc": 2.5, "concentration": 0.4},
        _von_mises,
        "concentration",
        values=[-3.0, -1.5, 0.0, 1.0, 2.5, 3.1],
        lacks=("icdf",),
        # A function on the circle, without a step at pi.
        marginals=_cosine,
        pathwise="expectation",
    ),
    "von_mises_sharp": DistCase(
        dist.VonMises,
        {"loc": -1.0, "concentration": 45.0},
        _von_mises,
        "concentration",
        lacks=("icdf",),
    ),
}
