"""Patience on losses that a table gives, and on held-out data in fits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import Y, normal_guide, normal_model
from traces import seen

import svijax
from svijax.base import ArgumentError
from svijax.fitting import Patience, Status

TRACES, EVERY = 50, 2


def stops(table: Any, common: float = 0.0, own: float = 0.0, **options: Any) -> tuple[Any, Any]:
    """(evaluation at which each of many fits stopped, −1 for never; evaluation whose parameters it kept).

    The held-out loss follows the table, with noise that is ``common`` to all evaluations and of their ``own``.
    """
    rule = Patience(np.zeros(3), every=EVERY, keep_best=True, **options)
    return tuple(map(np.asarray, _stops(rule, jnp.asarray(table, jnp.float32), common, own)))


@jax.jit
def _stops(rule: Patience, losses: Any, common: Any, own: Any) -> Any:
    def state(key: jax.Array, t: Any) -> Any:
        return SimpleNamespace(key=key, free=jnp.asarray(t // EVERY, jnp.float32))

    def one(key: jax.Array) -> Any:
        def step(memory: Any, t: Any) -> Any:
            def loss_on(args: Any, kwargs: Any, k: jax.Array, num_particles: Any = None) -> Any:
                noise = common * jax.random.normal(k) + own * jax.random.normal(jax.random.fold_in(k, t))
                return losses[t // EVERY] + noise

            now = replace(seen(t), state=state(key, t), loss_on=loss_on)
            after = rule.step(memory, now)
            after = jax.tree.map(lambda new, old: jnp.where(rule.done(memory), old, new), after, memory)
            return after, rule.done(after)

        memory, done = jax.lax.scan(step, rule.start(state(key, 0)), jnp.arange(EVERY * losses.size))
        stop = jnp.where(done.any(), jnp.argmax(done) // EVERY, -1)
        return stop, rule.average(memory, state(key, -9))

    return jax.vmap(one)(jax.random.split(jax.random.key(0), TRACES))


def test_it_waits_and_keeps_the_best() -> None:
    table = [9, 8, 7, 7.5, 7, 6, 6.5, 6.1, 6, 6.2, 5, 5, 5]
    for patience, stop, best in ((3, 8, 5), (5, -1, 10)):
        found, kept = stops(table, patience=patience)
        assert (found == stop).all() and (kept == best).all(), (patience, found[0], kept[0])


def test_what_all_evaluations_share_is_no_noise() -> None:
    """A fall of 0.01 a time is seen under draws of standard deviation 100, as they are the same draws."""
    falling = 50 - 0.01 * np.arange(40)
    assert (stops(falling, common=100.0, patience=2)[0] == -1).mean() > 0.9
    assert (stops(np.full(40, 50.0), common=100.0, patience=2)[0] == 2).all()


def test_a_flat_loss_is_given_up_and_a_slow_fall_is_not() -> None:
    flat, _ = stops(np.full(60, 50.0), own=1.0, patience=5, num_particles=16)
    assert (flat > 0).mean() > 0.97 and np.median(flat) <= 10, "record lows by luck put it off a little"
    # A fall of half a standard error at each evaluation adds up to more than one before patience ends.
    slow, _ = stops(50 - 0.5 * 1.4 / 4 * np.arange(60), own=1.0, patience=8, num_particles=16)
    assert (slow == -1).mean() > 0.9


def test_each_option_changes_when_it_stops() -> None:
    falling = 50 - 0.1 * np.arange(30)
    assert (stops(falling)[0] == -1).all()
    assert (stops(falling, min_delta=1.0)[0] == 5).all()
    noisy: dict[str, Any] = {"own": 1.0, "patience": 3, "num_particles": 4}
    flat = np.full(60, 50.0)
    brave, careful = (np.median(stops(flat, **noisy, z=z)[0]) for z in (0.0, 3.0))
    assert careful < brave
    few, many = ((stops(falling, own=1.0, num_particles=n)[0] == -1).mean() for n in (1, 32))
    assert many > few + 0.2


def test_losses_that_are_not_finite_are_no_progress() -> None:
    found, kept = stops([9, 8, np.nan, -np.inf, np.nan, 7], patience=3)
    assert (found == 4).all() and (kept == 1).all()
    assert (stops([np.nan] * 6, patience=3)[0] == 2).all()


def test_before_the_first_evaluation_the_parameters_are_the_last() -> None:
    rule = Patience(np.zeros(3), keep_best=True)
    memory = rule.start(SimpleNamespace(free=jnp.ones(2)))
    np.testing.assert_array_equal(rule.average(memory, SimpleNamespace(free=jnp.full(2, 7.0))), 7.0)
    assert Patience(np.zeros(3)).start(SimpleNamespace(free=jnp.ones(2))).free == ()


# In fits

HELD_OUT = np.array([2.5, 2.6, 2.4], np.float32)


@pytest.fixture(scope="module")
def svi() -> svijax.SVI:
    return svijax.SVI(normal_model, normal_guide, 0.02)


def test_the_held_out_loss_decides(svi: svijax.SVI) -> None:
    """Rows at −3 pull the guide away from the held-out ones: the best parameters are early ones."""
    far = np.full(5, -3.0, np.float32)
    rule = Patience(HELD_OUT, every=10, patience=4, keep_best=True)
    fit = svi.run(jax.random.key(0), 5000, far, stop=rule, progress_bar=False)
    assert fit.status is Status.CONVERGED and int(fit.state.step) <= 100
    assert float(fit.params["loc"]) < float(fit.averaged.params["loc"]) <= 0.5
    near = svi.run(jax.random.key(0), int(fit.state.step), -far, stop=rule, progress_bar=False)
    assert near.status is Status.MAX_STEPS, "rows at 3 pull it to the held-out mean, and past it later"
    plain = Patience(HELD_OUT, every=10, patience=4)
    again = svi.run(jax.random.key(0), 5000, far, stop=plain, progress_bar=False)
    assert int(again.state.step) == int(fit.state.step) and again.average is None


def test_the_loss_is_that_of_the_objective_at_the_parameters(svi: svijax.SVI) -> None:
    """With one evaluation of many particles, against ``svi.estimate`` on the same data."""
    fit = svi.run(jax.random.key(0), 100, Y, stop=Patience(HELD_OUT, num_particles=2000), progress_bar=False)
    rule = Patience(HELD_OUT, num_particles=2000)
    problem = svi.problem()
    memory = rule.step(
        rule.start(fit.state),
        replace(seen(99), state=fit.state, loss_on=lambda *a: problem.loss_on(fit.state, *a)),
    )
    mean, error = svi.estimate(fit.state, HELD_OUT, num_particles=4000)
    assert abs(float(memory.losses.mean()) - mean) < 4 * error


def test_held_out_data_are_arguments_of_the_program(svi: svijax.SVI, count_compiles: Any) -> None:
    run = lambda y: svi.run(  # noqa: E731
        jax.random.key(0), 400, Y, stop=Patience(y, every=10, patience=3), progress_bar=False
    )
    first = run(HELD_OUT)
    with count_compiles() as compiled:
        second = run(HELD_OUT - 8)
    assert compiled.count == 0
    assert int(first.state.step) != int(second.state.step)


def test_keywords_and_static_arguments_reach_the_model() -> None:
    def model(y: Any, *, kind: str, shift: Any = 0.0) -> None:
        mu = svijax.sample("mu", svijax.distributions.Normal(0.0, 1.0))
        obs = svijax.distributions.Normal(mu + shift, 1.0 if kind == "narrow" else 3.0)
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", obs, obs=y)

    guide = svijax.guides.AutoNormal(model)
    svi = svijax.SVI(model, guide, 0.05)
    rule = Patience(HELD_OUT, kind="wide", shift=np.float32(1.0), every=20, patience=2)
    fit = svi.run(jax.random.key(0), 2000, Y, kind="narrow", stop=rule, num_chains=2, progress_bar=False)
    assert (np.asarray(fit.status) == Status.CONVERGED).all()


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        ((), {}, "Patience has no held-out data."),
        (
            (Y,),
            {"every": 0},
            "Patience: every is out of its range.\n  expected: an int, at least 1\n  got:      0",
        ),
        ((Y,), {"patience": 1.5}, "patience is out of its range"),
        ((Y,), {"num_particles": 0}, "num_particles is out of its range"),
        ((Y,), {"min_delta": -1}, "min_delta is out of its range"),
        ((Y,), {"z": float("inf")}, "z is out of its range"),
        (({1, 2},), {}, "neither an array nor hashable"),
    ],
)
def test_bad_options_are_errors(args: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        Patience(*args, **options)
    assert text in str(error.value)
