"""Autoguides, fits and posteriors of models with ``scan`` and ``cond``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Predictive, Trace_ELBO
from svijax.base import ModelError
from svijax.distributions import constraints
from svijax.guides import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_feasible,
    init_to_median,
)
from svijax.handlers import mask, scale

Normal, sample, param = dist.Normal, svijax.sample, svijax.param
KEY = jax.random.key(2)
T, ROWS = 3, 4
Y = np.random.default_rng(3).normal(size=(T, ROWS))
SEEN = np.random.default_rng(4).random((T, ROWS)) > 0.4
GUIDES = (AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal, AutoDelta)


def scanned(rows: int | None = None, partly: bool = False) -> None:
    """A positive and a real state; observations, some of them missing."""
    level = sample("level", Normal(0.0, 1.0))

    def step(x: Any, inputs: Any) -> Any:
        y, seen = svijax.subsample(inputs[0]), svijax.subsample(inputs[1])
        x = sample("x", Normal(0.8 * x + level, 1.0))
        r = sample("r", dist.Gamma(2.0, 1.5))
        if partly:
            sample("y", Normal(x, r), obs=y, obs_mask=seen)
        else:
            with mask(mask=seen):
                sample("y", Normal(x, r), obs=y)
        return x, None

    with svijax.plate("N", ROWS, rows):
        svijax.scan(step, jnp.zeros(rows or ROWS), (jnp.asarray(Y), jnp.asarray(SEEN)))


def stacked(rows: int | None = None, partly: bool = False) -> None:
    """The same density, with the states of all steps as one site."""
    level = sample("level", Normal(0.0, 1.0))
    flat, positive = Normal().expand((T, 1)), dist.Exponential(1.0).expand((T, 1))
    with svijax.plate("N", ROWS, rows, dim=-1):
        y, seen = svijax.subsample(jnp.asarray(Y)), svijax.subsample(jnp.asarray(SEEN))
        x, r = sample("x", flat), sample("r", positive)
        before = jnp.concatenate([jnp.zeros((1, x.shape[1])), x[:-1]])
        svijax.factor("px", Normal(0.8 * before + level, 1.0).log_prob(x) - Normal().log_prob(x))
        svijax.factor("pr", dist.Gamma(2.0, 1.5).log_prob(r) + r)
        if partly:
            sample("y", Normal(x, r), obs=y, obs_mask=seen)
        else:
            with mask(mask=seen):
                sample("y", Normal(x, r), obs=y)


def losses(model: Any, kind: Any, *args: Any) -> Any:
    guide = kind(model, init_loc_fn=init_to_feasible)
    svi = SVI(model, guide, optax.adam(0.1), Trace_ELBO(num_particles=2))
    fit = svi.run(KEY, 20, *args, progress_bar=False)
    return np.asarray(fit.losses), fit


@pytest.mark.parametrize("kind", GUIDES, ids=lambda g: g.__name__)
@pytest.mark.parametrize("rows", [None, 2], ids=["full", "subsampled"])
def test_fits_are_those_of_the_stacked_model(x64: None, kind: Any, rows: int | None) -> None:
    if rows is not None and kind in (AutoDiagonalNormal, AutoMultivariateNormal):
        with pytest.raises(ModelError, match="subsampled plate"):
            losses(scanned, kind, rows)
        return
    (got, fit), (want, other) = (losses(model, kind, rows) for model in (scanned, stacked))
    np.testing.assert_allclose(got, want, rtol=1e-8)
    assert {k: v.shape for k, v in fit.params.items()} == {k: v.shape for k, v in other.params.items()}
    if kind is AutoNormal:
        assert fit.params["x_auto_loc"].shape == (T, ROWS)


@pytest.mark.parametrize("kind", GUIDES[:3], ids=lambda g: g.__name__)
def test_masks_of_the_body_are_those_of_the_guide(x64: None, kind: Any) -> None:
    """Where a latent does not exist the guide earns no entropy."""
    (got, fit), (want, _) = (losses(model, kind, None, True) for model in (scanned, stacked))
    np.testing.assert_allclose(got, want, rtol=1e-8)
    if kind is AutoNormal:
        np.testing.assert_allclose(fit.params["y_unobserved_auto_scale"][SEEN], 0.1, rtol=1e-12)


def test_posterior_and_predictions(x64: None) -> None:
    _, fit = losses(scanned, AutoNormal, None)
    draws = fit.posterior.sample(50)
    assert draws["x"].shape == (50, T, ROWS) and (draws["r"] > 0).all()
    seen = Predictive(scanned, draws)(KEY)
    assert seen["y"].shape == (50, T, ROWS)
    again = Predictive(scanned, guide=AutoNormal(scanned), params=fit.params, num_samples=7)(KEY)
    assert again["y"].shape == (7, T, ROWS)
    # Given the states, outputs are drawn about them; and a first state is kept while later ones are drawn.
    wide = Predictive(
        scanned, {"x": jnp.tile(draws["x"][:1], (4000, 1, 1)), "r": jnp.full((4000, T, ROWS), 0.3)}
    )
    np.testing.assert_allclose(wide(KEY)["y"].mean(axis=0), draws["x"][0], atol=0.03)
    free = Predictive(scanned, {"level": jnp.full(20_000, 1.0)})(KEY)["x"]
    np.testing.assert_allclose(free.mean(axis=(0, 2)), [1.0, 1.8, 2.44], atol=0.03)
    log_q = fit.posterior.log_prob({name: x[:5] for name, x in draws.items()})
    assert log_q.shape == (5,) and np.isfinite(log_q).all()


def test_bounds_that_move_are_refused_in_words() -> None:
    def model() -> None:
        svijax.scan(lambda c, _: (sample("u", dist.Uniform(c, c + 1.0)), None), 0.0, None, length=3)

    with pytest.raises(ModelError, match=r"site 'u': inside svijax.scan[\s\S]*same at each step"):
        SVI(model, AutoNormal(model), optax.sgd(0.1), Trace_ELBO()).init(KEY)

    def fixed() -> None:
        svijax.scan(lambda c, _: (sample("u", dist.Uniform(0.0, 2.0)), None), 0.0, None, length=3)

    SVI(fixed, AutoNormal(fixed, init_loc_fn=init_to_median), optax.sgd(0.1), Trace_ELBO()).init(KEY)

    def choice() -> None:
        low = lambda _: sample("u", dist.Uniform(0.0, 1.0))  # noqa: E731
        high = lambda _: sample("u", dist.Uniform(0.0, 3.0))  # noqa: E731
        svijax.cond(True, low, high, None)

    with pytest.raises(ModelError, match=r"site 'u' has two supports"):
        SVI(choice, AutoNormal(choice), optax.sgd(0.1), Trace_ELBO()).init(KEY)


@pytest.mark.parametrize("pred", [True, False])
def test_an_autoguide_of_a_choice(x64: None, pred: bool) -> None:
    def model(pred: Any) -> None:
        one = lambda _: sample("y", Normal(sample("x", Normal(1.0, 1.0)), 1.0), obs=0.5)  # noqa: E731
        other = lambda _: sample("y", Normal(sample("x", Normal(-1.0, 2.0)), 0.5), obs=0.2)  # noqa: E731
        with scale(scale=2.0):
            svijax.cond(pred, one, other, None)

    def plain(pred: bool) -> None:
        with scale(scale=2.0):
            loc, sd, noise, y = (1.0, 1.0, 1.0, 0.5) if pred else (-1.0, 2.0, 0.5, 0.2)
            sample("y", Normal(sample("x", Normal(loc, sd)), noise), obs=y)

    got, _ = losses(model, AutoNormal, jnp.array(pred))
    want, _ = losses(plain, AutoNormal, pred)
    np.testing.assert_allclose(got, want, rtol=1e-8)


# A local-level model: a random walk seen with noise, whose evidence a Kalman filter gives

STEPS, WALK, NOISE = 100, 0.5, 1.0


def local_level(y: Any) -> None:
    def step(level: Any, y_t: Any) -> Any:
        level = sample("level", Normal(level, WALK))
        sample("y", Normal(level, NOISE), obs=y_t)
        return level, None

    svijax.scan(step, 0.0, y)


def filtered(y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(log evidence, means, variances) of the filter that starts at 0."""
    mean, variance, total = 0.0, 0.0, 0.0
    means, variances = [], []
    for y_t in y:
        variance = variance + WALK**2
        spread = variance + NOISE**2
        total += -0.5 * (np.log(2 * np.pi * spread) + (y_t - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (y_t - mean), (1 - gain) * variance
        means.append(mean)
        variances.append(variance)
    return total, np.array(means), np.array(variances)


def backwards(y: Any) -> None:
    """q(level) = Π_t N(a_t + b_t level_{t+1}, s_t²), from the last step to the first."""
    size = len(y)
    shift, weight = param("shift", jnp.zeros(size)), param("weight", jnp.zeros(size))
    sd = param("sd", jnp.ones(size), constraint=constraints.positive)

    def step(after: Any, inputs: Any) -> Any:
        a, b, s = inputs
        return sample("level", Normal(a + b * after, s)), None

    svijax.scan(step, 0.0, (shift, weight, sd), reverse=True)


def data(size: int = STEPS) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=size) * WALK) + rng.normal(size=size) * NOISE


