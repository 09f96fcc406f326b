"""Scalar families for the divergences: three members of each, with SciPy's form of their densities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

import svijax.distributions as dist

INF = np.inf


@dataclass(frozen=True)
class Family:
    """``params``: three values of each parameter; ``scipy`` takes one set of them by name."""

    make: Any
    params: dict[str, Sequence[float]]
    scipy: Callable[..., Any]
    low: float | str = -INF  # a number, or the name of the parameter that it is
    high: float | str = INF
    kinks: tuple[str, ...] = ()
    discrete: bool = False
    static: dict[str, Any] = field(default_factory=dict)

    def batch(self, shape: tuple[int, ...]) -> Any:
        params = {name: np.reshape(np.asarray(values), shape) for name, values in self.params.items()}
        return self.make(**params, **self.static)

    def members(self) -> list[Member]:
        sets = [dict(zip(self.params, values)) for values in zip(*self.params.values(), strict=True)]
        return [Member(self, one) for one in sets]


@dataclass(frozen=True)
class Member:
    """One distribution of a family, as SciPy has it."""

    family: Family
    params: dict[str, float]

    def end(self, which: str) -> float:
        end = getattr(self.family, which)
        return self.params[end] if isinstance(end, str) else end

    def log_density(self, x: Any) -> Any:
        frozen = self.family.scipy(**self.params)
        with np.errstate(all="ignore"):
            if self.family.discrete:
                return frozen.logpmf(x)
            return np.where((x < self.end("low")) | (x > self.end("high")), -INF, frozen.logpdf(x))

    def kinks(self) -> list[float]:
        ends = [self.end("low"), self.end("high")]
        return [x for x in ends if np.isfinite(x)] + [self.params[name] for name in self.family.kinks]


def integral(f: Callable[[Any], Any], points: Sequence[float]) -> float:
    """Of f over the whole line between the first and the last point, by double exponential quadrature."""
    t = np.arange(-4.0, 4.0, 1 / 64) + 1 / 128
    s, slope = 0.5 * np.pi * np.sinh(t), 0.5 * np.pi * np.cosh(t)
    total = 0.0
    for a, b in itertools.pairwise(points):
        if np.isinf(a) and np.isinf(b):
            x, weight = np.sinh(s), np.cosh(s) * slope
        elif np.isinf(b):
            x, weight = a + np.exp(s), np.exp(s) * slope
        elif np.isinf(a):
            x, weight = b - np.exp(s), np.exp(s) * slope
        else:
            x = np.where(s < 0, a + (b - a) / (1 + np.exp(-2 * s)), b - (b - a) / (1 + np.exp(2 * s)))
            weight = (b - a) * 0.5 * slope / np.cosh(s) ** 2
        # Nodes that round to an end belong to the inside.
        x = np.clip(x, np.nextafter(a, INF), np.nextafter(b, -INF))
        with np.errstate(all="ignore"):
            value = f(x) * weight
        total += np.where(np.isnan(value), 0.0, value).sum() / 64
    return total


def divergence(p: Member, q: Member) -> float:
    """E_p[log p - log q]."""

    def integrand(x: Any) -> Any:
        log_p = p.log_density(x)
        with np.errstate(all="ignore"):
            return np.where(log_p > -700, np.exp(log_p) * (log_p - q.log_density(x)), 0.0)

    if p.family.discrete:
        return float(np.sum(integrand(np.arange(0, 600))))
    if p.end("low") < q.end("low") or p.end("high") > q.end("high"):
        return INF
    inner = {x for x in (*p.kinks(), *q.kinks()) if p.end("low") < x < p.end("high")}
    return integral(integrand, [p.end("low"), *sorted(inner), p.end("high")])


@dataclass(frozen=True)
class Formula:
    """A density that SciPy has not."""

    logpdf: Callable[[Any], Any]


FAMILIES = {
    "normal": Family(dist.Normal, {"loc": (0.3, -1.0, 2.0), "scale": (1.2, 0.4, 3.0)}, stats.norm),
    "half_normal": Family(
        dist.HalfNormal, {"scale": (0.5, 1.0, 3.0)}, lambda scale: stats.halfnorm(scale=scale), low=0.0
    ),
    "log_normal": Family(
        dist.LogNormal,
        {"loc": (0.3, -1.0, 0.5), "scale": (0.7, 0.4, 0.2)},
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        low=0.0,
    ),
    "uniform": Family(
        dist.Uniform,
        {"low": (0.0, 0.25, -1.0), "high": (1.0, 0.75, 3.0)},
        lambda low, high: stats.uniform(low, high - low),
        low="low",
        high="high",
    ),
    "exponential": Family(
        dist.Exponential, {"rate": (0.5, 1.0, 2.5)}, lambda rate: stats.expon(scale=1 / rate), low=0.0
    ),
    "gamma": Family(
        dist.Gamma,
        {"concentration": (2.5, 1.0, 30.0), "rate": (3.0, 0.8, 8.0)},
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        low=0.0,
    ),
    "inverse_gamma": Family(
        dist.InverseGamma,
        {"concentration": (2.5, 1.0, 30.0), "rate": (3.0, 0.8, 8.0)},
        lambda concentration, rate: stats.invgamma(concentration, scale=rate),
        low=0.0,
    ),
    "beta": Family(
        dist.Beta,
        {"concentration1": (2.5, 1.0, 9.0), "concentration0": (1.5, 1.0, 14.0)},
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        low=0.0,
        high=1.0,
    ),
    "cauchy": Family(dist.Cauchy, {"loc": (0.3, -1.0, 2.0), "scale": (1.2, 0.4, 3.0)}, stats.cauchy),
    "half_cauchy": Family(
        dist.HalfCauchy, {"scale": (0.5, 1.0, 3.0)}, lambda scale: stats.halfcauchy(scale=scale), low=0.0
    ),
    "bernoulli": Family(
        dist.Bernoulli, {"probs": (0.1, 0.5, 0.93)}, lambda probs: stats.bernoulli(probs), discrete=True
    ),
    "bernoulli_logits": Family(
        dist.Bernoulli,
        {"logits": (-3.0, 0.4, 5.0)},
        lambda logits: stats.bernoulli(1 / (1 + np.exp(-logits))),
        discrete=True,
    ),
    "binomial": Family(
        dist.Binomial,
        {"probs": (0.1, 0.5, 0.93)},
        lambda probs: stats.binom(7, probs),
        discrete=True,
        static={"total_count": 7},
    ),
    "poisson": Family(
        dist.Poisson, {"rate": (0.3, 4.0, 90.0)}, lambda rate: stats.poisson(rate), discrete=True
    ),
    "laplace": Family(
        dist.Laplace,
        {"loc": (0.3, -1.0, 2.0), "scale": (0.5, 0.4, 1.0)},
        # SciPy's is -inf far out.
        lambda loc, scale: Formula(lambda x: -np.abs(x - loc) / scale - np.log(2 * scale)),
        kinks=("loc",),
    ),
    "logistic": Family(dist.Logistic, {"loc": (0.3, -1.0, 2.0), "scale": (0.5, 0.4, 1.0)}, stats.logistic),
    "gumbel": Family(dist.Gumbel, {"loc": (0.3, -1.0, 2.0), "scale": (1.2, 2.4, 3.0)}, stats.gumbel_r),
    "weibull": Family(
        dist.Weibull,
        {"scale": (0.5, 1.0, 3.0), "concentration": (1.5, 1.0, 4.0)},
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        low=0.0,
    ),
    "pareto": Family(
        dist.Pareto,
        {"scale": (0.5, 1.0, 3.0), "alpha": (6.0, 5.0, 9.0)},
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        low="scale",
    ),
    "kumaraswamy": Family(
        dist.Kumaraswamy,
        {"concentration1": (2.5, 1.0, 1.4), "concentration0": (1.5, 1.0, 7.0)},
        lambda concentration1, concentration0: Formula(
            lambda x: (
                np.log(concentration1 * concentration0)
                + (concentration1 - 1) * np.log(x)
                + (concentration0 - 1) * np.log1p(-(x**concentration1))
            )
        ),
        low=0.0,
        high=1.0,
    ),
    "continuous_bernoulli": Family(
        dist.ContinuousBernoulli,
        {"logits": (-3.0, 0.4, 1e-3)},
        lambda logits: Formula(lambda x: logits * x - np.log(np.expm1(logits) / logits)),
        low=0.0,
        high=1.0,
    ),
    "geometric": Family(
        dist.Geometric, {"probs": (0.1, 0.5, 0.93)}, lambda probs: stats.nbinom(1, probs), discrete=True
    ),
    "negative_binomial": Family(
        dist.NegativeBinomial,
        {"probs": (0.1, 0.5, 0.73)},
        lambda probs: stats.nbinom(3, 1 - probs),
        discrete=True,
        static={"total_count": 3.0},
    ),
    "discrete_uniform": Family(
        dist.DiscreteUniform,
        {"low": (0, 1, 0), "high": (9, 3, 2)},
        lambda low, high: stats.randint(low, high + 1),
        discrete=True,
    ),
}
