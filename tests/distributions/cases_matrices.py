"""Rows: random matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import integrate, stats
from truths import SIGMA, TRIL, each

import svijax.distributions as dist


def _log_jacobian(factor: Any) -> Any:
    """log |det d(L L^T) / dL|."""
    p = len(factor)
    return p * np.log(2) + np.sum(np.arange(p, 0, -1) * np.log(np.diag(factor)))


def _scale(scale_matrix: Any = None, rate_matrix: Any = None, scale_tril: Any = None) -> Any:
    if scale_matrix is not None:
        return scale_matrix
    return np.linalg.inv(rate_matrix) if scale_tril is None else scale_tril @ scale_tril.T


def _schur(x: Any) -> Any:
    return x[..., 1, 1] - x[..., 0, 1] ** 2 / x[..., 0, 0]


def _gram(factor: Any) -> Any:
    return factor @ factor.swapaxes(-1, -2)


def _of_factors(laws: Any) -> Any:
    return lambda **params: [(lambda x, f=f: f(_gram(x)), law) for f, law in laws(**params)]


def _wishart(concentration: Any, **scale: Any) -> Reference:
    d = stats.wishart(float(concentration), _scale(**scale))
    return Reference(each(d.logpdf, 2), mean=d.mean(), variance=d.var(), entropy=d.entropy())


def _wishart_laws(concentration: Any, **scale: Any) -> Any:
    v = _scale(**scale)
    first = stats.chi2(concentration, scale=v[0, 0])
    rest = stats.chi2(concentration - 1, scale=_schur(v))
    total = stats.chi2(concentration, scale=v.sum())
    return [(lambda x: x[..., 0, 0], first), (_schur, rest), (lambda x: x.sum((-2, -1)), total)]


def _wishart_factor(concentration: Any, **scale: Any) -> Reference:
    v = _scale(**scale)
    d, s, p = stats.wishart(float(concentration), v), np.linalg.cholesky(v), len(v)
    chi = [stats.chi(concentration - i) for i in range(p)]
    mean = s * [c.mean() for c in chi]
    second = s**2 @ (np.tril(np.ones((p, p)), -1) + np.diag([c.moment(2) for c in chi]))
    log_diagonal = np.log(np.diag(s)) + [c.expect(np.log) for c in chi]
    log_jacobian = p * np.log(2) + np.sum(np.arange(p, 0, -1) * log_diagonal)
    return Reference(
        each(lambda x: d.logpdf(x @ x.T) + _log_jacobian(x), 2),
        mean=mean,
        variance=second - mean**2,
        entropy=d.entropy() - log_jacobian,
    )


def _inverse_wishart(concentration: Any, **scale: Any) -> Reference:
    v = _scale(**scale)
    d, entropy = stats.invwishart(float(concentration), v), _inverse_wishart_entropy(concentration, v)
    return Reference(each(d.logpdf, 2), mean=d.mean(), variance=d.var(), entropy=entropy)


def _inverse_wishart_entropy(concentration: Any, v: Any) -> float:
    """By that of the inverse, |dX / dX^-1| = det(X)^(p + 1); SciPy's own lacks (p^2 - 1) log(2) / 2."""
    p, inverse = len(v), np.linalg.inv(v)
    log_det = np.linalg.slogdet(inverse)[1] + sum(
        stats.chi2(concentration - i).expect(np.log, epsabs=0, epsrel=1e-11) for i in range(p)
    )
    return float(stats.wishart(float(concentration), inverse).entropy() - (p + 1) * log_det)


def _inverse_wishart_laws(concentration: Any, **scale: Any) -> Any:
    v = _scale(**scale)
    first = stats.invgamma(0.5 * (concentration - 1), scale=0.5 * v[0, 0])
    rest = stats.invgamma(0.5 * concentration, scale=0.5 * _schur(v))
    return [(lambda x: x[..., 0, 0], first), (_schur, rest)]


