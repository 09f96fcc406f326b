"""Chains that differ in data, starting values, hyperparameters: each is the single run; what cannot be is told."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import SVI, Chains, Status
from svijax.base import ArgumentError
from svijax.guides import AutoNormal
from svijax.optim import as_transformation, is_elementwise

STEPS = 40
KEY = jax.random.key(3)
KEYS = jax.random.split(KEY, 3)
RATES = np.array([0.01, 0.05, 0.2])
FLOAT = SVI(normal_model, normal_guide, 0.05)


def keyword_model(y, *, prior=None, name="mu"):
    mu = svijax.sample(name, dist.Normal(prior["loc"], prior["scale"]))
    with svijax.plate("data", y["rows"].shape[0]):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y["rows"] + y["shift"])


KEYWORD = SVI(keyword_model, AutoNormal(keyword_model), 0.05)


def run(svi, *args, key=KEY, **options):
    return svi.run(key, STEPS, *args, progress_bar=False, **options)


def assert_chain(fit, k, alone):
    for name, value in alone.params.items():
        np.testing.assert_allclose(fit.params[name][k], value, rtol=1e-5)
    np.testing.assert_allclose(fit.losses[k], alone.losses, rtol=1e-4, atol=1e-5)


def inject(make=optax.adam, **kwargs):
    return optax.inject_hyperparams(make)(**kwargs)


@pytest.mark.parametrize(
    "optim, alone",
    [
        (0.3, lambda rate: rate),
        (
            optax.chain(optax.clip(5.0), optax.chain(inject(optax.sgd, learning_rate=0.3), optax.scale(0.1))),
            lambda rate: optax.chain(optax.clip(5.0), optax.sgd(0.1 * rate)),
        ),
    ],
    ids=["float", "nested"],
)
def test_chains_of_rates_are_single_runs_at_these_rates(optim, alone):
    fit = run(
        SVI(normal_model, normal_guide, optim), Y, chains=Chains(3, hyperparams={"learning_rate": RATES})
    )
    for k in (0, 2):
        assert_chain(fit, k, run(SVI(normal_model, normal_guide, alone(float(RATES[k]))), Y, key=KEYS[k]))


def test_other_hyperparameters_differ_too_and_inner_ones_are_found():
    inner = optax.inject_hyperparams(
        lambda weight: optax.chain(inject(learning_rate=0.1), optax.scale(weight))
    )
    values = {"learning_rate": RATES, "weight": np.array([1.0, 0.5, 2.0])}
    fit = run(SVI(normal_model, normal_guide, inner(weight=1.0)), Y, chains=Chains(3, hyperparams=values))
    optim = optax.chain(optax.adam(0.2), optax.scale(2.0))
    assert_chain(fit, 2, run(SVI(normal_model, normal_guide, optim), Y, key=KEYS[2]))


@pytest.mark.parametrize("axis", [0, -1])
def test_chains_of_data_are_single_runs_on_these_data(axis):
    data = np.stack([Y, Y + 1, 2 * Y], axis=axis)
    fit = run(FLOAT, data, chains=Chains(3, args=(axis,)))
    for k, y in enumerate((Y, Y + 1, 2 * Y)):
        assert_chain(fit, k, run(FLOAT, y, key=KEYS[k]))
        np.testing.assert_array_equal(fit.chain(k).call.args[0], y)


def test_data_start_and_rates_differ_together_by_prefix_and_keyword():
    y = {"rows": np.stack([Y, Y + 1, 2 * Y]), "shift": 0.5}
    prior = {"loc": np.array([0.0, 1.0, 2.0], np.float32), "scale": np.array([[1.0, 2.0, 3.0]], np.float32)}
    start = {"m_auto_loc": np.array([[0.1], [0.2], [0.3]]), "m_auto_scale": np.array([0.4])}
    chains = Chains(
        3,
        args=({"rows": 0, "shift": None},),
        kwargs={"prior": {"loc": 0, "scale": 1}},
        init_params={"m_auto_loc": 0},
        hyperparams={"learning_rate": RATES},
    )
    fit = run(KEYWORD, y, prior=prior, name="m", init_params=start, chains=chains)
    for k in (0, 2):
        alone = run(
            SVI(keyword_model, AutoNormal(keyword_model), float(RATES[k])),
            {"rows": y["rows"][k], "shift": 0.5},
            prior={"loc": prior["loc"][k], "scale": prior["scale"][:, k]},
            name="m",
            init_params={"m_auto_loc": start["m_auto_loc"][k], "m_auto_scale": np.array([0.4])},
            key=KEYS[k],
        )
        assert_chain(fit, k, alone)
    # What comes after the fit sees the chain's own data.
    call = fit.chain(1).call
    np.testing.assert_array_equal(call.args[0]["rows"], Y + 1)
    assert float(call.kwargs["prior"]["loc"]) == 1.0


def test_starting_values_by_one_axis_for_all():
    start = {"loc": np.array([[0.1, 1.0, -2.0]]), "scale": np.array([[0.5, 0.6, 0.7]])}
    fit = run(
        SVI(normal_model, vector_guide, optax.sgd(1e-12)),
        Y,
        init_params=start,
        chains=Chains(3, init_params=-1),
    )
    np.testing.assert_allclose(fit.params["loc"][:, 0], start["loc"][0], rtol=1e-6)
    np.testing.assert_allclose(fit.params["scale"][:, 0], start["scale"][0], rtol=1e-6)


def vector_guide(y):
    loc = svijax.param("loc", jnp.zeros(1))
    scale = svijax.param("scale", jnp.ones(1), constraint=dist.constraints.positive)
    svijax.sample("mu", dist.Normal(loc[0], scale[0]))


def test_inside_jit_the_same():
    data = np.stack([Y, Y + 1, 2 * Y])

    @jax.jit
    def fitted(key, rates, data):
        return run(
            FLOAT, data, key=key, chains=Chains(3, args=0, hyperparams={"learning_rate": rates})
        ).params

    chains = Chains(3, args=0, hyperparams={"learning_rate": RATES})
    outside = run(FLOAT, data, chains=chains).params
    for name, value in fitted(KEY, RATES, data).items():
        np.testing.assert_allclose(value, outside[name], rtol=1e-5)


def test_a_continued_run_takes_new_rates():
    head = run(FLOAT, Y, chains=Chains(3, hyperparams={"learning_rate": RATES}))
    tail = run(FLOAT, Y, init_state=head.state, chains=Chains(3, hyperparams={"learning_rate": RATES[::-1]}))
    np.testing.assert_allclose(tail.state.optim_state.hyperparams["learning_rate"], RATES[::-1], rtol=1e-6)
    same = run(FLOAT, Y, init_state=head.state, chains=Chains(3, hyperparams={"learning_rate": RATES}))
    whole = FLOAT.run(
        KEY, 2 * STEPS, Y, progress_bar=False, chains=Chains(3, hyperparams={"learning_rate": RATES})
    )
    np.testing.assert_array_equal(same.params["loc"], whole.params["loc"])
    assert not np.allclose(tail.params["loc"], whole.params["loc"], rtol=1e-4)


def test_new_rates_and_new_data_of_equal_shapes_compile_nothing(count_compiles):
    data = np.stack([Y, Y + 1, 2 * Y])
    run(FLOAT, data, chains=Chains(3, args=0, hyperparams={"learning_rate": RATES}))
    with count_compiles() as seen:
        run(FLOAT, 2 * data, chains=Chains(3, args=0, hyperparams={"learning_rate": 2 * RATES}))
    assert seen.count == 0


def test_num_chains_is_chains_that_differ_by_key():
    by_number, by_record = run(FLOAT, Y, num_chains=3), run(FLOAT, Y, chains=Chains(3))
    np.testing.assert_array_equal(by_number.params["loc"], by_record.params["loc"])


def test_the_best_chain_may_have_converged_and_may_not_have_failed():
    fit = run(FLOAT, Y, num_chains=3)
    first, second, _ = np.argsort(fit.final_losses(STEPS // 10))
    status = np.full(3, Status.MAX_STEPS)
    status[first], status[second] = Status.NONFINITE, Status.CONVERGED
    best = replace(fit, status=status).best()
    assert best.status == Status.CONVERGED
    np.testing.assert_array_equal(best.losses, fit.losses[second])


def test_injected_rates_keep_parameters_in_one_vector_and_add_few_operations():
    tree = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2)), "c": jnp.zeros(())}
    fit = run(FLOAT, Y, chains=Chains(3, hyperparams={"learning_rate": RATES}))
    assert fit.state.free.layout.packed
    injected = fit.call.svi.optim
    assert is_elementwise(injected, tree)
    operations = [count_operations(optim) for optim in (as_transformation(0.05), injected)]
    # The rate is read, negated and kept, and the injection counts its steps.
    assert operations[1] <= operations[0] + 6


def count_operations(optim):
    vector = jnp.zeros(8)
    state = optim.init(vector)
    text = jax.jit(optim.update).lower(vector, state, vector).as_text()
    return sum(" = stablehlo." in line and "constant" not in line for line in text.splitlines())


def wrong(match, make, **options):
    with pytest.raises(ArgumentError, match=match):
        make() if callable(make) else run(FLOAT, *make, **options)


BAD_RECORDS = {
    "length": (
        "needs one value for each chain(.|\n)*3 values(.|\n)*got: +2 values",
        {"learning_rate": [0.1, 0.2]},
    ),
    "a number": ("got: +a single number(.|\n)*argument of the optimiser", {"learning_rate": 0.1}),
    "zero": ("greater than zero(.|\n)*0 \\(entry 1\\)", {"learning_rate": [0.1, 0.0, 0.1]}),
    "too small": ("greater than zero(.|\n)*1e-60", {"learning_rate": [0.1, 1e-60, 0.1]}),
    "negative": ("greater than zero(.|\n)*-1", {"step_size": [0.1, -1.0, 0.1]}),
    "nan": ("greater than zero(.|\n)*nan \\(entry 2\\)", {"learning_rate": [0.1, 0.2, np.nan]}),
    "infinite": ("'b1' is not finite", {"b1": [0.1, 0.2, np.inf]}),
    "no dictionary": ("a dictionary(.|\n)*list(.|\n)*learning_rate", [0.1, 0.2, 0.3]),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_hyperparameters_that_are_not_one_legal_value_a_chain(case):
    match, values = BAD_RECORDS[case]
    wrong(match, lambda: Chains(3, hyperparams=values))


def test_the_number_of_chains():
    wrong("num must be an int of at least 1", lambda: Chains(0))
    wrong("num_chains=4, Chains\\(3\\)(.|\n)*leave num_chains out", (Y,), num_chains=4, chains=Chains(3))
    wrong("takes svijax.fitting.Chains(.|\n)*num_chains=3", (Y,), chains=3)


BAD_DATA = {
    "no axis": ("argument 0 has no axis 2(.|\n)*shape \\(3, 5\\)(.|\n)*stack", {"args": 2}),
    "length": ("argument 0 has not as many entries(.|\n)*\\(3, 5\\)(.|\n)*Chains\\(5", {"args": 1}),
    "count": ("one entry for each positional argument(.|\n)*1 entries", {"args": (0, None)}),
    "prefix": ("axes of argument 0 are no prefix", {"args": ({"x": 0},)}),
    "not an axis": ("the axis of argument 0 is an int or None(.|\n)*0.5", {"args": (0.5,)}),
    "keyword": ("keywords that run was not given: \\['z'\\]", {"kwargs": {"z": 0}}),
    "no values": ("there are none(.|\n)*init_params=", {"init_params": 0}),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_axes_that_the_arguments_do_not_have(case):
    match, axes = BAD_DATA[case]
    wrong(match, (np.stack([Y, Y, Y]),), chains=Chains(3, **axes))


def test_what_is_no_array_cannot_differ():
    with pytest.raises(ArgumentError, match=r"keyword 'name' has no axis 0(.|\n)*str 'mu'"):
        run(KEYWORD, {"rows": Y, "shift": 0.0}, name="mu", chains=Chains(3, kwargs={"name": 0}))


def test_starting_values_without_the_axis():
    start = {"loc": np.zeros(3), "scale": np.ones(2)}
    wrong("'scale' has not as many(.|\n)*\\(2,\\)", (Y,), init_params=start, chains=Chains(3, init_params=0))
    axes = {"location": 0}
    wrong("do not have: \\['location'\\]", (Y,), init_params=start, chains=Chains(3, init_params=axes))


SCHEDULED = inject(learning_rate=optax.cosine_decay_schedule(0.1, 100))
BAD_OPTIMISERS = {
    "none": (
        optax.adam(0.1),
        "learning_rate",
        "no hyperparameters that can be set(.|\n)*optax.inject_hyperparams",
    ),
    "name": (inject(learning_rate=0.1), "rate", "no hyperparameter 'rate'(.|\n)*learning_rate"),
    "float": (0.1, "b1", "no hyperparameter 'b1'(.|\n)*learning_rate"),
    "schedule": (SCHEDULED, "learning_rate", "takes 'learning_rate' from a schedule"),
}


@pytest.mark.parametrize("case", BAD_OPTIMISERS)
def test_optimisers_whose_hyperparameter_cannot_be_set(case):
    optim, name, match = BAD_OPTIMISERS[case]
    wrong(
        match,
        lambda: run(SVI(normal_model, normal_guide, optim), Y, chains=Chains(3, hyperparams={name: RATES})),
    )
