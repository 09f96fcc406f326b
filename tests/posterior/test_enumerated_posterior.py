"""What is known after a fit of a model whose discrete sites are summed out: against sums written in numpy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import svijax
import svijax.distributions as dist
from svijax.handlers import config_enumerate
from svijax.posterior import Posterior

sample = svijax.sample

pytestmark = pytest.mark.usefixtures("x64")

X = np.array([-2.0, -1.8, 1.5, 2.2, 0.1])
WEIGHTS = np.array([0.3, 0.7])


@config_enumerate
def mixture(x: Any) -> None:
    loc = sample("loc", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    with svijax.plate("rows", len(x), subsample_size=2):
        kind = sample("kind", dist.Categorical(probs=WEIGHTS))
        svijax.deterministic("mean", loc[kind])
        sample("x", dist.Normal(loc[kind], 1.0), obs=svijax.subsample(x))


def locations(x: Any) -> None:
    sample("loc", dist.Normal(jnp.array([-1.5, 1.3]), jnp.array([0.7, 0.6])).to_event(1))


def with_kinds(x: Any) -> None:
    """Draws the marked site itself."""
    locations(x)
    with svijax.plate("rows", len(x), subsample_size=2):
        sample("kind", dist.Categorical(probs=jnp.array([0.4, 0.6])))


def by_kind(loc: np.ndarray) -> np.ndarray:
    """log p(x_i, d_i = k | loc), (draws, rows, kinds)."""
    return stats.norm.logpdf(X[None, :, None], loc[:, None, :], 1.0) + np.log(WEIGHTS)


def log_prior_ratio(loc: np.ndarray) -> np.ndarray:
    return (stats.norm.logpdf(loc, 0.0, 3.0) - stats.norm.logpdf(loc, [-1.5, 1.3], [0.7, 0.6])).sum(-1)


def test_log_weights_sum_out_what_the_guide_lacks() -> None:
    posterior = Posterior(locations, mixture, {}, (jnp.asarray(X),))
    loc = np.asarray(posterior.sample(50)["loc"])
    want = log_prior_ratio(loc) + logsumexp(by_kind(loc), axis=2).sum(1)
    np.testing.assert_allclose(posterior.log_weights(50), want, rtol=1e-12)
    np.testing.assert_allclose(posterior.elbo(50)[0], want.mean(), rtol=1e-12)
    assert "k-hat" in str(posterior.summary(50, deterministic=True))


def test_what_is_deterministic_is_computed_from_posterior_draws() -> None:
    draws = Posterior(locations, mixture, {}, (jnp.asarray(X),)).sample(4_000, deterministic=True)
    loc = np.asarray(draws["loc"])
    probs = by_kind(loc)
    probs = np.exp(probs - logsumexp(probs, axis=2, keepdims=True))
    assert draws["mean"].shape == (4_000, 5)
    error = np.asarray(draws["mean"]) - (probs * loc[:, None, :]).sum(2)
    assert np.abs(error.mean(0) / (error.std(0) / np.sqrt(len(error)))).max() < 4.5


def test_a_guide_that_draws_the_marked_site() -> None:
    posterior = Posterior(with_kinds, mixture, {}, (jnp.asarray(X),))
    draws = posterior.sample(50, deterministic=True)
    loc, kind = np.asarray(draws["loc"]), np.asarray(draws["kind"])
    np.testing.assert_array_equal(draws["mean"], np.take_along_axis(loc, kind, axis=1))
    log_q = np.where(kind == 1, np.log(0.6), np.log(0.4)).sum(1)
    picked = np.take_along_axis(by_kind(loc), kind[..., None], axis=2)[..., 0].sum(1)
    np.testing.assert_allclose(posterior.log_weights(50), log_prior_ratio(loc) + picked - log_q, rtol=1e-12)


def test_compiles_under_transformations() -> None:
    def elbo(x: Any) -> Any:
        return Posterior(locations, mixture, {}, (x,), key=jax.random.key(3)).elbo(20)[0]

    x = jnp.stack([jnp.asarray(X), jnp.asarray(X) + 1.0])
    with jax.checking_leaks():
        found = jax.jit(jax.vmap(elbo))(x)
    np.testing.assert_allclose(found, [elbo(x[0]), elbo(x[1])], rtol=1e-12)