def _inverse_wishart_factor(concentration: Any, **scale: Any) -> Reference:
    # In two dimensions, A^-1 = [[1 / a, 0], [-c / (a b), 1 / b]] with chi a and b, normal c.
    v = _scale(**scale)
    d, s = stats.invwishart(float(concentration), v), np.linalg.cholesky(v)
    chi = [stats.chi(concentration - 1), stats.chi(concentration)]
    inverse, square = ([c.expect(lambda x, k=k: x**-k) for c in chi] for k in (1, 2))
    mean = s * inverse
    second = s**2 @ [[square[0], 0.0], [square[0] * square[1], square[1]]]
    log_diagonal = np.log(np.diag(s)) - [c.expect(np.log) for c in chi]
    log_jacobian = 2 * np.log(2) + np.sum([2, 1] * log_diagonal)
    return Reference(
        each(lambda x: d.logpdf(x @ x.T) + _log_jacobian(x), 2),
        mean=mean,
        variance=second - mean**2,
        entropy=_inverse_wishart_entropy(concentration, v) - log_jacobian,
    )


class _Lkj3:
    """LKJ in dimension 3 by quadrature: r_12 = a, r_13 = b, r_23 = a b + q sqrt((1 - a^2) (1 - b^2)).

    det R = (1 - a^2) (1 - b^2) (1 - q^2), so that a, b and q are independent, with densities proportional to
    (1 - a^2)^(c - 1/2), (1 - b^2)^(c - 1/2) and (1 - q^2)^(c - 1).
    """

    def __init__(self, concentration: float) -> None:
        self.c = float(concentration)
        self.log_norm = 2 * np.log(self._integral(0.5)) + np.log(self._integral(0.0))

    def _integral(self, more: float, f: Any = lambda left: 1.0) -> float:
        # By the angle, in which (1 - a^2) is a cosine squared.
        def at(angle: float) -> float:
            left = np.cos(angle) ** 2
            return left ** (self.c - 1 + more) * np.cos(angle) * f(left)

        return 2 * integrate.quad(at, 0, np.pi / 2, epsabs=0, epsrel=1e-12)[0]

    def mean_of(self, more: float, f: Any) -> float:
        return self._integral(more, f) / self._integral(more)


def _lkj(dimension: int, concentration: Any, sample_method: str = "onion") -> Reference:
    d = _Lkj3(concentration)
    log_det = 2 * d.mean_of(0.5, np.log) + d.mean_of(0.0, np.log)
    shape = concentration + dimension / 2 - 1
    return Reference(
        each(lambda x: (concentration - 1) * np.linalg.slogdet(x)[1] - d.log_norm, 2),
        mean=np.eye(3),
        variance=4 * stats.beta(shape, shape).var() * (1 - np.eye(3)),
        entropy=d.log_norm - (concentration - 1) * log_det,
    )


def _lkj_factor(dimension: int, concentration: Any, sample_method: str = "onion") -> Reference:
    d = _Lkj3(concentration)

    def log_prob(x: Any) -> Any:
        log_diagonal = np.log(np.diag(x))
        return 2 * (concentration - 1) * log_diagonal.sum() + log_diagonal[1] - d.log_norm

    log_det = 2 * d.mean_of(0.5, np.log) + d.mean_of(0.0, np.log)
    mean = np.diag([1.0, d.mean_of(0.5, np.sqrt), d.mean_of(0.5, np.sqrt) * d.mean_of(0.0, np.sqrt)])
    left, last = (d.mean_of(more, lambda x: x) for more in (0.5, 0.0))
    second = np.array([[1.0, 0, 0], [1 - left, left, 0], [1 - left, left * (1 - last), left * last]])
    entropy = d.log_norm - (concentration - 1) * log_det - 0.5 * d.mean_of(0.5, np.log)
    return Reference(each(log_prob, 2), mean=mean, variance=second - mean**2, entropy=entropy)


def _lkj_laws(dimension: int, concentration: Any, sample_method: str = "onion") -> Any:
    shape = concentration + dimension / 2 - 1
    entry = stats.beta(shape, shape, -1, 2)
    return [(lambda x, i=i, j=j: x[..., i, j], entry) for i in range(dimension) for j in range(i)]


def _lkj_factor_laws(dimension: int, concentration: Any, sample_method: str = "onion") -> Any:
    # The last diagonal entry squared is the share of a variance that the others do not explain.
    tail = stats.beta(concentration, 0.5 * (dimension - 1))
    return [
        *_of_factors(_lkj_laws)(dimension=dimension, concentration=concentration),
        (lambda x: x[..., -1, -1] ** 2, tail),
    ]


