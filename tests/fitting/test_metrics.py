"""Metrics are what the steps did: against steps taken by hand, one by one."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model, rows_model, schools_model

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError
from svijax.fitting import Metrics, differentiate, optim_view
from svijax.fitting._rates import injected_rates
from svijax.fitting._watch import Seen
from svijax.guides import AutoNormal


@pytest.fixture(scope="module")
def state():
    """The first state of a small fit."""
    return svijax.SVI(normal_model, normal_guide, optax.adam(0.05)).init(jax.random.key(0), Y)


SCHOOLS = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.02))


def chunks_of(svi, num_steps, *args, metrics, key=0, **options):
    """The reports of a run, and its result."""
    seen = []
    options = {"progress_bar": False, "metrics": metrics, "callback": seen.append, **options}
    fit = svi.run(jax.random.key(key), num_steps, *args, **options)
    return seen, fit


def by_hand(svi, key, num_steps, *args):
    """Metrics of each step, from the substeps that a user can call."""
    state, rows, gradient_of = svi.init(key, *args), [], jax.jit(partial(differentiate, svi))
    for _ in range(num_steps):
        result, gradient = gradient_of(state, *args)
        after, _ = svi.update(state, *args)
        row = {f"log_p/{site}": x for site, x in result.log_p.items()}
        row |= {f"log_q/{site}": x for site, x in result.log_q.items()}
        moved = {name: after.free[name] - state.free[name] for name in state.free}
        flat = [np.ravel(x) for x in jax.tree.leaves(gradient)]
        row["gradient_norm"] = np.linalg.norm(np.concatenate(flat))
        row["update_norm"] = np.linalg.norm(np.concatenate([np.ravel(x) for x in moved.values()]))
        row |= {f"update_norm/{name}": np.linalg.norm(np.ravel(x)) for name, x in moved.items()}
        rows.append({name: float(x) for name, x in row.items()})
        state = after
    return rows


def means(rows, begin, end):
    return {name: np.mean([row[name] for row in rows[begin:end]]) for name in rows[0]}


def assert_metrics(found, expected, rtol):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-12, err_msg=name)


def test_metrics_are_means_over_the_steps_of_the_chunk(x64):
    y = np.asarray(Y, float)
    seen, fit = chunks_of(SCHOOLS, 40, y, metrics=Metrics(update_norm="each"))
    rows = by_hand(SCHOOLS, jax.random.key(0), 40, y)
    begin = 0
    for report in seen:
        assert_metrics(report.metrics, means(rows, begin, report.step), 1e-9)
        np.testing.assert_allclose(report.loss, np.mean(fit.losses[begin : report.step]), rtol=1e-12)
        begin = report.step
    assert begin == 40 and len(seen) > 1
    elbo = sum(x if "log_p" in n else -x for n, x in seen[0].metrics.items() if n.startswith("log_"))
    np.testing.assert_allclose(-elbo, seen[0].loss, rtol=1e-9)
    assert all(type(x) is float for x in seen[0].metrics.values())


def test_metrics_of_chains_are_theirs_alone():
    metrics = Metrics(gradient_norm="each")
    seen, _ = chunks_of(SCHOOLS, 16, Y, metrics=metrics, num_chains=3)
    for k, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        single = []
        SCHOOLS.run(key, 16, Y, metrics=metrics, progress_bar=False, callback=single.append)
        assert_metrics({n: x[k] for n, x in seen[0].metrics.items()}, single[0].metrics, 2e-5)
    assert all(x.shape == (3,) for x in seen[0].metrics.values())


@pytest.mark.parametrize(
    "options, names",
    [
        ({"terms": False}, ["gradient_norm", "update_norm"]),
        ({"terms": False, "gradient_norm": False}, ["update_norm"]),
        ({"terms": False, "update_norm": False}, ["gradient_norm"]),
        ({"gradient_norm": False, "update_norm": False}, ["log_p/mu", "log_p/y", "log_q/mu"]),
        (
            {"terms": False, "gradient_norm": "each", "update_norm": False},
            ["gradient_norm", "gradient_norm/loc", "gradient_norm/scale"],
        ),
        ({"terms": False, "gradient_norm": False, "update_norm": False}, []),
    ],
)
def test_each_metric_has_its_switch(state, options, names):
    memory = Metrics(**options).on(["mu", "y"], ["mu"]).start(state)
    assert sorted(memory.names) == names and memory.last_names == ()


def test_norms_where_the_optimiser_sees_names():
    """Clipping by global norm is not elementwise, so parameters are not packed."""
    optim = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.5))
    svi = svijax.SVI(normal_model, normal_guide, optim)
    seen, _ = chunks_of(svi, 8, Y, metrics=Metrics(terms=False, update_norm="each"))
    found = seen[-1].metrics
    assert isinstance(optim_view(svi.init(jax.random.key(0), Y).free), dict)
    np.testing.assert_allclose(found["update_norm"], 0.05, rtol=1e-5)  # 0.5 of the clipped gradient
    assert found["gradient_norm"] > 0.1
    assert 0 < found["update_norm/loc"] < 0.0500001 and 0 < found["update_norm/scale"] < 0.05


SCHEDULE = optax.linear_schedule(0.1, 0.0, 100)


@pytest.mark.parametrize(
    "optim, option, expected",
    [
        (optax.adam(SCHEDULE), SCHEDULE, 0.1 * (1 - 15 / 100)),
        (optax.adam(SCHEDULE), True, None),
        (optax.adam(SCHEDULE), False, None),
        (optax.adam(0.1), True, None),
        (optax.inject_hyperparams(optax.adam)(SCHEDULE), True, 0.1 * (1 - 15 / 100)),
        (optax.inject_hyperparams(optax.adam)(SCHEDULE), False, None),
        (optax.inject_hyperparams(optax.sgd)(0.03), True, 0.03),
        (optax.inject_hyperparams(svijax.optim.Adam)(0.03), True, 0.03),
        (optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(0.03)), True, 0.03),
    ],
)
def test_the_learning_rate_is_that_of_the_last_step(state, optim, option, expected):
    rates = rates_of(state, optim, option, 16)
    assert list(rates) == ([] if expected is None else ["learning_rate"])
    np.testing.assert_allclose(list(rates.values()), [] if expected is None else [expected], rtol=1e-6)


def rates_of(state, optim, option, num_steps):
    """What the metrics tell after steps of the optimiser, with gradients of one."""
    metrics = Metrics(terms=False, gradient_norm=False, update_norm=False, learning_rate=option)
    view = optim_view(state.free)
    ones = jax.tree.map(jnp.ones_like, view)
    state = state.having(optim_state=optim.init(view))
    memory = metrics.start(state)
    for t in range(num_steps):
        updates, optim_state = optim.update(ones, state.optim_state, view)
        after = state.having(optim_state=optim_state, step=state.step + 1)
        memory = metrics.step(memory, Seen(t, 0.0, {}, {}, ones, updates, state, after, None))
        state = after
    return metrics.read(memory, state)


def test_several_learning_rates_have_paths():
    parts = {
        "slow": optax.inject_hyperparams(optax.sgd)(1e-3),
        "fast": optax.inject_hyperparams(optax.sgd)(1e-1),
    }
    labels = ("fast", "slow")
    optim = optax.multi_transform(parts, lambda tree: jax.tree.unflatten(jax.tree.structure(tree), labels))
    views = (jnp.zeros(2), jnp.zeros(3))
    rates = injected_rates(optim.init(views))
    assert {n: float(x) for n, x in rates.items()} == pytest.approx(
        {"learning_rate/slow": 1e-3, "learning_rate/fast": 1e-1}
    )
    nested = optax.inject_hyperparams(lambda learning_rate: parts["slow"])(0.5).init(views)
    assert {n: float(x) for n, x in injected_rates(nested).items()} == pytest.approx(
        {"learning_rate": 0.5, "learning_rate/inner": 1e-3}
    )


def test_a_schedule_is_asked_at_the_count_of_the_optimiser():
    """A step that is skipped is counted, and the optimiser's own count stays."""

    def model():
        z = svijax.sample("z", dist.Normal(0.0, 1.0))
        count = svijax.mutable("count", {"value": jnp.zeros(())})
        svijax.factor("f", jnp.where(count["value"] == 2, jnp.nan, 0.0) * z)
        count["value"] = count["value"] + 1

    def guide():
        svijax.sample("z", dist.Normal(svijax.param("loc", 0.3), 1.0))

    svi = svijax.SVI(model, guide, optax.adam(SCHEDULE))
    seen, fit = chunks_of(svi, 4, metrics=Metrics(learning_rate=SCHEDULE), on_nonfinite="skip")
    assert fit.skipped == 2  # the count is rolled back, so that the third step fails again
    np.testing.assert_allclose(seen[-1].metrics["learning_rate"], 0.1 * (1 - 1 / 100), rtol=1e-6)
    assert np.isfinite(list(seen[-1].metrics.values())).all()


