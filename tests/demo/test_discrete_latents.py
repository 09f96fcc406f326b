"""Discrete latents on published data, against dynamic programming in numpy, scikit-learn and published fits.

A Poisson hidden Markov model of the yearly counts of major earthquakes, 1900-2006 (Zucchini and MacDonald, Hidden
Markov Models for Time Series, 2009: table 1.1; fits of two and three states in chapter 3), and a mixture of three
Gaussians on Fisher's irises.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, stats
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

import svijax
import svijax.distributions as dist
from svijax import SVI, Status, TraceEnum_ELBO
from svijax.distributions import constraints
from svijax.guides import AutoNormal, init_to_value
from svijax.handlers import config_enumerate, substitute, trace

sample, param = svijax.sample, svijax.param

NOTEBOOK = (Path(__file__).parents[2] / "notebooks" / "discrete_latents.py").read_text()
QUAKES = np.array(re.findall(r'COUNTS = """(.*?)"""', NOTEBOOK, re.DOTALL)[0].split(), int)
PUBLISHED = {2: (342.3183, (15.472, 26.125)), 3: (329.4603, (13.146, 19.721, 29.714))}


def unchanged(transition: Any, np: Any = jnp) -> Any:
    """The distribution that the transition matrix leaves as it is."""
    size = transition.shape[-1]
    return np.linalg.solve(np.eye(size) - transition.T + 1.0, np.ones(size))


def states_and_counts(counts: Any, rates: Any, transition: Any) -> None:
    start = unchanged(transition)

    def year(state: Any, now: Any) -> Any:
        count, first = now
        state = sample("state", dist.Categorical(probs=jnp.where(first, start, transition[state])))
        sample("count", dist.Poisson(rates[state]), obs=count)
        return state, None

    svijax.scan(year, 0, (counts, jnp.arange(len(counts)) == 0))


@config_enumerate
def likelihood(counts: Any, states: int) -> None:
    rates = param("rates", jnp.asarray(quantiles(states)), constraint=constraints.positive)
    stay = jnp.full((states, states), 0.1) + jnp.eye(states) * (1 - 0.1 * states)
    states_and_counts(counts, rates, param("transition", stay, constraint=constraints.simplex))


@config_enumerate
def with_priors(counts: Any, states: int) -> None:
    rates = sample("rates", dist.Gamma(2.0, 0.1).expand([states]).to_event(1))
    transition = sample("transition", dist.Dirichlet(jnp.ones(states)).expand([states]).to_event(1))
    states_and_counts(counts, rates, transition)


def empty(*args: Any) -> None:
    pass


def quantiles(states: int) -> np.ndarray:
    return np.quantile(QUAKES, (np.arange(states) + 0.5) / states)


def forward(rates: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """The log likelihood by the forward recursion; leading axes are of parameters."""
    transition = np.asarray(transition)
    start = np.stack([unchanged(t, np) for t in transition.reshape(-1, *transition.shape[-2:])])
    alpha = start.reshape(np.shape(rates)) * stats.poisson.pmf(QUAKES[0], rates)
    total = np.zeros(np.shape(rates)[:-1])
    for count in QUAKES[1:]:
        total, alpha = total + np.log(alpha.sum(-1)), alpha / alpha.sum(-1, keepdims=True)
        alpha = np.einsum("...i,...ij->...j", alpha, transition) * stats.poisson.pmf(count, rates)
    return total + np.log(alpha.sum(-1))


def viterbi(rates: np.ndarray, transition: np.ndarray) -> np.ndarray:
    log_p, log_t = stats.poisson.logpmf(QUAKES[:, None], rates), np.log(transition)
    best, back = np.log(unchanged(transition, np)) + log_p[0], []
    for row in log_p[1:]:
        scores = best[:, None] + log_t
        back.append(scores.argmax(0))
        best = scores.max(0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return np.array(path[::-1])


def unpacked(free: np.ndarray, states: int) -> tuple[np.ndarray, np.ndarray]:
    """(rates, transition matrix): logs of rates, then log odds against staying; leading axes are kept."""
    logits = np.zeros((*free.shape[:-1], states, states))
    logits[..., ~np.eye(states, dtype=bool)] = free[..., states:]
    return np.exp(free[..., :states]), np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


@cache
def fitted(states: int) -> Any:
    """Maximum likelihood by quasi-Newton steps on the forward recursion."""
    start = np.r_[np.log(quantiles(states)), np.full(states**2 - states, -2.0)]
    return optimize.minimize(lambda x: -forward(*unpacked(x, states)), start, options={"gtol": 1e-4})


@pytest.mark.parametrize("states", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_likelihood_and_best_path_at_the_published_fits(states: int, x64: None) -> None:
    found = fitted(states)
    want, want_rates = PUBLISHED[states]
    rates, transition = unpacked(found.x, states)
    assert found.fun == pytest.approx(want, abs=1e-4)
    np.testing.assert_allclose(rates, want_rates, atol=2e-3)

    def loss(rates: Any) -> Any:
        params = {"rates": rates, "transition": jnp.asarray(transition)}
        return TraceEnum_ELBO().loss(jax.random.key(0), params, likelihood, empty, QUAKES, states)

    # Off the optimum, where the gradient is not zero.
    off = rates * (1 + 0.1 * np.arange(states))
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(off))
    np.testing.assert_allclose(value, -forward(off, transition), rtol=1e-10)
    steps = 1e-4 * np.eye(states)
    numeric = [(forward(off - h, transition) - forward(off + h, transition)) / 2e-4 for h in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5)

    @jax.jit
    def best_path(point: Any) -> Any:
        best = svijax.infer_discrete(substitute(likelihood, data=point), temperature=0)
        return trace(best).get_trace(QUAKES, states)["state"].value

    point = {"rates": jnp.asarray(rates), "transition": jnp.asarray(transition)}
    np.testing.assert_array_equal(best_path(point), viterbi(rates, transition))


def test_greatest_likelihood_by_svi() -> None:
    optim = optax.adam(optax.cosine_decay_schedule(0.05, 500))
    fit = SVI(likelihood, empty, optim, TraceEnum_ELBO()).run(
        jax.random.key(0), 500, QUAKES, 2, progress_bar=False
    )
    assert fit.status is Status.MAX_STEPS
    loss, rates = PUBLISHED[2]
    assert fitted(2).fun == pytest.approx(loss, abs=1e-4)
    assert fit.losses[-1] == pytest.approx(loss, abs=0.01)
    np.testing.assert_allclose(fit.params["rates"], rates, atol=0.05)


def test_posterior_of_the_rates() -> None:
    """Against importance sampling from a wide Student t around the greatest likelihood."""
    values = {"rates": quantiles(2).astype(np.float32), "transition": np.array([[0.9, 0.1], [0.1, 0.9]])}
    guide = AutoNormal(with_priors, init_loc_fn=init_to_value(values=values), init_scale=0.05)
    optim = optax.adam(optax.cosine_decay_schedule(0.05, 2_000))
    fit = SVI(with_priors, guide, optim, TraceEnum_ELBO()).run(
        jax.random.key(0), 2_000, QUAKES, 2, progress_bar=False
    )
    draws = np.asarray(fit.posterior.sample(4_000)["rates"])
    elbo, error = fit.posterior.elbo(4_000)

    proposal = stats.multivariate_t(fitted(2).x, 1.5 * fitted(2).hess_inv, df=5)
    x = proposal.rvs(20_000, random_state=0)
    rates, transition = unpacked(x, 2)
    leave = transition[:, [0, 1], [1, 0]]
    log_prior = stats.gamma.logpdf(rates, 2.0, scale=10.0).sum(1)
    jacobian = x[:, :2].sum(1) + (np.log(leave) + np.log1p(-leave)).sum(1)
    log_w = forward(rates, transition) + log_prior + jacobian - proposal.logpdf(x)
    log_evidence = logsumexp(log_w) - np.log(len(log_w))
    w = np.exp(log_w - logsumexp(log_w))
    assert 1 / (w**2).sum() > 4_000
    mean = w @ rates
    sd = np.sqrt(w @ (rates - mean) ** 2)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.25 * sd.min())
    assert (draws.std(0) < 1.05 * sd).all()  # a product of marginals is too narrow, not too wide
    assert (draws.std(0) > 0.6 * sd).all()
    assert log_evidence - 1.0 < elbo < log_evidence + 4.5 * error + 0.03


@config_enumerate
def mixture(x: Any) -> None:
    weights = param("weights", jnp.ones(3) / 3, constraint=constraints.simplex)
    loc, scale = param("loc", jnp.zeros((3, 4))), param("scale", jnp.ones((3, 4)))
    with svijax.plate("flowers", len(x)):
        group = sample("group", dist.Categorical(probs=weights))
        sample("x", dist.Normal(loc[group], scale[group]).to_event(1), obs=x)


def test_irises_as_scikit_learn_has_them(x64: None) -> None:
    x = load_iris().data
    reference = GaussianMixture(3, covariance_type="diag", random_state=0, tol=1e-4).fit(x)
    params = {
        "weights": jnp.asarray(reference.weights_ / reference.weights_.sum()),
        "loc": jnp.asarray(reference.means_),
        "scale": jnp.sqrt(reference.covariances_),
    }
    loss = TraceEnum_ELBO().loss(jax.random.key(0), params, mixture, empty, x)
    np.testing.assert_allclose(loss, -reference.score(x) * len(x), rtol=1e-10)
    groups = TraceEnum_ELBO().compute_marginals(jax.random.key(0), params, mixture, empty, x)["group"]
    np.testing.assert_allclose(groups.probs, reference.predict_proba(x), atol=1e-10)
    best = svijax.infer_discrete(substitute(mixture, data=params), temperature=0)
    np.testing.assert_array_equal(trace(best).get_trace(x)["group"].value, reference.predict(x))
