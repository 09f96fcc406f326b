"""Pieces of the truths about distributions that several row modules use."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import Reference
from scipy import special, stats

SIGMA = np.array([[2.0, 0.5], [0.5, 1.0]])
TRIL = np.array([[1.0, 0.0], [0.3, 2.0]])


def sigmoid(x: Any) -> Any:
    return special.expit(x)


def softmax(x: Any) -> Any:
    return special.softmax(x, axis=-1)


def law_of(values: Any, weights: Any) -> Reference:
    """The law of a statistic, from its values on a fine grid and the weights of the points."""
    order = np.argsort(values, axis=None)
    x = np.ravel(values)[order]
    mass = np.ravel(weights)[order]
    # Half of the mass of a point lies below it.
    q = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    return Reference(cdf=lambda v: np.interp(v, x, q), icdf=lambda p: np.interp(p, q, x))


def dense(loc: Any, covariance: Any, **known: Any) -> Reference:
    """A normal law of matrices (T, o), whose entries are taken row by row."""
    d = stats.multivariate_normal(np.ravel(loc), covariance)
    shape = np.shape(loc)
    flat = lambda x: np.reshape(x, (*np.shape(x)[: np.ndim(x) - len(shape)], -1))  # noqa: E731
    return Reference(lambda x: d.logpdf(flat(x)), mean=np.asarray(loc), **known)


def entry(loc: Any, covariance: Any, at: int) -> Any:
    return stats.norm(np.ravel(loc)[at], np.sqrt(covariance[at, at]))


def each(function: Any, event_dim: int) -> Any:
    """``function`` of one value, for values along any front axes."""

    def of_all(values: Any) -> Any:
        values = np.asarray(values, np.float64)
        front = values.shape[: values.ndim - event_dim]
        rows = values.reshape((-1, *values.shape[values.ndim - event_dim :]))
        return np.reshape([function(row) for row in rows], front)

    return of_all
