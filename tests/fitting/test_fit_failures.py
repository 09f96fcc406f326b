"""Fits that go wrong, and fits that are stopped: the state kept, the status, the words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import Status
from svijax.base import ArgumentError, NonFiniteError
from svijax.guides import AutoNormal


def run(svi, n, *args, key=0, **options):
    return svi.run(jax.random.key(key), n, *args, progress_bar=False, **options)


def counted(bad):
    """A model with one good parameter, whose step ``at`` (from 0) has the term ``bad(z, at step)``."""

    def model(at):
        count = svijax.mutable("count", {"n": jnp.zeros(())})
        here = count["n"] == at
        count["n"] = count["n"] + 1.0
        z = svijax.sample("z", dist.Normal(1.0, 1.0))
        svijax.factor("extra", bad(z, here))

    return svijax.SVI(model, AutoNormal(model), optax.adam(0.1))


NAN_LOSS = counted(lambda z, here: jnp.where(here, jnp.nan, 0.0) * 1.0)
# Finite at 0, and of derivative NaN there: d/dz sqrt(0 · z²).
NAN_GRADIENT = counted(lambda z, here: jnp.sqrt(jnp.where(here, 0.0, 1.0) * z**2))
INF_LOSS = counted(lambda z, here: jnp.where(here, -jnp.inf, 0.0))
CASES = {"nan loss": NAN_LOSS, "nan gradient": NAN_GRADIENT, "inf loss": INF_LOSS}


@pytest.mark.parametrize("case", CASES)
def test_stop_keeps_the_last_finite_state(case):
    svi = CASES[case]
    fit = run(svi, 40, 25.0)
    good = run(svi, 25, 99.0)
    assert fit.status is Status.NONFINITE
    assert str(fit.status).startswith("nonfinite")
    assert fit.losses.shape == (40,)
    # Steps up to a bad one are taken by another program: equal to rounding.
    np.testing.assert_allclose(fit.losses[:25], good.losses, rtol=1e-4, atol=1e-5)
    assert np.isnan(fit.losses[26:]).all()
    assert int(fit.state.step) == 25
    for a, b in zip(jax.tree.leaves(fit.state), jax.tree.leaves(good.state)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert all(np.isfinite(v).all() for v in fit.params.values())


@pytest.mark.parametrize("case", CASES)
def test_skip_goes_on_and_counts(case):
    svi = CASES[case]
    # The mutable count rolls back with the rest, so every step from the bad one on is bad.
    fit = run(svi, 40, 25.0, on_nonfinite="skip")
    assert fit.status is Status.MAX_STEPS
    assert fit.skipped == 15
    assert int(fit.state.step) == 40
    assert float(fit.state.mutable["count"]["n"]) == 25.0
    again = run(svi, 40, 25.0, stable_update=True)
    assert again.skipped == 15


def test_skip_of_chance_failures():
    def model():
        z = svijax.sample("z", dist.Normal(0.0, 1.0))
        svijax.factor("f", jnp.where(z > 1.0, jnp.nan, 0.0))

    def guide():
        svijax.sample("z", dist.Normal(svijax.param("loc", 0.0), 1.0))

    svi = svijax.SVI(model, guide, optax.sgd(1e-4))
    fit = run(svi, 400, on_nonfinite="skip")
    assert 30 < fit.skipped < 100  # 400 P(z > 1) = 63
    assert np.isnan(fit.losses).sum() == fit.skipped
    assert np.isfinite(float(fit.params["loc"]))


@pytest.mark.parametrize("case", CASES)
def test_raise_carries_the_result(case):
    with pytest.raises(NonFiniteError, match="at step 25") as error:
        run(CASES[case], 40, 25.0, on_nonfinite="raise")
    assert isinstance(error.value.result, svijax.SVIRunResult)
    assert int(error.value.result.state.step) == 25
    assert "fix:" in str(error.value)
    assert isinstance(error.value, svijax.base.SvijaxError)


def test_explain_names_the_site():
    fit = run(NAN_LOSS, 40, 25.0)
    text = str(fit.explain())
    assert text.startswith("step 25: loss nan")
    assert "not finite: extra" in text
    assert "z_auto_loc" in text and "|gradient|" in text
    report = {site.name: site for site in fit.explain().sites}
    assert np.isnan(report["extra"].log_p) and np.isfinite(report["z"].log_p)
    assert np.isfinite(report["z"].low)


def test_explain_names_the_gradient():
    fit = run(NAN_GRADIENT, 40, 25.0)
    explanation = fit.explain()
    assert np.isfinite(explanation.loss)
    assert explanation.suspects == ("z_auto_loc", "z_auto_scale")


def test_explain_replays_the_very_step():
    fit = run(svijax.SVI(normal_model, normal_guide, 0.05), 10, Y)
    explanation = fit.explain()
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    assert explanation.step == 10
    assert explanation.loss == pytest.approx(float(svi.evaluate(fit.state, Y)), rel=1e-5)
    sites = {site.name: site for site in explanation.sites}
    total = sum(s.log_q or 0.0 for s in sites.values()) - sum(s.log_p or 0.0 for s in sites.values())
    assert total == pytest.approx(explanation.loss, rel=1e-5)
    assert "everything is finite" in str(explanation)


def test_explain_with_sites_drawn_by_key():
    def guide(y):
        svijax.sample("mu", dist.Normal(svijax.param("loc", 0.5), 0.5).has_rsample_(False))

    svi = svijax.SVI(normal_model, guide, 0.01)
    fit = run(svi, 10, Y)
    sites = fit.explain().sites
    total = sum(s.log_q or 0.0 for s in sites) - sum(s.log_p or 0.0 for s in sites)
    assert total == pytest.approx(fit.explain().loss, rel=1e-5)


def test_explain_with_keys_of_the_model():
    def model(y):
        svijax.factor("dropout", jax.random.normal(svijax.prng_key()))
        normal_model(y)

    svi = svijax.SVI(model, normal_guide, 0.01)
    fit = run(svi, 10, Y)
    assert fit.explain().loss == pytest.approx(float(svi.evaluate(fit.state, Y)), rel=1e-5)
    sites = {site.name: site for site in fit.explain().sites}
    total = sum(s.log_q or 0.0 for s in sites.values()) - sum(s.log_p or 0.0 for s in sites.values())
    assert total == pytest.approx(fit.explain().loss, rel=1e-5)


def test_infinite_parameters_count():
    def guide():
        svijax.sample("z", dist.Normal(0.0 * svijax.param("a", 1.0), 1.0))

    def model():
        svijax.sample("z", dist.Normal(0.0, 1.0))

    # An optimiser that throws a parameter away although loss and gradient are finite.
    def update(grads, state, params=None):
        bad = jnp.where(state == 7, jnp.inf, 0.0)
        return jax.tree.map(lambda g: g * 0 + bad, grads), state + 1

    optim = optax.GradientTransformation(lambda p: jnp.zeros((), jnp.int32), update)
    fit = run(svijax.SVI(model, guide, optim), 30)
    assert fit.status is Status.NONFINITE
    assert int(fit.state.step) == 7
    assert float(fit.params["a"]) == 1.0
    skipped = run(svijax.SVI(model, guide, optim), 30, on_nonfinite="skip")
    assert skipped.skipped == 23 and float(skipped.params["a"]) == 1.0


def test_chains_fail_alone():
    def loss(key, params, model, guide):
        return jnp.where(params["a"] > 1.95, jnp.nan, -params["a"])

    # Starts differ by chain: 0, 1 and so on by key.
    def guide():
        svijax.param("a", lambda key: jax.random.uniform(key, (), jnp.float32, 0.0, 1.5))

    svi = svijax.SVI(lambda: None, guide, optax.sgd(0.1), loss)
    starts = jax.vmap(lambda k: svi.init(k).params["a"])(jax.random.split(jax.random.key(0), 4))
    steps = int(np.ceil((1.95 - np.sort(starts)[-2:].mean()) / 0.1)) + 1
    fit = run(svi, steps, num_chains=4)
    failed = np.asarray(fit.status) == Status.NONFINITE
    assert failed[int(np.argmax(starts))] and not failed[int(np.argmin(starts))]
    for k in range(4):
        alone = fit.chain(k)
        assert alone.status is (Status.NONFINITE if failed[k] else Status.MAX_STEPS)
        assert np.isfinite(float(alone.params["a"]))
        assert (int(alone.state.step) == steps) is not failed[k]
        assert np.isnan(alone.losses).any() == failed[k]
    assert fit.best().status is Status.MAX_STEPS
    assert int(fit.explain().step) == int(fit.chain(int(np.flatnonzero(failed)[0])).state.step)


def test_best_of_chains_that_all_failed():
    fit = run(NAN_LOSS, 10, 3.0, num_chains=2)
    np.testing.assert_array_equal(fit.status, [Status.NONFINITE] * 2)
    with pytest.raises(ArgumentError, match="no chain ended with a finite loss"):
        fit.best()


def test_an_interrupt_returns_the_state():
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    seen = []

    def stop(report):
        seen.append(int(report.state.step))
        if len(seen) == 2:
            raise KeyboardInterrupt

    fit = run(svi, 10**7, Y, callback=stop)
    assert fit.status is Status.STOPPED_BY_USER
    assert str(fit.status).startswith("stopped_by_user")
    assert fit.losses.shape == (seen[-1],)
    assert int(fit.state.step) == seen[-1]
    more = run(svi, 10, Y, init_state=fit.state)
    assert int(more.state.step) == seen[-1] + 10
    whole = run(svi, seen[-1], Y)
    np.testing.assert_array_equal(whole.losses, fit.losses)


def test_a_callback_that_returns_true_ends_the_run():
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    seen = []

    def enough(report):
        seen.append(report.step)
        return len(seen) == 2

    fit = run(svi, 10**7, Y, callback=[enough])
    assert fit.status is Status.STOPPED_BY_USER
    assert fit.losses.shape == (seen[-1],) and len(seen) == 2


def test_callbacks_see_every_loss_once():
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    parts, steps = [], []

    def note(report):
        parts.append(report.losses)
        steps.append(int(report.state.step))

    fit = run(svi, 500, Y, callback=note)
    np.testing.assert_array_equal(np.concatenate(parts), fit.losses)
    assert steps == sorted(steps) and steps[-1] == 500
    np.testing.assert_array_equal(np.cumsum([len(p) for p in parts]), steps)


def test_an_exception_of_a_callback_is_raised():
    def fail(report):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(svijax.SVI(normal_model, normal_guide, 0.05), 5, Y, callback=fail)


def test_the_bar_shows_the_elbo(capsys):
    svijax.SVI(normal_model, normal_guide, 0.05).run(jax.random.key(0), 50, Y)
    text = capsys.readouterr().err
    assert "ELBO" in text and "50" in text
    run(svijax.SVI(normal_model, normal_guide, 0.05), 50, Y)
    assert capsys.readouterr().err == ""


def test_a_failed_start_tries_other_keys():
    def model():
        z = svijax.sample("z", dist.Normal(0.0, 1.0))
        svijax.factor("f", jnp.where(z < 0.5, -jnp.inf, 0.0))

    # Uniform starts in (-2, 2): about two in three have a log density of -inf.
    svi = svijax.SVI(model, AutoNormal(model), 0.05)
    for i in range(6):
        state = svi.init(jax.random.key(i))
        assert float(state.params["z_auto_loc"]) >= 0.5
