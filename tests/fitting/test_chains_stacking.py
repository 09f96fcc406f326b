"""Stacking against known optima: weights, log scores, leave-one-out densities, draws of the stack."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import SVI, Chains
from svijax.base import ArgumentError, DataError, ShapeError
from svijax.fitting._simplex import mixture_weights

KEY = jax.random.key(0)
LOC, SCALE = np.array([-1.5, 0.8, 2.5]), np.array([0.3, 0.35, 0.3])
NEW = np.array([-1.9, -1.2, 0.3, 0.9, 2.2, 3.1, 2.8, -0.4], np.float32)


def masked_model(y, mask):
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]), svijax.handlers.mask(mask=mask):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


def pairs_model(y):
    """Each row has two observations."""
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0], dim=-1):
        svijax.sample("first", dist.Normal(mu, 1.0), obs=y[:, 0])
        with svijax.plate("again", 1, dim=-2):
            svijax.sample("second", dist.Normal(mu, 1.0), obs=y[:, 1][None])


def placed(model, *args, loc=LOC, scale=SCALE, guide=normal_guide):
    """Chains whose posteriors are N(loc, scale²), exactly."""
    svi = SVI(model, guide, optax.sgd(1e-12))
    start = {"loc": loc, "scale": scale}
    chains = Chains(len(loc), init_params=0)
    return svi.run(KEY, 1, *args, init_params=start, chains=chains, progress_bar=False)


@pytest.fixture(scope="module")
def fit():
    return placed(normal_model, Y)


def best_of(log_p):
    """The optimum by SciPy."""

    def loss(w):
        return -np.log(np.exp(log_p) @ w).mean()

    num = log_p.shape[1]
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start, bounds = np.full(num, 1 / num), [(0, 1)] * num
    options = {"ftol": 1e-15, "maxiter": 1000}
    return minimize(loss, start, method="SLSQP", bounds=bounds, constraints=simplex, options=options).x


@pytest.mark.parametrize("spread", [0.3, 1.0, 30.0])
def test_weights_against_scipy(spread):
    log_p = np.random.default_rng(1).normal(size=(60, 5)) * spread
    w, gap = mixture_weights(log_p)
    assert gap <= 1e-8
    assert abs(w.sum() - 1) < 1e-12 and (w >= 0).all()
    np.testing.assert_allclose(w, best_of(log_p - log_p.max(1, keepdims=True)), atol=2e-5)


def test_weights_of_known_optima():
    inf = -np.inf
    # Points that only one can have made: the weights are their shares.
    w, _ = mixture_weights(np.array([[0.0, inf], [inf, 0.0], [inf, 0.0], [inf, 0.0]]))
    np.testing.assert_allclose(w, [0.25, 0.75], atol=1e-7)
    # One that is the best at each point, whatever the constant of a point.
    log_p = np.array([[0.0, -1.0], [5.0, 4.9], [-900.0, -903.0]])
    np.testing.assert_allclose(mixture_weights(log_p)[0], [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(mixture_weights(np.zeros((7, 4)))[0], 0.25, atol=1e-12)
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    w, _ = mixture_weights(np.stack([a, a, b], 1))
    np.testing.assert_allclose(w[0], w[1], rtol=1e-6)


def test_a_point_that_no_chain_can_have_made():
    with pytest.raises(DataError, match="1 of 2 points, the first is number 1"):
        mixture_weights(np.array([[0.0, 1.0], [-np.inf, -np.inf]]))
    with pytest.raises(DataError, match="no finite log density"):
        mixture_weights(np.array([[0.0, np.nan]]))


def test_held_out_weights_and_scores_of_normals(fit):
    found = fit.stacking_weights(NEW, num_samples=20_000)
    log_p = norm.logpdf(NEW[:, None], LOC, np.sqrt(1 + SCALE**2))
    np.testing.assert_allclose(found.scores, log_p.sum(0), rtol=5e-3)
    w = best_of(log_p)
    assert w.min() > 0.02
    np.testing.assert_allclose(found.weights, w, atol=0.01)
    points = np.log(np.exp(log_p) @ w)
    np.testing.assert_allclose(found.score, points.sum(), atol=0.03)
    np.testing.assert_allclose(found.score_error, points.std(ddof=1) * np.sqrt(len(NEW)), rtol=0.02)
    assert found.score > found.scores.max() and found.gap <= 1e-8
    assert found.unreliable is None and found.num_points == len(NEW)
    assert "8 points held out" in str(found)


def test_leave_one_out_scores_of_normals(fit):
    found = fit.stacking_weights(num_samples=20_000)
    # q(z) / p(y | z) is a normal of precision 1 / s² − 1.
    precision = 1 / SCALE**2 - 1
    mean = (LOC / SCALE**2 - Y[:, None]) / precision
    exact = norm.logpdf(Y[:, None], mean, np.sqrt(1 + 1 / precision))
    np.testing.assert_allclose(found.scores, exact.sum(0), atol=0.05)
    assert (found.unreliable == 0).all()
    assert "each left out in turn" in found.words


def test_few_draws_for_a_wide_guide_are_told():
    wide = placed(normal_model, Y, loc=np.zeros(2), scale=np.full(2, 3.0))
    found = wide.stacking_weights(num_samples=200)
    assert found.unreliable.max() > 0
    assert "k-hat is high" in found.words and "held out" in found.words


def test_a_point_may_be_an_element_of_a_plate():
    rows = np.stack([NEW, NEW[::-1]], 1)
    fit = placed(pairs_model, rows)
    single, paired = fit.stacking_weights((rows,)), fit.stacking_weights((rows,), plate="data")
    assert (single.num_points, paired.num_points) == (16, 8)
    # Two of one row share their draw of mu: their joint density is that of a bivariate normal.
    s = SCALE[0] ** 2
    cov = np.array([[1 + s, s], [s, 1 + s]])
    centred = rows - LOC[0]
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(cov), centred)
    exact = -0.5 * (quadratic + np.log(np.linalg.det(cov)) + 2 * np.log(2 * np.pi))
    np.testing.assert_allclose(paired.scores[0], exact.sum(), rtol=0.01)
    with pytest.raises(ArgumentError, match="'first' is observed outside of plate 'other'"):
        fit.stacking_weights(plate="other")


def test_masked_points_do_not_count():
    keep = np.array([True, False, True, True, False])
    fit = placed(masked_model, Y, keep, guide=lambda y, mask: normal_guide(y))
    found = fit.stacking_weights((Y, keep))
    part = fit.stacking_weights((Y[keep], np.ones(3, bool)))
    assert found.num_points == 3
    np.testing.assert_allclose(found.scores, part.scores, rtol=1e-5)


def test_draws_of_the_stack(fit):
    weights = np.array([0.2, 0.0, 0.8])
    mu = np.asarray(fit.stacked_sample(KEY, 20_000, weights)["mu"])
    mean = weights @ LOC
    np.testing.assert_allclose(mu.mean(), mean, atol=0.05)
    np.testing.assert_allclose(mu.var(), weights @ (SCALE**2 + LOC**2) - mean**2, rtol=0.03)
    np.testing.assert_allclose((mu < 0.5).mean(), 0.2, atol=0.015)
    again = fit.stacked_sample(KEY, 20_000, fit.stacking_weights(NEW))["mu"]
    assert ((np.asarray(again) > 0.4) & (np.asarray(again) < 1.2)).mean() > 0.02
    assert fit.stacked_sample(KEY, 5, weights, sites=[]) == {}


def test_weights_that_are_none(fit):
    for wrong in (np.ones(2), np.array([1.0, -1.0, 1.0]), np.zeros(3), np.array([1.0, np.nan, 0.0])):
        with pytest.raises(ArgumentError, match="numbers of at least 0, one for each chain"):
            fit.stacked_sample(KEY, 5, wrong)


def test_held_out_data_that_the_model_cannot_take(fit):
    with pytest.raises((ShapeError, TypeError)):
        fit.stacking_weights((NEW, None, None))
    with pytest.raises(ArgumentError, match=r"stacking_weights\(\) is about several chains"):
        fit.chain(0).stacking_weights()
