"""Sweeps of learning rates: on quadratics the best is known, and the ELBO at the end of each rate too."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import SVI, Chains, lr_sweep
from svijax.base import ArgumentError, NonFiniteError
from svijax.fitting import Batches

KEY = jax.random.key(0)
STEPS = 6
RATES = [0.3, 0.01, 0.05, 1e30]


def point_guide(y):
    svijax.sample("mu", dist.Delta(svijax.param("loc", 0.0)))


POINT = SVI(normal_model, point_guide, 0.1)
NOISY = SVI(normal_model, normal_guide, 0.1)


def sweep(svi, rates, *args, key=KEY, steps=STEPS, **options):
    return lr_sweep(svi, rates, key, steps, *args, progress_bar=False, **options)


@pytest.fixture(scope="module")
def found():
    return sweep(POINT, RATES, Y, optim=optax.sgd)


def log_joint(loc, y=Y):
    """log p(mu) + Σ log p(y | mu), a quadratic of curvature n + 1."""
    terms = np.append(np.asarray(y, float) - loc, loc)
    return -0.5 * (terms**2).sum() - 0.5 * len(terms) * np.log(2 * np.pi)


def after_descent(rate, y=Y):
    """x_t = (1 − (1 − η a)^t) m: gradient descent on a quadratic from 0."""
    a, m = len(y) + 1, float(np.sum(y)) / (len(y) + 1)
    return m * (1 - (1 - rate * a) ** STEPS)


def test_elbo_at_the_end_of_each_rate_is_that_of_gradient_descent(found):
    rates = np.sort(RATES)
    np.testing.assert_array_equal(found.rates, rates)
    exact = np.array([log_joint(after_descent(rate)) for rate in rates[:3]])
    np.testing.assert_allclose(found.elbo[:3], exact, rtol=1e-5)
    np.testing.assert_allclose(found.behind[:3], exact.max() - exact, atol=2e-5)
    # There is no noise, so nothing but the highest will do: |1 − 6 η| is smallest at 0.05 among these.
    assert found.best == 0.05 == float(rates[np.argmax(exact)])
    np.testing.assert_allclose(found.fit.params["loc"], after_descent(0.05), rtol=1e-5)


def test_a_rate_that_became_non_finite_is_told_and_not_taken(found):
    assert np.isnan(found.elbo[3]) and np.isnan(found.behind[3])
    last = str(found).split("\n\n")[0].splitlines()[-1]
    assert last.startswith("1e+30") and "not finite at step" in last
    assert "<- taken" in str(found).splitlines()[3]
    assert "The rate 0.05: the highest ELBO at the end of the run." in found.words


def test_a_sweep_is_one_run_of_chains_of_rates(found):
    chains = Chains(4, hyperparams={"learning_rate": np.sort(RATES)})
    svi = SVI(normal_model, point_guide, optax.inject_hyperparams(optax.sgd)(learning_rate=1.0))
    fit = svi.run(KEY, STEPS, Y, chains=chains, progress_bar=False)
    np.testing.assert_allclose(found.runs.losses[:3], fit.losses[:3], rtol=1e-6)
    assert found.fit.num_chains is None
    np.testing.assert_array_equal(found.fit.losses, found.runs.losses[1])


def test_the_svi_of_the_result_begins_with_the_rate_and_continues_the_fit(found):
    fresh = found.svi.run(KEY, STEPS, Y, progress_bar=False)
    np.testing.assert_allclose(fresh.params["loc"], found.fit.params["loc"], rtol=1e-6)
    more = found.svi.run(KEY, STEPS, Y, init_state=found.fit.state, progress_bar=False)
    whole = SVI(normal_model, point_guide, optax.sgd(0.05)).run(KEY, 2 * STEPS, Y, progress_bar=False)
    np.testing.assert_allclose(more.params["loc"], whole.params["loc"], rtol=1e-6)
    assert found.fit.call.svi is found.svi
    assert found.svi == sweep(POINT, RATES, Y, optim=optax.sgd).svi


def test_other_rates_of_equal_number_compile_nothing(found, count_compiles):
    with count_compiles() as seen:
        other = sweep(POINT, [0.02, 0.04, 0.08, 0.16], Y, optim=optax.sgd)
    assert seen.count == 0
    assert other.best == 0.16


def test_held_out_data_choose():
    """Held-out rows around where a slower rate has come to."""
    held_out = np.full(5, after_descent(0.01), np.float32) * 6 / 5
    found = sweep(POINT, RATES[:3], Y, optim=optax.sgd, evaluate_on=held_out)
    exact = [log_joint(after_descent(rate), held_out) for rate in found.rates]
    np.testing.assert_allclose(found.elbo, exact, rtol=1e-5)
    assert found.best == 0.01
    assert "on held-out data" in found.words and "try smaller ones too" in found.words


def test_among_equal_rates_the_smallest_within_one_standard_error():
    rates = [0.02, 0.021, 0.022, 0.1]
    found = sweep(NOISY, rates, Y, steps=400, num_particles=50)
    within = found.behind <= found.behind_error
    assert found.index == int(np.flatnonzero(within)[0]) < int(np.nanargmax(found.elbo))
    assert "within one standard error of the highest" in found.words
    assert found.behind_error[np.nanargmax(found.elbo)] == 0.0
    sharp = sweep(NOISY, [1e-4, 2e-4, 3e-4, 0.02], Y, steps=400, num_particles=50)
    assert sharp.best == 0.02 and sharp.behind[0] > 2 * sharp.behind_error[0]


def test_several_chains_of_a_rate():
    found = sweep(NOISY, [0.02, 0.1], Y, steps=50, num_chains_per_rate=3, num_particles=200)
    assert found.runs.num_chains == 6
    rates = np.asarray(found.runs.state.optim_state.hyperparams["learning_rate"])
    np.testing.assert_allclose(rates, [0.02] * 3 + [0.1] * 3, rtol=1e-6)
    assert found.elbo_error[0] > 0
    chosen = [k for k in range(6) if np.array_equal(found.runs.losses[k], found.fit.losses)]
    assert len(chosen) == 1 and chosen[0] // 3 == found.index


def test_an_optimiser_with_an_injected_rate_and_one_over_it():
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=9.0)
    optim = optax.chain(optax.clip(100.0), inner)
    found = sweep(SVI(normal_model, point_guide, optim), RATES[:3], Y)
    assert found.best == 0.05
    again = found.svi.run(KEY, STEPS, Y, progress_bar=False)
    np.testing.assert_allclose(again.params["loc"], found.fit.params["loc"], rtol=1e-6)
    halved = sweep(POINT, [0.1, 0.02], Y, optim=lambda rate: optax.sgd(rate / 2))
    np.testing.assert_allclose(halved.elbo[1], log_joint(after_descent(0.05)), rtol=1e-5)


def test_a_fit_to_batches_is_compared_on_all_rows():
    found = sweep(POINT, [0.05, 0.01], batches=Batches(Y, size=5, shuffle=False), optim=optax.sgd)
    exact = [log_joint(after_descent(rate)) for rate in (0.01, 0.05)]
    np.testing.assert_allclose(found.elbo, exact, rtol=1e-5)
    for batches in (Batches([Y, Y], size=5, total=5), Batches(Y, size=5, transform=lambda key, y: y)):
        with pytest.raises(ArgumentError, match=r"cannot compare rates(.|\n)*evaluate_on="):
            sweep(POINT, [0.05], batches=batches)


@pytest.mark.parametrize(
    "rates, match",
    [
        ([0.1, 0.0], r"greater than zero(.|\n)*0 \(entry 1\)"),
        ([0.1, np.nan], r"greater than zero(.|\n)*nan"),
        ([np.inf], "greater than zero"),
        ([-0.1], "greater than zero"),
        ([], "needs rates"),
        ([[0.1]], "needs rates"),
        ([0.1, 0.1], r"there twice(.|\n)*num_chains_per_rate="),
    ],
)
def test_rates_that_are_none(rates, match):
    with pytest.raises(ArgumentError, match=match):
        sweep(POINT, rates, Y)


@pytest.mark.parametrize(
    "svi, options, match",
    [
        (SVI(normal_model, point_guide, optax.adam(0.1)), {}, r"cannot set the rate(.|\n)*optim=optax.adam"),
        (POINT, {"optim": optax.sgd(0.1)}, r"a function from the rate(.|\n)*pass optax.adam"),
        (POINT, {"num_chains": 2}, r"no place for num_chains=(.|\n)*num_chains_per_rate="),
        (POINT, {"num_chains_per_rate": 0}, "num_chains_per_rate must be an int of at least 1"),
    ],
)
def test_sweeps_that_cannot_be(svi, options, match):
    with pytest.raises(ArgumentError, match=match):
        sweep(svi, [0.1], Y, **options)


def test_no_rate_that_ends_well():
    with pytest.raises(NonFiniteError, match=r"every rate(.|\n)*1e\+30, 1e\+35(.|\n)*smaller") as caught:
        sweep(POINT, [1e30, 1e35], Y, optim=optax.sgd)
    assert caught.value.result.num_chains == 2


def test_inside_jit_it_is_an_error():
    with pytest.raises(ArgumentError, match="outside of jit"):
        jax.jit(lambda y: sweep(POINT, [0.1], y).elbo)(Y)