MATRICES = [[[1.0, 0.5], [0.5, 2.0]], [[8.0, -3.0], [-3.0, 4.0]], [[0.25, 0.0], [0.0, 0.5]]]
FACTORS = [[[1.0, 0.0], [0.5, 2.0]], [[3.0, 0.0], [-1.0, 0.5]], [[0.25, 0.0], [0.0, 0.5]]]
CORRELATIONS = [np.eye(3), [[1.0, 0.5, -0.25], [0.5, 1.0, 0.125], [-0.25, 0.125, 1.0]]]
CORRELATION_FACTORS = [np.eye(3), [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.48, 0.64, 0.6]]]
CORRELATION_ROW = {
    "bump": "concentration",
    "pathwise": "expectation",
    "marginals": _lkj_laws,
    "values": CORRELATIONS,
    "outside": [[[1.0, 1.5, 0.0], [1.5, 1.0, 0.0], [0.0, 0.0, 1.0]]],
    "edges": [[[1.0, 0.9999, 0.0], [0.9999, 1.0, 0.0], [0.0, 0.0, 1.0]]],
}
CORRELATION_FACTOR_ROW = {
    "bump": "concentration",
    "pathwise": "expectation",
    "marginals": _lkj_factor_laws,
    "values": CORRELATION_FACTORS,
    "outside": [[[1.0, 0.0, 0.0], [0.6, -0.8, 0.0], [0.0, 0.0, 1.0]]],
    "edges": [[[1.0, 0.0, 0.0], [1.0, 1e-6, 0.0], [1.0, 0.0, 1e-30]]],
}

CASES: dict[str, DistCase] = {
    "wishart": DistCase(
        dist.Wishart,
        {"concentration": 4.5, "scale_matrix": SIGMA},
        _wishart,
        "concentration",
        marginals=_wishart_laws,
        pathwise="expectation",
        values=MATRICES,
        outside=[[[1.0, 2.0], [2.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]],
        edges=[[[1e-6, 0.0], [0.0, 1.0]], [[1.0, 0.9999], [0.9999, 1.0]]],
    ),
    "wishart_rate": DistCase(
        dist.Wishart,
        {"concentration": 3.0, "rate_matrix": SIGMA},
        _wishart,
        "rate_matrix",
        marginals=_wishart_laws,
        pathwise="expectation",
        values=MATRICES,
    ),
    "wishart_cholesky": DistCase(
        dist.WishartCholesky,
        {"concentration": 2.5, "scale_tril": TRIL},
        _wishart_factor,
        "scale_tril",
        marginals=_of_factors(_wishart_laws),
        pathwise="expectation",
        values=FACTORS,
        outside=[[[-1.0, 0.0], [0.5, 1.0]], [[1.0, 0.5], [0.0, 1.0]]],
        edges=[[[1e-30, 0.0], [0.5, 1.0]]],
        moments=1e-7,  # by quadrature
    ),
    "inverse_wishart": DistCase(
        dist.InverseWishart,
        {"concentration": 7.5, "scale_matrix": SIGMA},
        _inverse_wishart,
        "concentration",
        marginals=_inverse_wishart_laws,
        pathwise="expectation",
        values=MATRICES,
        outside=[[[1.0, 2.0], [2.0, 1.0]]],
        edges=[[[1e6, 0.0], [0.0, 1.0]], [[1.0, 0.9999], [0.9999, 1.0]]],
    ),
    "inverse_wishart_cholesky": DistCase(
        dist.InverseWishartCholesky,
        {"concentration": 6.5, "scale_tril": TRIL},
        _inverse_wishart_factor,
        "scale_tril",
        marginals=_of_factors(_inverse_wishart_laws),
        pathwise="expectation",
        values=FACTORS,
        outside=[[[-1.0, 0.0], [0.5, 1.0]]],
        moments=1e-7,  # by quadrature
    ),
    **{
        f"lkj_{method}": DistCase(
            dist.LKJ,
            {"concentration": 1.7},
            _lkj,
            fixed={"dimension": 3, "sample_method": method},
            **CORRELATION_ROW,
        )
        for method in ("onion", "cvine")
    },
    **{
        f"lkj_cholesky_{method}": DistCase(
            dist.LKJCholesky,
            {"concentration": 0.8},
            _lkj_factor,
            fixed={"dimension": 3, "sample_method": method},
            **CORRELATION_FACTOR_ROW,
        )
        for method in ("onion", "cvine")
    },
}
