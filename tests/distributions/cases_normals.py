"""Rows: normal and Student vectors, normal matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import linalg, stats
from truths import SIGMA, TRIL, each

import svijax.distributions as dist


def _normal(loc: Any, covariance: Any) -> Reference:
    d = stats.multivariate_normal(loc, covariance)
    return Reference(d.logpdf, mean=d.mean, variance=np.diag(d.cov), entropy=d.entropy())


def _entries(loc: Any, covariance: Any) -> Any:
    """The first entry, and the sum of both, of a normal vector of two."""
    first = stats.norm(loc[0], np.sqrt(covariance[0, 0]))
    total = stats.norm(loc.sum(), np.sqrt(covariance.sum()))
    return [(lambda x: x[..., 0], first), (lambda x: x.sum(-1), total)]


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
        each(lambda x: d.logpdf(x.ravel()), len(event_shape)),
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
    return Reference(each(log_prob, 1), mean=whole.mean, variance=whole.variance, entropy=whole.entropy)


FACTOR = np.array([[1.0, 0.2], [-0.5, 0.7], [0.3, 0.4]])
LOW_RANK = {
    "loc": np.array([1.0, -1.0, 0.5]),
    "cov_factor": FACTOR,
    "cov_diag": np.array([0.5, 1.0, 0.2]),
}
LOW_RANK_VALUES = [[0.0, 0.0, 0.0], [3.0, -2.0, 5.0], [1e3, 1e3, -1e3]]
ROW = np.array([1.5, 0.6, 0.2, 0.6])
WEIGHTS = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
CHAIN = {
    "loc": np.array([0.5, -1.0, 0.0, 2.0]),
    "correlation": 0.7,
    "conditional_precision": 1.5,
}

CASES: dict[str, DistCase] = {
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
            _low_rank,
            dist.LowRankMultivariateNormal,
            LOW_RANK,
            bump,
            change=change,
            values=LOW_RANK_VALUES,
        )
        for bump, change in (("cov_factor", 0.02), ("cov_diag", 0.05))
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
        marginals=lambda loc, covariance_matrix: _entries(loc, covariance_matrix),
        pathwise="expectation",
        values=[[3.0, np.nan], [0.0, 0.0], [np.nan, -2.0], [np.nan, np.nan]],
        edges=[[0.0, np.nan]],
    ),
}
