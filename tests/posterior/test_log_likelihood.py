"""log p of observations at given draws."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.stats import norm, poisson

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, DataError, UnknownNameError
from svijax.posterior import log_likelihood

X = np.array([0.1, -0.4, 1.2], np.float32)
COUNTS = np.array([[1, 0, 3], [2, 2, 0]])
DRAWS = {"mu": np.array([0.0, 0.5, -1.0, 2.0], np.float32)}


def model(x, counts=COUNTS, keep=True):
    mu = svijax.sample("mu", dist.Normal(svijax.param("prior", 0.3), 1.0))
    with svijax.plate("rows", 3, subsample_size=2) as rows, svijax.handlers.scale(scale=7.0):
        svijax.sample("x", dist.Normal(mu, 1.0), obs=None if x is None else x[rows])
    with (
        svijax.plate("columns", 3, dim=-1),
        svijax.plate("pairs", 2, dim=-2),
        svijax.handlers.mask(mask=keep),
    ):
        svijax.sample("counts", dist.Poisson(jax.numpy.exp(mu)), obs=counts)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_entries_are_those_of_scipy_unscaled_and_of_all_rows(batch_size):
    found = log_likelihood(model, DRAWS, X, params={"prior": 0.3}, batch_size=batch_size)
    assert list(found) == ["x", "counts"]
    np.testing.assert_allclose(found["x"], norm.logpdf(X, DRAWS["mu"][:, None]), rtol=1e-5)
    rates = np.exp(DRAWS["mu"])[:, None, None]
    np.testing.assert_allclose(found["counts"], poisson.logpmf(COUNTS, rates), rtol=1e-5)


def test_masked_entries_are_nan():
    keep = np.array([True, False, True])
    found = log_likelihood(model, DRAWS, X, params={"prior": 0.3}, keep=keep)["counts"]
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(~keep, (4, 2, 3)))


def test_latents_without_draws_and_draws_without_latents():
    with pytest.raises(ArgumentError, match=r"latents without draws: \['x'\]"):
        log_likelihood(model, DRAWS, None, params={"prior": 0.3})
    with pytest.raises(UnknownNameError, match="'nu'"):
        log_likelihood(model, {**DRAWS, "nu": DRAWS["mu"]}, X, params={"prior": 0.3})
    with pytest.raises(ArgumentError, match="one leading axis"):
        log_likelihood(model, {"mu": 0.0}, X)


def test_a_model_that_observes_nothing():
    def prior():
        svijax.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(DataError, match="observes nothing"):
        log_likelihood(prior, DRAWS)
