"""Rows: mixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats
from truths import softmax

import svijax.distributions as dist

_POINTS = [[0.0, 0.0], [2.0, -1.0], [5.0, 6.0], [-3.0, 1.0]]


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
    weights, loc, scale = softmax(logits), np.asarray(loc), np.asarray(scale)

    def log_prob(x: Any) -> Any:
        terms = stats.norm.logpdf(np.asarray(x)[..., None, :], loc, scale).sum(-1)
        return special.logsumexp(terms + np.log(weights), axis=-1)

    mean = weights @ loc
    return Reference(log_prob, mean=mean, variance=weights @ (scale**2 + loc**2) - mean**2)


def _diagonal_marginals(logits: Any, loc: Any, scale: Any) -> Any:
    def law(i: int) -> Reference:
        return _mixture(softmax(logits), [stats.norm(m[i], s[i]) for m, s in zip(loc, scale)])

    def summed(a: Any) -> Reference:
        a = np.asarray(a)
        spread = np.sqrt((np.asarray(scale) ** 2) @ a**2)
        return _mixture(softmax(logits), [stats.norm(m, s) for m, s in zip(np.asarray(loc) @ a, spread)])

    along = np.array([1.0, -0.5])
    return [
        (lambda x: x[..., 0], law(0)),
        (lambda x: x[..., 1], law(1)),
        (lambda x: x @ along, summed(along)),
    ]


def _by_name(locs: Any, coord_scale: Any, component_logits: Any) -> Any:
    """The parameters of Pyro's names under those of the references."""
    scale = np.broadcast_to(coord_scale, np.shape(locs))
    return {"logits": component_logits, "loc": np.asarray(locs), "scale": scale}


def _centred(coord_scale: Any, component_logits: Any, component_scale: Any) -> Any:
    scale = np.outer(component_scale, coord_scale)
    return {"logits": component_logits, "loc": np.zeros(scale.shape), "scale": scale}


CASES: dict[str, DistCase] = {
    "mixture_normals": DistCase(
        _normals,
        {
            "logits": np.array([-0.3, 0.4, 0.2]),
            "loc": np.array([-1.0, 0.0, 2.5]),
            "scale": np.array([0.5, 1.0, 0.7]),
        },
        lambda logits, loc, scale: _mixture(softmax(logits), [stats.norm(*p) for p in zip(loc, scale)]),
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
        lambda logits, loc, df: _mixture(softmax(logits), [stats.norm(loc), stats.laplace(0.5, df)]),
        "df",
        change=0.03,
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
            softmax(logits), [stats.gamma(c, scale=1 / r) for c, r in zip(concentration, rate)]
        ),
        "rate",
        pathwise="expectation",
        lacks=("icdf",),
    ),
    "mixture_counts": DistCase(
        _counts,
        {"logits": np.array([0.0, 0.5]), "rate": np.array([1.5, 6.0])},
        lambda logits, rate: _mixture(softmax(logits), [stats.poisson(r) for r in rate]),
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
        values=_POINTS,
        marginals=_diagonal_marginals,
        pathwise="expectation",
    ),
    "mixture_of_diag_normals": DistCase(
        dist.MixtureOfDiagNormals,
        {
            "locs": np.array([[0.0, 1.0], [2.0, -1.0]]),
            "coord_scale": np.array([[1.0, 0.5], [0.7, 1.0]]),
            "component_logits": np.array([0.4, -0.4]),
        },
        lambda **params: _diagonal_reference(**_by_name(**params)),
        "coord_scale",
        values=_POINTS,
        marginals=lambda **params: _diagonal_marginals(**_by_name(**params)),
        pathwise="expectation",
    ),
    "mixture_of_diag_normals_shared": DistCase(
        dist.MixtureOfDiagNormalsSharedCovariance,
        {
            "locs": np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]]),
            "coord_scale": np.array([1.0, 0.5]),
            "component_logits": np.array([0.4, -0.4, 0.1]),
        },
        lambda **params: _diagonal_reference(**_by_name(**params)),
        "locs",
        values=_POINTS,
        marginals=lambda **params: _diagonal_marginals(**_by_name(**params)),
        pathwise="expectation",
    ),
    "gaussian_scale_mixture": DistCase(
        dist.GaussianScaleMixture,
        {
            "coord_scale": np.array([1.0, 0.5]),
            "component_logits": np.array([0.4, -0.4, 0.1]),
            "component_scale": np.array([0.5, 1.0, 2.5]),
        },
        lambda **params: _diagonal_reference(**_centred(**params)),
        "component_scale",
        values=_POINTS,
        marginals=lambda **params: _diagonal_marginals(**_centred(**params)),
        pathwise="expectation",
    ),
}