def test_custom_sees_the_state_at_the_end_of_the_chunk():
    def custom(state):
        return {"loc": state.params["loc"], "twice": 2 * state.step}

    metrics = Metrics(terms=False, custom=custom)
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
    seen, fit = chunks_of(svi, 40, Y, metrics=metrics)
    for report in seen:
        np.testing.assert_allclose(report.metrics["loc"], report.state.params["loc"], rtol=1e-6)
        assert report.metrics["twice"] == 2 * report.step
    seen, fit = chunks_of(svi, 40, Y, metrics=metrics, num_chains=2)
    np.testing.assert_allclose(seen[-1].metrics["loc"], fit.params["loc"], rtol=1e-6)


def test_a_second_run_with_metrics_compiles_nothing(count_compiles):
    metrics = Metrics(custom=lambda state: {"norm": jnp.sum(state.free.arrays[0] ** 2)})
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.0501))
    chunks_of(svi, 20, Y, metrics=metrics)
    with count_compiles() as seen:
        chunks_of(svi, 33, Y + 1, metrics=metrics, key=1)
    assert seen.count == 0


def test_metrics_change_nothing_of_the_fit():
    plain = SCHOOLS.run(jax.random.key(0), 60, Y, progress_bar=False)
    _, fit = chunks_of(SCHOOLS, 60, Y, metrics=Metrics(gradient_norm="each"))
    np.testing.assert_allclose(fit.losses, plain.losses, rtol=1e-5)


