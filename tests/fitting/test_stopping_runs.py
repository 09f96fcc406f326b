"""Stop rules in fits: chains, traced runs, held-out data, wall clock, several rules at once."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
from svijax.base import ArgumentError
from svijax.fitting import IterateRhat, MaxTime, Patience, RelativeELBO, Status

MEAN = float(Y.sum()) / (Y.size + 1)
SCALE = (Y.size + 1) ** -0.5


@pytest.fixture(scope="module")
def svi() -> svijax.SVI:
    return svijax.SVI(normal_model, normal_guide, 0.01)


def test_a_fit_that_has_converged_ends(svi: svijax.SVI) -> None:
    fit = svi.run(jax.random.key(0), 50_000, Y, stop=RelativeELBO(window=400), progress_bar=False)
    assert fit.status is Status.CONVERGED and "converged" in str(fit.status)
    steps = int(fit.state.step)
    assert 1600 <= steps < 10_000 and fit.losses.shape == (steps,) and np.isfinite(fit.losses).all()
    unstopped = svi.run(jax.random.key(0), steps, Y, progress_bar=False)
    np.testing.assert_allclose(fit.losses, unstopped.losses, rtol=1e-5)
    np.testing.assert_allclose(fit.params["scale"], SCALE, rtol=0.25)


def test_chains_stop_one_by_one_and_wait(svi: svijax.SVI) -> None:
    rule = IterateRhat(window=200, mcse=0.3)
    fit = svi.run(jax.random.key(1), 20_000, Y, num_chains=4, stop=rule, progress_bar=False)
    steps = np.asarray(fit.state.step)
    assert (np.asarray(fit.status) == Status.CONVERGED).all() and len(set(steps.tolist())) > 1
    for k in (int(np.argmin(steps)), int(np.argmax(steps))):
        alone = svi.run(jax.random.split(jax.random.key(1), 4)[k], 20_000, Y, stop=rule, progress_bar=False)
        assert int(alone.state.step) == steps[k]
        np.testing.assert_allclose(alone.averaged.params["loc"], fit.averaged.params["loc"][k], rtol=1e-4)
        assert np.isnan(fit.losses[k, steps[k] :]).all() and np.isfinite(fit.losses[k, : steps[k]]).all()
    np.testing.assert_allclose(fit.averaged.params["loc"], MEAN, atol=0.05)


def test_a_traced_run_stops_too(svi: svijax.SVI) -> None:
    rule = RelativeELBO(window=400)
    keys = jax.random.split(jax.random.key(0), 3)
    with jax.checking_leaks():
        fit = jax.jit(jax.vmap(lambda key: svi.run(key, 6000, Y, stop=rule)))(keys)
    assert (fit.status == Status.CONVERGED).any() and fit.state.step.min() < 6000
    alone = svi.run(keys[0], 6000, Y, stop=rule, progress_bar=False)
    assert int(alone.state.step) == int(fit.state.step[0])


def test_the_first_of_several_rules_ends_the_run(svi: svijax.SVI) -> None:
    quick, slow = Patience(Y, every=20, patience=1, min_delta=1e9), RelativeELBO(window=1000)
    for stop in ([quick, slow], (slow, quick), [slow, quick, MaxTime(1000.0)]):
        fit = svi.run(jax.random.key(0), 20_000, Y, stop=stop, progress_bar=False)
        assert fit.status is Status.CONVERGED and int(fit.state.step) == 40


def test_the_clock_ends_a_run(svi: svijax.SVI) -> None:
    begin = time.perf_counter()
    fit = svi.run(jax.random.key(0), 10**9, Y, stop=MaxTime(0.4), progress_bar=False)
    assert fit.status is Status.MAX_TIME and "time" in str(fit.status)
    assert fit.timings.run_seconds >= 0.4 and time.perf_counter() - begin < 60
    assert fit.losses.shape == (int(fit.state.step),)
    with pytest.raises(ArgumentError, match="stop=MaxTime needs the host between chunks"):
        jax.jit(lambda key: svi.run(key, 10, Y, stop=MaxTime(1.0)).losses)(jax.random.key(0))


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "1", None])
def test_a_time_that_is_none_is_an_error(seconds: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        MaxTime(seconds)
    assert "MaxTime: seconds is out of its range.\n  expected: a number, greater than 0" in str(error.value)


@pytest.mark.parametrize("rate", [0.0, float("nan"), -0.1])
def test_a_rate_that_moves_nothing_is_an_error_before_the_first_step(rate: float) -> None:
    with pytest.raises(ArgumentError, match="a step size must be finite and greater than zero"):
        svijax.SVI(normal_model, normal_guide, rate)
    held = svijax.SVI(normal_model, normal_guide, optax.inject_hyperparams(optax.adam)(learning_rate=rate))
    key = jax.random.key(0)
    for start in (
        lambda: held.init(key, Y),
        lambda: held.run(key, 10, Y, progress_bar=False),
        lambda: held.run(key, 10, Y, num_chains=2, progress_bar=False),
    ):
        with pytest.raises(ArgumentError, match=r"learning_rate, in optax\.inject_hyperparams"):
            start()
