"""Rows: vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import integrate, linalg, stats

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


def _each(function: Any, event_dim: int) -> Any:
    """``function`` of one value, for values along any front axes."""

    def of_all(values: Any) -> Any:
        values = np.asarray(values, np.float64)
        front = values.shape[: values.ndim - event_dim]
        rows = values.reshape((-1, *values.shape[values.ndim - event_dim :]))
        return np.reshape([function(row) for row in rows], front)

    return of_all


def _low_rank(loc: Any, cov_factor: Any, cov_diag: Any) -> Any:
    return cov_factor @ cov_factor.T + np.diag(cov_diag)


def _student(df: Any, loc: Any, scale_tril: Any) -> Reference:
    shape = scale_tril @ scale_tril.T
    d = stats.multivariate_t(loc, shape, df)
    return Reference(d.logpdf, mean=loc, variance=df / (df - 2) * np.diag(shape), entropy=d.entropy())


def _student_laws(df: Any, loc: Any, scale_tril: Any) -> Any:
    shape = scale_tril @ scale_tril.T
    first = stats.t(df, loc[0], np.sqrt(shape[0, 0]))
    total = stats.t(df, loc.sum(), np.sqrt(shape.sum()))
    return [(lambda x: x[..., 0], first), (lambda x: x.sum(-1), total)]


def _matrix_normal(loc: Any, scale_tril_row: Any, scale_tril_column: Any) -> Reference:
    rows, columns = scale_tril_row @ scale_tril_row.T, scale_tril_column @ scale_tril_column.T
    d = stats.matrix_normal(loc, rows, columns)
    spread = np.outer(np.diag(rows), np.diag(columns))
    return Reference(d.logpdf, mean=loc, variance=spread, entropy=d.entropy())


def _matrix_normal_laws(loc: Any, scale_tril_row: Any, scale_tril_column: Any) -> Any:
    rows, columns = scale_tril_row @ scale_tril_row.T, scale_tril_column @ scale_tril_column.T
    last = stats.norm(loc[-1, -1], np.sqrt(rows[-1, -1] * columns[-1, -1]))
    total = stats.norm(loc.sum(), np.sqrt(rows.sum() * columns.sum()))
    return [(lambda x: x[..., -1, -1], last), (lambda x: x.sum((-2, -1)), total)]


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
    return Reference(_each(d.logpdf, 2), mean=d.mean(), variance=d.var(), entropy=d.entropy())


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
        _each(lambda x: d.logpdf(x @ x.T) + _log_jacobian(x), 2),
        mean=mean,
        variance=second - mean**2,
        entropy=d.entropy() - log_jacobian,
    )


def _inverse_wishart(concentration: Any, **scale: Any) -> Reference:
    v = _scale(**scale)
    d, entropy = stats.invwishart(float(concentration), v), _inverse_wishart_entropy(concentration, v)
    return Reference(_each(d.logpdf, 2), mean=d.mean(), variance=d.var(), entropy=entropy)


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
        _each(lambda x: d.logpdf(x @ x.T) + _log_jacobian(x), 2),
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
        _each(lambda x: (concentration - 1) * np.linalg.slogdet(x)[1] - d.log_norm, 2),
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
    return Reference(_each(log_prob, 2), mean=mean, variance=second - mean**2, entropy=entropy)


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


def _circulant(loc: Any, covariance_row: Any = None, covariance_rfft: Any = None) -> Any:
    n = len(loc)
    row = np.fft.irfft(covariance_rfft, n) if covariance_row is None else covariance_row
    return linalg.circulant(row)


def _zero_sum(scale: Any, event_shape: Any) -> Reference:
    covariance = np.ones((1, 1))
    for n in event_shape:
        covariance = np.kron(covariance, np.eye(n) - np.ones((n, n)) / n)
    d = stats.multivariate_normal(np.zeros(len(covariance)), scale**2 * covariance, allow_singular=True)
    variance = scale**2 * np.diag(covariance).reshape(event_shape)
    rank = np.linalg.matrix_rank(covariance)
    # The entropy of as many normals as the rank, since the covariance is scale^2 times a projection.
    return Reference(
        _each(lambda x: d.logpdf(x.ravel()), len(event_shape)),
        mean=np.zeros(event_shape),
        variance=variance,
        entropy=rank * stats.norm(0, scale).entropy(),
    )


def _zero_sum_laws(scale: Any, event_shape: Any) -> Any:
    kept = np.prod([1 - 1 / n for n in event_shape])
    dimension = np.prod(np.subtract(event_shape, 1))
    squares = stats.chi2(dimension, scale=scale**2)
    ends = [(0,) * len(event_shape), (-1,) * len(event_shape)]
    axes = tuple(range(-len(event_shape), 0))
    return [
        *((lambda x, end=end: x[(..., *end)], stats.norm(0, scale * np.sqrt(kept))) for end in ends),
        (lambda x: (x**2).sum(axes), squares),
    ]


def _car(
    loc: Any, correlation: Any, conditional_precision: Any, adj_matrix: Any, is_sparse: bool = False
) -> Any:
    precision = np.diag(adj_matrix.sum(-1)) - correlation * adj_matrix
    return np.linalg.inv(conditional_precision * precision)


def _covariance_row(covariance_of: Any, family: Any, params: Any, bump: str, **rest: Any) -> DistCase:
    """A row of a normal family, by its covariance."""
    return DistCase(
        family,
        params,
        lambda loc, **other: _normal(loc, covariance_of(loc=loc, **other)),
        bump,
        marginals=lambda loc, **other: _entries(loc, covariance_of(loc=loc, **other)),
        pathwise="expectation",
        **rest,
    )


def _seen(loc: Any, covariance_matrix: Any) -> Reference:
    def log_prob(x: Any) -> float:
        keep = ~np.isnan(x)
        if not keep.any():
            return 0.0
        return float(
            stats.multivariate_normal(loc[keep], covariance_matrix[np.ix_(keep, keep)]).logpdf(x[keep])
        )

    whole = _normal(loc, covariance_matrix)
    return Reference(_each(log_prob, 1), mean=whole.mean, variance=whole.variance, entropy=whole.entropy)


FACTOR = np.array([[1.0, 0.2], [-0.5, 0.7], [0.3, 0.4]])
LOW_RANK = {
    "loc": np.array([1.0, -1.0, 0.5]),
    "cov_factor": FACTOR,
    "cov_diag": np.array([0.5, 1.0, 0.2]),
}
LOW_RANK_VALUES = [[0.0, 0.0, 0.0], [3.0, -2.0, 5.0], [1e3, 1e3, -1e3]]
TRIL = np.array([[1.0, 0.0], [0.3, 2.0]])
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
ROW = np.array([1.5, 0.6, 0.2, 0.6])
WEIGHTS = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
CHAIN = {
    "loc": np.array([0.5, -1.0, 0.0, 2.0]),
    "correlation": 0.7,
    "conditional_precision": 1.5,
}

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
    **{
        f"low_rank_{bump}": _covariance_row(
            _low_rank, dist.LowRankMultivariateNormal, LOW_RANK, bump, values=LOW_RANK_VALUES
        )
        for bump in ("cov_factor", "cov_diag")
    },
    **{
        f"multivariate_student_t_{bump}": DistCase(
            dist.MultivariateStudentT,
            {"df": 4.5, "loc": np.array([1.0, -1.0]), "scale_tril": TRIL},
            _student,
            bump,
            change=change,
            marginals=_student_laws,
            pathwise="expectation",
            sharp=bump != "df",  # the draw moves little with its degrees of freedom
            values=[[0.0, 0.0], [3.0, -2.0], [1e6, -1e8]],
            edges=[[1e30, -1e30], [1.0, -1.0]],
            moments=1e-8,
        )
        for bump, change in (("df", 0.2), ("scale_tril", 0.02))
    },
    "matrix_normal": DistCase(
        dist.MatrixNormal,
        {
            "loc": FACTOR,
            "scale_tril_row": np.linalg.cholesky(_low_rank(**LOW_RANK)),
            "scale_tril_column": TRIL,
        },
        _matrix_normal,
        "scale_tril_row",
        marginals=_matrix_normal_laws,
        pathwise="expectation",
        values=[FACTOR, np.ones((3, 2)), np.arange(6.0).reshape(3, 2)],
    ),
    "matrix_normal_column": DistCase(
        dist.MatrixNormal,
        {"loc": FACTOR.T, "scale_tril_row": TRIL, "scale_tril_column": np.eye(3)},
        _matrix_normal,
        "scale_tril_column",
        marginals=_matrix_normal_laws,
        pathwise="expectation",
        values=[FACTOR.T, np.ones((2, 3))],
    ),
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
    "circulant_row": _covariance_row(
        _circulant,
        dist.CirculantNormal,
        {"loc": np.array([1.0, 0.0, -1.0, 0.5]), "covariance_row": ROW},
        "covariance_row",
        values=[[0.0, 0.0, 0.0, 0.0], [3.0, -2.0, 5.0, 1.0]],
    ),
    "circulant_rfft": _covariance_row(
        _circulant,
        dist.CirculantNormal,
        {"loc": np.array([1.0, 0.0, -1.0, 0.5, 2.0]), "covariance_rfft": np.array([2.0, 1.0, 0.5])},
        "covariance_rfft",
        values=[[0.0, 0.0, 0.0, 0.0, 0.0], [3.0, -2.0, 5.0, 1.0, 1.0]],
    ),
    "zero_sum": DistCase(
        dist.ZeroSumNormal,
        {"scale": 1.5},
        _zero_sum,
        "scale",
        fixed={"event_shape": (4,)},
        marginals=_zero_sum_laws,
        pathwise="expectation",
        values=[[0.0, 0.0, 0.0, 0.0], [1.0, -2.0, 0.5, 0.5]],
    ),
    "zero_sum_matrix": DistCase(
        dist.ZeroSumNormal,
        {"scale": 0.5},
        _zero_sum,
        "scale",
        fixed={"event_shape": (2, 3)},
        marginals=_zero_sum_laws,
        pathwise="expectation",
        values=[np.zeros((2, 3)), [[1.0, -2.0, 1.0], [-1.0, 2.0, -1.0]]],
    ),
    "car": _covariance_row(
        _car,
        dist.CAR,
        CHAIN,
        "conditional_precision",
        fixed={"adj_matrix": WEIGHTS},
        values=[[0.0, 0.0, 0.0, 0.0], [3.0, -2.0, 5.0, 1.0]],
    ),
    "car_sparse": _covariance_row(
        _car,
        dist.CAR,
        {**CHAIN, "correlation": -0.4},
        "correlation",
        change=0.2,
        fixed={"adj_matrix": WEIGHTS, "is_sparse": True},
        values=[[0.0, 0.0, 0.0, 0.0], [3.0, -2.0, 5.0, 1.0]],
    ),
    "nan_masked_normal": DistCase(
        dist.NanMaskedNormal, {"loc": 1.0, "scale": 2.0}, lambda loc, scale: stats.norm(loc, scale), "scale"
    ),
    "nan_masked_multivariate_normal": DistCase(
        dist.NanMaskedMultivariateNormal,
        {"loc": np.array([1.0, -1.0]), "covariance_matrix": SIGMA},
        _seen,
        "covariance_matrix",
        marginals=_entries,
        pathwise="expectation",
        values=[[3.0, np.nan], [0.0, 0.0], [np.nan, -2.0], [np.nan, np.nan]],
        edges=[[0.0, np.nan]],
    ),
}