def test_sums_keep_the_digits_of_large_terms(state):
    """Log densities of 1e7 nats that move by less than one: a plain single-precision sum would be off by nats."""
    metrics = Metrics(gradient_norm=False, update_norm=False).on(["y"], [])
    values = 1e7 + np.random.default_rng(0).integers(-3, 4, 20_000)

    def step(memory, value):
        return metrics.step(memory, Seen(0, 0.0, {"y": value}, {}, (), (), state, state, None)), None

    memory, _ = jax.lax.scan(step, metrics.start(state), jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(metrics.read(memory, state)["log_p/y"], values.mean(), rtol=0, atol=0.01)
    assert np.isnan(metrics.read(metrics.start(state), state)["log_p/y"])


def test_metrics_with_minibatches_are_those_of_the_batch():
    svi = svijax.SVI(rows_model, normal_guide, optax.adam(0.05))
    seen, _ = chunks_of(svi, 3, Y, metrics=Metrics())
    rows = by_hand(svi, jax.random.key(0), 3, Y)
    expected = {n: x for n, x in means(rows, 0, 3).items() if not n.startswith("update_norm/")}
    assert_metrics(seen[0].metrics, expected, 2e-5)


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: Metrics(gradient_norm="all"),
            "gradient_norm is a switch.*\"each\" for one by parameter.*got: +'all'",
        ),
        (lambda: Metrics(learning_rate=0.1), "learning_rate is a switch, or the schedule.*got: +0.1"),
        (lambda: Metrics(custom=3), "custom is a function of the state.*got: +3"),
    ],
)
def test_a_wrong_option_is_an_error(make, words):
    with pytest.raises(ArgumentError, match="(?s)" + words):
        make()


@pytest.mark.parametrize(
    "custom, words",
    [
        (lambda state: state.params["loc"], "must return numbers by name.*got: +a ShapeDtypeStruct"),
        (lambda state: {"a": jnp.zeros(3)}, r"must return numbers by name.*got: +a: \(3,\)"),
        (lambda state: {"loss": 1.0, "x": 2.0}, r"names that are taken: \['loss'\].*fix: +rename"),
        (lambda state: {"log_p/y": 1.0}, r"names that are taken: \['log_p/y'\]"),
    ],
)
def test_a_wrong_function_of_the_state_is_an_error_before_the_first_step(custom, words):
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    seen = []
    with pytest.raises(ArgumentError, match="(?s)" + words):
        svi.run(jax.random.key(0), 4, Y, metrics=Metrics(custom=custom), callback=seen.append)
    assert not seen


def test_metrics_leak_no_tracers():
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(SCHEDULE))
    metrics = Metrics(custom=lambda state: {"loc": state.params["loc"]}, learning_rate=SCHEDULE)
    with jax.checking_leaks():
        chunks_of(svi, 4, Y, metrics=metrics)