def test_the_exact_guide_has_no_variance(x64: None) -> None:
    y = data()
    evidence, means, variances = filtered(y)
    gain = variances / (variances + WALK**2)
    gain[-1] = 0.0
    params = {"shift": (1 - gain) * means, "weight": gain, "sd": np.sqrt((1 - gain) * variances)}
    for key in range(3):
        loss = Trace_ELBO().loss(jax.random.key(key), params, local_level, backwards, jnp.asarray(y))
        np.testing.assert_allclose(loss, -evidence, rtol=1e-11)


def test_a_fit_reaches_the_evidence() -> None:
    y = jnp.asarray(data(), jnp.float32)
    evidence, means, _ = filtered(np.asarray(y, float))
    schedule = optax.cosine_decay_schedule(0.05, 3000)
    svi = SVI(local_level, backwards, optax.adam(schedule), Trace_ELBO(num_particles=4))
    fit = svi.run(KEY, 3000, y, progress_bar=False)
    reached = np.mean(fit.losses[-100:]) + evidence
    assert -0.05 < reached < 0.3, reached
    last = fit.params["shift"][-1]
    np.testing.assert_allclose(last, means[-1], atol=0.05)


@pytest.mark.parametrize(
    "kind",
    [AutoMultivariateNormal, pytest.param(AutoDiagonalNormal, marks=pytest.mark.slow)],
    ids=lambda g: g.__name__,
)
def test_an_autoguide_reaches_its_bound(kind: Any) -> None:
    size = 20
    y = jnp.asarray(data(size), jnp.float32)
    evidence, _, _ = filtered(np.asarray(y, float))
    # Precision of the posterior: tridiagonal. A diagonal normal loses half of log det(diag P) − log det P.
    precision = np.diag(np.full(size, 2 / WALK**2 + 1 / NOISE**2))
    precision[-1, -1] = 1 / WALK**2 + 1 / NOISE**2
    precision -= (np.eye(size, k=1) + np.eye(size, k=-1)) / WALK**2
    gap = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    want = -evidence + (gap if kind is AutoDiagonalNormal else 0.0)
    schedule = optax.cosine_decay_schedule(0.03, 3000)
    svi = SVI(local_level, kind(local_level), optax.adam(schedule), Trace_ELBO(num_particles=8))
    fit = svi.run(KEY, 3000, y, progress_bar=False)
    assert abs(np.mean(fit.losses[-300:]) - want) < 0.15, (np.mean(fit.losses[-300:]), want)


def test_chains_and_compilations(count_compiles: Any) -> None:
    y = jnp.asarray(data(10), jnp.float32)
    svi = SVI(local_level, backwards, optax.adam(0.05), Trace_ELBO())
    fit = svi.run(KEY, 50, y, num_chains=2, progress_bar=False)
    assert fit.losses.shape == (2, 50) and np.isfinite(fit.losses).all()
    with count_compiles() as seen:
        svi.run(jax.random.key(8), 70, y, num_chains=2, progress_bar=False)
    assert seen.count == 0
    with jax.checking_leaks():
        state = svi.init(KEY, y)
        jax.jit(svi.update)(state, y)
