"""The table of distributions: parameters, SciPy's form of each, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import stats

import svijax.distributions as dist

SIGMA = np.array([[2.0, 0.5], [0.5, 1.0]])


@dataclass(frozen=True)
class DistCase:
    """``scipy`` takes the parameters of ``family`` by name; ``bump`` is the one to change by two per cent."""

    family: Any
    params: dict[str, Any]
    scipy: Any
    bump: str = ""
    discrete: bool = False
    values: Any = None  # observations, where quantiles of SciPy's form are not to be had

    def make(self, **changes: Any) -> Any:
        return self.family(**{**self.params, **changes})

    def reference(self, **changes: Any) -> Any:
        return self.scipy(**{**self.params, **changes})

    def observations(self) -> Any:
        """Values from one tail to the other."""
        if self.values is not None:
            return np.asarray(self.values)
        if self.discrete:
            return np.arange(0, int(self.reference().ppf(0.999)) + 1)
        return self.reference().ppf(np.array([1e-3, 0.02, 0.2, 0.5, 0.8, 0.98, 0.999]))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum()


SCALAR = {
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
    "student_t": DistCase(dist.StudentT, {"df": 5.0, "loc": 1.0, "scale": 2.0}, stats.t, "scale"),
    "uniform": DistCase(
        dist.Uniform, {"low": -1.0, "high": 3.0}, lambda low, high: stats.uniform(low, high - low), "high"
    ),
    "exponential": DistCase(
        dist.Exponential, {"rate": 2.5}, lambda rate: stats.expon(scale=1 / rate), "rate"
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
    ),
    "beta_small": DistCase(
        dist.Beta,
        {"concentration1": 0.5, "concentration0": 0.7},
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        "concentration0",
    ),
}
DISCRETE = {
    "bernoulli": DistCase(
        dist.Bernoulli, {"probs": 0.3}, lambda probs: stats.bernoulli(probs), discrete=True
    ),
    "bernoulli_logits": DistCase(
        dist.Bernoulli,
        {"logits": 1.3},
        lambda logits: stats.bernoulli(_sigmoid(logits)),
        discrete=True,
    ),
    "binomial": DistCase(
        dist.Binomial,
        {"total_count": 12, "probs": 0.3},
        lambda total_count, probs: stats.binom(total_count, probs),
        discrete=True,
    ),
    "binomial_logits": DistCase(
        dist.Binomial,
        {"total_count": 12, "logits": -0.4},
        lambda total_count, logits: stats.binom(total_count, _sigmoid(logits)),
        discrete=True,
    ),
    "categorical": DistCase(
        dist.Categorical,
        {"probs": np.array([0.2, 0.5, 0.3])},
        lambda probs: stats.rv_discrete(values=(np.arange(3), probs)),
        discrete=True,
    ),
    "categorical_logits": DistCase(
        dist.Categorical,
        {"logits": np.array([0.2, -1.0, 2.0])},
        lambda logits: stats.rv_discrete(values=(np.arange(3), _softmax(logits))),
        discrete=True,
    ),
    "poisson": DistCase(dist.Poisson, {"rate": 3.7}, lambda rate: stats.poisson(rate), discrete=True),
    "poisson_large": DistCase(dist.Poisson, {"rate": 41.0}, lambda rate: stats.poisson(rate), discrete=True),
}
VECTOR = {
    "dirichlet": DistCase(
        dist.Dirichlet,
        {"concentration": np.array([0.8, 2.0, 3.0])},
        lambda concentration: stats.dirichlet(concentration),
        values=[[0.2, 0.3, 0.5], [0.01, 0.19, 0.8]],
    ),
    "mvn_covariance": DistCase(
        dist.MultivariateNormal,
        {"loc": np.array([1.0, -1.0]), "covariance_matrix": SIGMA},
        lambda loc, covariance_matrix: stats.multivariate_normal(loc, covariance_matrix),
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
    "mvn_precision": DistCase(
        dist.MultivariateNormal,
        {"loc": np.array([1.0, -1.0]), "precision_matrix": SIGMA},
        lambda loc, precision_matrix: stats.multivariate_normal(loc, np.linalg.inv(precision_matrix)),
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
    "mvn_tril": DistCase(
        dist.MultivariateNormal,
        {"loc": 0.5, "scale_tril": np.array([[1.0, 0.0], [0.3, 2.0]])},
        lambda loc, scale_tril: stats.multivariate_normal([loc, loc], scale_tril @ scale_tril.T),
        values=[[0.0, 0.0], [3.0, -2.0]],
    ),
}
CASES = SCALAR | DISCRETE | VECTOR
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_scalar = pytest.mark.parametrize("case", SCALAR.values(), ids=SCALAR)
every_discrete = pytest.mark.parametrize("case", DISCRETE.values(), ids=DISCRETE)
every_continuous = pytest.mark.parametrize("case", (SCALAR | VECTOR).values(), ids=SCALAR | VECTOR)
NOISY = {name: case for name, case in (SCALAR | VECTOR).items() if case.make().noise_spec is not None}
every_noisy = pytest.mark.parametrize("case", NOISY.values(), ids=NOISY)
