"""Rows: mixtures, truncation, censoring, zero inflation, hurdles, images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import integrate, special, stats

import svijax.distributions as dist
from svijax.transforms import AffineTransform, ExpTransform

INF = np.inf


def _softmax(x: Any) -> Any:
    return np.exp(x - special.logsumexp(x))


# Mixtures


def _inverse(cdf: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    """The inverse of an increasing function between two ends, by bisection of all entries at once."""

    def invert(q: Any) -> Any:
        q = np.asarray(q, np.float64)
        a, b = np.full(q.shape, low), np.full(q.shape, high)
        for _ in range(80):
            middle = 0.5 * (a + b)
            right = cdf(middle) < q
            a, b = np.where(right, middle, a), np.where(right, b, middle)
        return 0.5 * (a + b)

    return invert


def _mixture(weights: Any, parts: list[Any]) -> Reference:
    weights = np.asarray(weights, np.float64)

    def total(name: str) -> Callable[[Any], Any]:
        return lambda x: sum(w * getattr(part, name)(x) for w, part in zip(weights, parts))

    def log_total(name: str) -> Callable[[Any], Any]:
        def f(x: Any) -> Any:
            terms = np.stack([getattr(part, name)(x) + 0.0 * np.asarray(x) for part in parts])
            scale = weights.reshape((-1, *(1,) * (terms.ndim - 1)))
            return special.logsumexp(terms, axis=0, b=scale)

        return f

    discrete = hasattr(parts[0], "pmf") or not hasattr(parts[0], "pdf")
    mean = sum(w * part.mean() for w, part in zip(weights, parts))
    second = sum(w * (part.var() + part.mean() ** 2) for w, part in zip(weights, parts))
    ends = min(part.ppf(1e-14) for part in parts) - 1, max(part.isf(1e-14) for part in parts) + 1
    icdf = _inverse(total("cdf"), *ends)
    return Reference(
        log_prob=log_total("logpmf" if discrete else "logpdf"),
        cdf=total("cdf"),
        icdf=(lambda q: np.ceil(icdf(q) - 1e-9)) if discrete else icdf,
        mean=mean,
        variance=second - mean**2,
        log_cdf=log_total("logcdf"),
        log_survival_function=log_total("logsf"),
    )


def _normals(logits: Any, loc: Any, scale: Any, validate_args: Any = None) -> Any:
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, scale))


def _normals_by_probs(probs: Any, loc: Any, validate_args: Any = None) -> Any:
    mixing = dist.Categorical(probs, validate_args=validate_args)
    return dist.Mixture(mixing, dist.Normal(loc, 0.5, validate_args=validate_args))


def _two_families(logits: Any, loc: Any, df: Any, validate_args: Any = None) -> Any:
    parts = [dist.Normal(loc, 1.0), dist.Laplace(0.5, df)]
    return dist.Mixture(dist.Categorical(logits=logits), parts)


def _gammas(logits: Any, concentration: Any, rate: Any, validate_args: Any = None) -> Any:
    return dist.Mixture(dist.Categorical(logits=logits), dist.Gamma(concentration, rate))


def _counts(logits: Any, rate: Any, validate_args: Any = None) -> Any:
    return dist.Mixture(dist.Categorical(logits=logits), dist.Poisson(rate))


def _diagonal(logits: Any, loc: Any, scale: Any, validate_args: Any = None) -> Any:
    return dist.Mixture(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))


def _diagonal_reference(logits: Any, loc: Any, scale: Any) -> Reference:
    weights, loc, scale = _softmax(logits), np.asarray(loc), np.asarray(scale)

    def log_prob(x: Any) -> Any:
        terms = stats.norm.logpdf(np.asarray(x)[..., None, :], loc, scale).sum(-1)
        return special.logsumexp(terms + np.log(weights), axis=-1)

    mean = weights @ loc
    return Reference(log_prob, mean=mean, variance=weights @ (scale**2 + loc**2) - mean**2)


def _diagonal_marginals(logits: Any, loc: Any, scale: Any) -> Any:
    def law(i: int) -> Reference:
        return _mixture(_softmax(logits), [stats.norm(m[i], s[i]) for m, s in zip(loc, scale)])

    def summed(a: Any) -> Reference:
        a = np.asarray(a)
        spread = np.sqrt((np.asarray(scale) ** 2) @ a**2)
        return _mixture(_softmax(logits), [stats.norm(m, s) for m, s in zip(np.asarray(loc) @ a, spread)])

    along = np.array([1.0, -0.5])
    return [
        (lambda x: x[..., 0], law(0)),
        (lambda x: x[..., 1], law(1)),
        (lambda x: x @ along, summed(along)),
    ]


MIXTURES = {
    "mixture_normals": DistCase(
        _normals,
        {
            "logits": np.array([-0.3, 0.4, 0.2]),
            "loc": np.array([-1.0, 0.0, 2.5]),
            "scale": np.array([0.5, 1.0, 0.7]),
        },
        lambda logits, loc, scale: _mixture(_softmax(logits), [stats.norm(*p) for p in zip(loc, scale)]),
        "loc",
        pathwise="expectation",
        lacks=("icdf",),
    ),
    "mixture_probs": DistCase(
        _normals_by_probs,
        {"probs": np.array([0.25, 0.75]), "loc": np.array([-1.0, 1.5])},
        lambda probs, loc: _mixture(probs, [stats.norm(m, 0.5) for m in loc]),
        "loc",
        pathwise="expectation",
        lacks=("icdf",),
        slopes=False,  # the reference moves off the simplex
    ),
    "mixture_two_families": DistCase(
        _two_families,
        {"logits": np.array([0.3, -0.3]), "loc": -1.0, "df": 0.8},
        lambda logits, loc, df: _mixture(_softmax(logits), [stats.norm(loc), stats.laplace(0.5, df)]),
        "df",
        pathwise="expectation",
        lacks=("icdf",),
    ),
    "mixture_gammas": DistCase(
        _gammas,
        {
            "logits": np.array([0.0, 0.5]),
            "concentration": np.array([2.0, 5.0]),
            "rate": np.array([3.0, 1.0]),
        },
        lambda logits, concentration, rate: _mixture(
            _softmax(logits), [stats.gamma(c, scale=1 / r) for c, r in zip(concentration, rate)]
        ),
        "rate",
        lacks=("icdf",),
    ),
    "mixture_counts": DistCase(
        _counts,
        {"logits": np.array([0.0, 0.5]), "rate": np.array([1.5, 6.0])},
        lambda logits, rate: _mixture(_softmax(logits), [stats.poisson(r) for r in rate]),
        "rate",
        lacks=("icdf",),
    ),
    "mixture_diagonal": DistCase(
        _diagonal,
        {
            "logits": np.array([0.4, -0.4]),
            "loc": np.array([[0.0, 1.0], [2.0, -1.0]]),
            "scale": np.array([[1.0, 0.5], [0.7, 1.0]]),
        },
        _diagonal_reference,
        "logits",
        change=0.5,
        values=[[0.0, 0.0], [2.0, -1.0], [5.0, 6.0], [-3.0, 1.0]],
        marginals=_diagonal_marginals,
        pathwise="expectation",
    ),
}


# Truncation


def _truncated(base: Any, low: float = -INF, high: float = INF) -> Reference:
    """Of a frozen distribution, from the nearer tail; moments and entropy by quadrature."""
    right = base.cdf(low) > 0.5
    tail = base.sf if right else base.cdf
    edges = tail(low), tail(high)
    mass = abs(edges[1] - edges[0])

    def below(x: Any) -> Any:
        return np.clip(np.abs(tail(x) - edges[0]) / mass, 0.0, 1.0)

    def above(x: Any) -> Any:
        return np.clip(np.abs(tail(x) - edges[1]) / mass, 0.0, 1.0)

    def icdf(q: Any) -> Any:
        return (base.isf if right else base.ppf)(edges[0] + np.asarray(q) * (edges[1] - edges[0]))

    def log_prob(x: Any) -> Any:
        return base.logpdf(x) - np.log(mass)

    return Reference(
        log_prob,
        below,
        icdf,
        log_cdf=lambda x: np.log(below(x)),
        log_survival_function=lambda x: np.log(above(x)),
    )


def _moments(truth: Reference, low: float, high: float) -> Reference:
    """The reference with its moments and entropy, by quadrature between two ends."""

    def expect(f: Callable[[Any], Any]) -> float:
        return integrate.quad(
            lambda x: f(x) * np.exp(truth.log_prob(x)), low, high, epsabs=0, epsrel=1e-12, limit=400
        )[0]

    mean = expect(lambda x: x)
    return replace(
        truth,
        mean=mean,
        variance=expect(lambda x: (x - mean) ** 2),
        entropy=expect(lambda x: -truth.log_prob(x)),
    )


def _truncated_normal(loc: Any, scale: Any, low: float = -INF, high: float = INF) -> Reference:
    truth = _truncated(stats.norm(loc, scale), low, high)
    ends = truth.icdf(np.array([0.0, 1.0]))
    far = loc - 12 * scale, loc + 12 * scale
    if np.isinf(high) and low > far[1] - 6 * scale:
        ends[1] = low + 4 * scale
    return _moments(truth, max(ends[0], far[0]), ends[1] if np.isfinite(ends[1]) else far[1])


TRUNCATED = {
    "truncated_normal": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.5, "scale": 1.5, "low": -1.0, "high": 2.0},
        _truncated_normal,
        "high",
        outside=(-1.5, 2.5),
        edges=(-1.0, 2.0),
    ),
    "truncated_normal_left": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.5, "scale": 1.5, "low": -1.0},
        _truncated_normal,
        "scale",
        outside=(-1.5,),
        edges=(-1.0,),
    ),
    "truncated_normal_right": DistCase(
        lambda high, validate_args=None: dist.RightTruncatedDistribution(
            dist.Normal(0.5, 1.5), high, validate_args=validate_args
        ),
        {"high": -1.0},
        lambda high: _truncated_normal(0.5, 1.5, high=high),
        "high",
        outside=(0.0,),
        edges=(-1.0,),
    ),
    # 8 and 10 standard deviations out, where 1 - cdf is 0 in float32
    "truncated_normal_far": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "low": 8.0, "high": 8.5},
        _truncated_normal,
        "low",
        outside=(7.9, 8.6),
        edges=(8.0, 8.5),
        moments=1e-7,
    ),
    "truncated_normal_farther": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "low": 10.0},
        _truncated_normal,
        "low",
        edges=(10.0,),
        moments=1e-7,
        inverse=1e-8,
    ),
    "truncated_normal_far_below": DistCase(
        dist.TruncatedNormal,
        {"loc": 0.0, "scale": 1.0, "high": -10.0},
        lambda loc, scale, high: _mirrored(_truncated_normal(-loc, scale, low=-high)),
        "high",
        edges=(-10.0,),
        moments=1e-7,
        inverse=1e-8,
    ),
    "truncated_cauchy": DistCase(
        dist.TruncatedCauchy,
        {"loc": 0.0, "scale": 1.5, "low": -1.0, "high": 40.0},
        lambda loc, scale, low, high: _truncated_cauchy(loc, scale, low, high),
        "high",
        change=0.2,
        outside=(-1.5, 41.0),
        edges=(-1.0, 40.0),
    ),
    "truncated_laplace": DistCase(
        lambda loc, scale, low, validate_args=None: dist.LeftTruncatedDistribution(
            dist.Laplace(loc, scale, validate_args=validate_args), low, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0},
        lambda loc, scale, low: _truncated(stats.laplace(loc, scale), low),
        "scale",
    ),
    "truncated_logistic": DistCase(
        lambda loc, scale, low, high, validate_args=None: dist.TwoSidedTruncatedDistribution(
            dist.Logistic(loc, scale, validate_args=validate_args), low, high, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0, "high": 9.0},
        lambda loc, scale, low, high: _truncated(stats.logistic(loc, scale), low, high),
        "high",
        change=0.1,
    ),
    "truncated_gumbel": DistCase(
        lambda loc, scale, low, validate_args=None: dist.TruncatedDistribution(
            dist.Gumbel(loc, scale, validate_args=validate_args), low, validate_args=validate_args
        ),
        {"loc": 0.0, "scale": 1.5, "low": 1.0},
        lambda loc, scale, low: _truncated(stats.gumbel_r(loc, scale), low),
        "scale",
    ),
    # the base ends before the bound does
    "truncated_exponential": DistCase(
        lambda rate, low, high, validate_args=None: dist.TruncatedDistribution(
            dist.Exponential(rate, validate_args=validate_args), low, high, validate_args=validate_args
        ),
        {"rate": 0.7, "high": 2.0},
        lambda rate, low, high: _truncated(stats.expon(scale=1 / rate), max(low, 0.0), high),
        "high",
        fixed={"low": -1.0},
        outside=(-0.5,),
        edges=(0.0,),
    ),
}


def _mirrored(truth: Reference) -> Reference:
    return Reference(
        lambda x: truth.log_prob(-x),
        lambda x: np.exp(truth.log_survival_function(-x)),
        lambda q: _far_below(truth, q),
        -truth.mean,
        truth.variance,
        truth.entropy,
        lambda x: truth.log_survival_function(-x),
        lambda x: truth.log_cdf(-x),
    )


def _far_below(truth: Reference, q: Any) -> Any:
    return -truth.icdf(1 - np.asarray(q))


def _truncated_cauchy(loc: float, scale: float, low: float, high: float) -> Reference:
    a, b = np.arctan((low - loc) / scale), np.arctan((high - loc) / scale)

    def log_prob(x: Any) -> Any:
        return -np.log1p(((x - loc) / scale) ** 2) - np.log(scale * (b - a))

    def cdf(x: Any) -> Any:
        return np.clip((np.arctan((x - loc) / scale) - a) / (b - a), 0, 1)

    return Reference(log_prob, cdf, lambda q: loc + scale * np.tan(a + np.asarray(q) * (b - a)))


# Zero inflation and hurdles


def _gated(base: Any, gate: float, hurdle: bool) -> Reference:
    """By summation over the support."""
    k = np.arange(3 * int(base.ppf(1 - 1e-12)) + 60)
    p = base.pmf(k)
    p = np.where(k == 0, 0.0, p) / (1 - p[0]) if hurdle else p
    p = (1 - gate) * p + np.where(k == 0, gate, 0.0)
    mean, total = (k * p).sum(), np.cumsum(p)

    def log_prob(x: Any) -> Any:
        x = np.asarray(x)
        rest = base.logpmf(x) - (np.log1p(-base.pmf(0)) if hurdle else 0.0) + np.log1p(-gate)
        return np.where(x == 0, np.log(p[0]), rest)

    def cdf(x: Any) -> Any:
        x = np.floor(np.asarray(x))
        return np.where(x < 0, 0.0, total[np.clip(x, 0, len(k) - 1).astype(int)])

    def above(x: Any) -> Any:
        scale = (1 - gate) / ((1 - base.pmf(0)) if hurdle else 1.0)
        return np.log(scale) + base.logsf(x)

    logs = np.log(np.where(p > 0, p, 1.0))
    return Reference(
        log_prob,
        cdf,
        lambda q: np.searchsorted(total, np.asarray(q) - 1e-15),
        mean,
        ((k - mean) ** 2 * p).sum(),
        -(p * logs).sum(),
        log_survival_function=above,
    )


def _negative_binomial(mean: float, concentration: float) -> Any:
    return stats.nbinom(concentration, concentration / (concentration + mean))


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _without_entropy(truth: Reference) -> Reference:
    return replace(truth, entropy=None)


def _hurdle_continuous(base: Any, gate: float) -> Reference:
    def log_prob(x: Any) -> Any:
        x = np.asarray(x, np.float64)
        return np.where(x == 0, np.log(gate), np.log1p(-gate) + base.logpdf(np.where(x == 0, 1.0, x)))

    mean = (1 - gate) * base.mean()
    entropy = (1 - gate) * base.entropy() - gate * np.log(gate) - (1 - gate) * np.log1p(-gate)
    return Reference(
        log_prob,
        lambda x: np.where(np.asarray(x) >= 0, gate, 0) + (1 - gate) * base.cdf(x),
        mean=mean,
        variance=(1 - gate) * (base.var() + base.mean() ** 2) - mean**2,
        entropy=entropy,
        log_survival_function=lambda x: np.log1p(-gate) + base.logsf(x),
    )


GATED = {
    "zero_inflated_poisson": DistCase(
        dist.ZeroInflatedPoisson,
        {"gate": 0.3, "rate": 3.5},
        lambda gate, rate: _without_entropy(_gated(stats.poisson(rate), gate, False)),
        "rate",
    ),
    "zero_inflated_binomial_logits": DistCase(
        lambda gate_logits, probs: dist.ZeroInflatedLogits(dist.Binomial(6, probs), gate_logits),
        {"gate_logits": -0.7, "probs": 0.4},
        lambda gate_logits, probs: _gated(stats.binom(6, probs), _sigmoid(gate_logits), False),
        "probs",
    ),
    "zero_inflated_bernoulli": DistCase(
        lambda gate, probs: dist.ZeroInflatedDistribution(dist.Bernoulli(probs), gate=gate),
        {"gate": 0.3, "probs": 0.4},
        lambda gate, probs: _gated(stats.bernoulli(probs), gate, False),
        "probs",
        values=[0, 1],
    ),
    "zero_inflated_negative_binomial": DistCase(
        dist.ZeroInflatedNegativeBinomial,
        {"total_count": 3.0, "logits": 0.2, "gate_logits": -1.0},
        lambda total_count, logits, gate_logits: _without_entropy(
            _gated(stats.nbinom(total_count, 1 - _sigmoid(logits)), _sigmoid(gate_logits), False)
        ),
        "total_count",
    ),
    "zero_inflated_negative_binomial2": DistCase(
        dist.ZeroInflatedNegativeBinomial2,
        {"mean": 4.0, "concentration": 2.0, "gate": 0.2},
        lambda mean, concentration, gate: _without_entropy(
            _gated(_negative_binomial(mean, concentration), gate, False)
        ),
        "mean",
    ),
    "hurdle_poisson": DistCase(
        dist.HurdlePoisson,
        {"gate": 0.3, "rate": 1.5},
        lambda gate, rate: _without_entropy(_gated(stats.poisson(rate), gate, True)),
        "rate",
    ),
    "hurdle_binomial_logits": DistCase(
        lambda gate_logits, probs: dist.HurdleLogits(dist.Binomial(3, probs), gate_logits),
        {"gate_logits": -0.4, "probs": 0.4},
        lambda gate_logits, probs: _gated(stats.binom(3, probs), _sigmoid(gate_logits), True),
        "probs",
    ),
    "hurdle_negative_binomial2": DistCase(
        dist.HurdleNegativeBinomial2,
        {"gate": 0.3, "mean": 2.5, "concentration": 1.7},
        lambda gate, mean, concentration: _without_entropy(
            _gated(_negative_binomial(mean, concentration), gate, True)
        ),
        "mean",
    ),
    "hurdle_gamma": DistCase(
        dist.HurdleGamma,
        {"gate": 0.3, "concentration": 2.5, "rate": 1.5},
        lambda gate, concentration, rate: _hurdle_continuous(
            stats.gamma(concentration, scale=1 / rate), gate
        ),
        values=[0.0, 0.1, 1.0, 4.0],
        atom=True,
    ),
    "hurdle_log_normal": DistCase(
        dist.HurdleLogNormal,
        {"gate": 0.3, "loc": 0.2, "scale": 0.6},
        lambda gate, loc, scale: _hurdle_continuous(stats.lognorm(scale, scale=np.exp(loc)), gate),
        values=[0.0, 0.1, 1.0, 4.0],
        atom=True,
    ),
}


# Censoring: likelihoods, of which only the log density is a truth


def _moments_of(base: Any) -> dict[str, Any]:
    return {"mean": base.mean(), "variance": base.var()}


CENSORED = {
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
}


# Images under bijections


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


IMAGES = {
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
}

CASES: dict[str, DistCase] = {**MIXTURES, **TRUNCATED, **GATED, **CENSORED, **IMAGES}
