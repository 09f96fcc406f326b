"""Optimisers, parameters of all kinds, mutable state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax.distributions import constraints
from svijax.fitting import differentiate
from svijax.guides import AutoDelta, AutoNormal


def run(svi, n, *args, key=0, **options):
    return svi.run(jax.random.key(key), n, *args, progress_bar=False, **options)


def pair_model(y):
    a = svijax.sample("a", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    b = svijax.sample("b", dist.LogNormal(0.0, 1.0))
    with svijax.plate("data", 5):
        svijax.sample("y", dist.Normal(a.sum(), b), obs=y)


OPTIMISERS = {
    "adam": (optax.adam(0.03), True),
    "adamw": (optax.adamw(0.03), True),
    "schedule": (optax.adam(optax.cosine_decay_schedule(0.03, 100)), True),
    "sgd": (optax.sgd(0.003, momentum=0.9), True),
    "ours": (svijax.optim.ClippedAdam(0.03), True),
    "lamb": (optax.lamb(0.03), False),
    "clipped by norm": (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.03)), False),
    "adafactor": (optax.adafactor(0.03), False),
    "multi_transform": (
        optax.multi_transform(
            {"a": optax.adam(0.03), "b": optax.sgd(0.003)},
            lambda tree: {name: "a" if name.startswith("a") else "b" for name in tree},
        ),
        False,
    ),
    "per_site": (
        svijax.optim.per_site({"a_*": 0.03, "b_*_scale": "freeze"}, default=optax.sgd(0.003)),
        False,
    ),
}


SLOW = ("adamw", "schedule", "ours", "clipped by norm", "adafactor")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in OPTIMISERS]
)
def test_the_trajectory_is_that_of_a_plain_optax_loop(name, x64):
    optim, packed = OPTIMISERS[name]
    y = np.asarray(Y, float)
    svi = svijax.SVI(pair_model, AutoNormal(pair_model), optim)
    state = svi.init(jax.random.key(0), y)
    assert state.free.layout.packed is packed
    assert len(state.free.arrays) == (1 if packed else 4)

    # By hand: a dictionary by name, the gradient of the loss at the draws of the step.
    reference = {n: state.free[n] for n in state.free}
    opt_state = optim.init(reference)
    gradient_of = jax.jit(lambda s: differentiate(svi, s, y)[1])
    losses = []
    for _ in range(25):
        gradient = gradient_of(state)
        if packed:
            gradient = type(state.free)(tuple(gradient), state.free.layout)
            gradient = {n: gradient[n] for n in gradient}
        updates, opt_state = optim.update(gradient, opt_state, reference)
        reference = optax.apply_updates(reference, updates)
        state, loss = svi.update(state, y)
        losses.append(float(loss))
        for n in reference:
            np.testing.assert_allclose(state.free[n], reference[n], rtol=1e-10, atol=1e-13)
    fit = run(svi, 25, y)
    np.testing.assert_allclose(fit.losses, losses, rtol=1e-10)


def test_frozen_parameters_stay(x64):
    optim = svijax.optim.per_site({"a_*": 0.03, "b_*_scale": "freeze"}, default=optax.sgd(0.003))
    fit = run(svijax.SVI(pair_model, AutoNormal(pair_model), optim), 20, np.asarray(Y, float))
    assert float(fit.params["b_auto_scale"]) == pytest.approx(0.1, rel=1e-12)
    assert abs(float(fit.params["a_auto_scale"][0]) - 0.1) > 1e-3


def test_per_site_with_an_unknown_name():
    svi = svijax.SVI(
        pair_model, AutoNormal(pair_model), svijax.optim.per_site({"a_auto_lok": 0.1}, default=0.1)
    )
    with pytest.raises(svijax.base.UnknownNameError, match="did you mean 'a_auto_loc'"):
        svi.init(jax.random.key(0), Y)


def test_a_float_is_the_rate_of_adam():
    by_float = run(svijax.SVI(normal_model, normal_guide, 0.05), 30, Y)
    by_adam = run(svijax.SVI(normal_model, normal_guide, optax.adam(0.05)), 30, Y)
    np.testing.assert_array_equal(by_float.losses, by_adam.losses)


def test_lbfgs_finds_the_mode():
    svi = svijax.SVI(pair_model, AutoDelta(pair_model), optax.lbfgs())
    fit = run(svi, 60, Y)
    slow = run(svijax.SVI(pair_model, AutoDelta(pair_model), optax.adam(0.02)), 3000, Y)
    assert fit.losses[-1] == pytest.approx(slow.losses[-1], rel=1e-4)
    np.testing.assert_allclose(fit.params["a_auto_loc"], slow.params["a_auto_loc"], atol=2e-3)


def test_lbfgs_in_updates_and_chains():
    svi = svijax.SVI(pair_model, AutoDelta(pair_model), svijax.optim.Minimize())
    state, losses = svi.init(jax.random.key(0), Y), []
    for _ in range(10):
        state, loss = svi.update(state, Y)
        losses.append(float(loss))
    np.testing.assert_allclose(run(svi, 10, Y).losses, losses, rtol=1e-4)
    assert run(svi, 10, Y, num_chains=2).losses.shape == (2, 10)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_elementwise_optimisers_pack(name):
    optim, packed = OPTIMISERS[name]
    state = jax.eval_shape(
        lambda: svijax.SVI(pair_model, AutoNormal(pair_model), optim).init(jax.random.key(0), Y)
    )
    assert state.free.layout.packed is packed
    assert len(state.free.arrays) == (1 if packed else 4)


# Parameters


def test_a_network_is_one_param():
    x = np.linspace(-2, 2, 32, dtype=np.float32)[:, None]
    y = np.sin(x[:, 0])

    def start(key):
        first, second = jax.random.split(key)
        return {
            "in": (jax.random.normal(first, (1, 8)), jnp.zeros(8)),
            "out": [jax.random.normal(second, (8,)) * 0.3, jnp.zeros(())],
        }

    def model(x, y):
        net = svijax.param("net", start)
        hidden = jnp.tanh(x @ net["in"][0] + net["in"][1])
        with svijax.plate("data", x.shape[0]):
            svijax.sample("y", dist.Normal(hidden @ net["out"][0] + net["out"][1], 0.1), obs=y)

    svi = svijax.SVI(model, lambda x, y: None, optax.adam(0.02))
    fit = run(svi, 600, x, y)
    assert fit.losses[-1] < fit.losses[0] / 10
    assert jax.tree.structure(fit.params["net"]) == jax.tree.structure(start(jax.random.key(0)))
    assert fit.params["net"]["in"][0].shape == (1, 8)
    again = run(svi, 1, x, y, init_params={"net": fit.params["net"]})
    assert again.losses[0] == pytest.approx(fit.losses[-1], rel=0.2)
    chains = run(svi, 2, x, y, num_chains=3)
    assert chains.params["net"]["in"][0].shape == (3, 1, 8)
    assert not np.array_equal(chains.params["net"]["in"][0][0], chains.params["net"]["in"][0][1])


def test_a_constraint_holds_for_every_leaf():
    def guide():
        p = svijax.param("p", {"x": jnp.ones(2), "y": jnp.array(3.0)}, constraint=constraints.positive)
        svijax.sample("z", dist.Normal(jnp.sum(p["x"]) - p["y"], 1.0))

    svi = svijax.SVI(lambda: svijax.sample("z", dist.Normal(-50.0, 1.0)), guide, optax.adam(0.1))
    params = run(svi, 300).params["p"]
    assert all((np.asarray(leaf) > 0).all() for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(svi.get_params(svi.init(jax.random.key(0)))["p"]["y"], 3.0, rtol=1e-6)


def test_init_params_are_constrained_values():
    svi = svijax.SVI(normal_model, normal_guide, 0.05)
    state = svi.init(jax.random.key(0), Y, init_params={"scale": 0.25, "loc": 3})
    assert float(svi.get_params(state)["scale"]) == pytest.approx(0.25)
    assert float(svi.get_params(state)["loc"]) == 3.0
    fit = run(svi, 1, Y, init_params={"scale": 0.25})
    assert fit.losses[0] == pytest.approx(
        float(svi.evaluate(svi.init(jax.random.key(0), Y, init_params={"scale": 0.25}), Y)), rel=1e-5
    )
    chains = run(svi, 1, Y, init_params={"loc": 3.0}, num_chains=2)
    assert chains.params["loc"] == pytest.approx(3.0, abs=0.06)


def test_init_params_of_an_autoguide():
    guide = AutoNormal(pair_model)
    svi = svijax.SVI(pair_model, guide, 0.05)
    start = {"a_auto_loc": jnp.array([1.0, 2.0, 3.0]), "b_auto_scale": 0.7}
    params = svi.get_params(svi.init(jax.random.key(0), Y, init_params=start))
    np.testing.assert_allclose(params["a_auto_loc"], [1, 2, 3])
    assert float(params["b_auto_scale"]) == pytest.approx(0.7, rel=1e-6)
    np.testing.assert_allclose(params["a_auto_scale"], 0.1, rtol=1e-6)
    free = svi.get_params(svi.init(jax.random.key(0), Y))
    assert float(params["b_auto_loc"]) == pytest.approx(float(free["b_auto_loc"]))
    with pytest.raises(svijax.base.ShapeError, match="'a_auto_loc' has not the shape") as error:
        svi.init(jax.random.key(0), Y, init_params={"a_auto_loc": jnp.zeros(4), "b_auto_scale": 1.0})
    assert "expected: (3,)" in str(error.value) and "got:      (4,)" in str(error.value)


def test_params_start_from_keys_of_their_own():
    def guide(y):
        draws = [svijax.param(f"p{i}", lambda key: jax.random.normal(key)) for i in range(3)]
        svijax.sample("mu", dist.Normal(sum(draws), 1.0))

    svi = svijax.SVI(normal_model, guide, 0.05)
    values = [float(v) for v in svi.get_params(svi.init(jax.random.key(0), Y)).values()]
    others = [float(v) for v in svi.get_params(svi.init(jax.random.key(1), Y)).values()]
    assert len({*values, *others}) == 6


def test_integer_params_become_floats_and_booleans_are_refused():
    svi = svijax.SVI(lambda: svijax.factor("f", -(svijax.param("a", 3) ** 2)), lambda: None, 0.1)
    assert run(svi, 1).params["a"].dtype == jnp.float32
    svi = svijax.SVI(lambda: svijax.factor("f", svijax.param("a", True) * 1.0), lambda: None, 0.1)
    with pytest.raises(svijax.base.ParameterError, match="'a' has a leaf of dtype bool"):
        run(svi, 1)


def test_the_guide_goes_first_where_both_give_a_start():
    def model(y):
        svijax.sample("mu", dist.Normal(svijax.param("a", 1.0), 1.0))

    def guide(y):
        svijax.sample("mu", dist.Normal(svijax.param("a", 2.0), 1.0))

    svi = svijax.SVI(model, guide, 0.05)
    assert float(svi.get_params(svi.init(jax.random.key(0), Y))["a"]) == 2.0
    start = {"a": 5.0}
    assert float(svi.get_params(svi.init(jax.random.key(0), Y, init_params=start))["a"]) == 5.0


def test_an_optimiser_of_half_precision_leaves_the_carry_alone():
    optim = optax.adam(0.05, mu_dtype=jnp.bfloat16)
    fit = run(svijax.SVI(normal_model, normal_guide, optim), 50, Y)
    assert np.isfinite(fit.losses).all()


def test_params_of_two_precisions():
    def guide(y):
        loc = svijax.param("loc", jnp.zeros((), jnp.bfloat16))
        svijax.sample("mu", dist.Normal(loc.astype(jnp.float32), svijax.param("s", 1.0)))

    fit = run(svijax.SVI(normal_model, guide, 0.05), 10, Y)
    assert fit.params["loc"].dtype == jnp.bfloat16 and fit.params["s"].dtype == jnp.float32


def test_a_fit_without_parameters():
    def guide(y):
        svijax.sample("mu", dist.Normal(0.8, 0.4))

    fit = run(svijax.SVI(normal_model, guide, 0.05), 10, Y)
    assert fit.params == {} and np.isfinite(fit.losses).all()


# Mutable state


def counting_model(y, bad_at=-1):
    mean = svijax.mutable("mean", {"x": jnp.zeros(()), "n": jnp.zeros((), jnp.int32)})
    mean["x"] = 0.5 * mean["x"] + 0.5 * jnp.mean(y)
    mean["n"] = mean["n"] + 1
    mu = svijax.sample("mu", dist.Normal(mean["x"], 1.0))
    bad = jnp.where(mean["n"] == bad_at, jnp.nan, 0.0)
    svijax.factor("f", -jnp.sum((y - mu) ** 2) + bad)


def test_mutable_state_advances_once_a_step():
    svi = svijax.SVI(counting_model, normal_guide, 0.05)
    state = svi.init(jax.random.key(0), Y)
    assert int(state.mutable["mean"]["n"]) == 0
    svi.evaluate(state, Y)
    assert int(state.mutable["mean"]["n"]) == 0
    after, loss = svi.update(state, Y)
    assert int(after.mutable["mean"]["n"]) == 1
    assert float(after.mutable["mean"]["x"]) == pytest.approx(Y.mean() / 2)
    assert float(svi.evaluate(state, Y)) == pytest.approx(float(loss), rel=1e-6)
    fit = run(svi, 7, Y)
    assert int(fit.state.mutable["mean"]["n"]) == 7
    assert float(fit.state.mutable["mean"]["x"]) == pytest.approx(Y.mean() * (1 - 0.5**7), rel=1e-5)


def test_evaluate_uses_the_state_of_the_state():
    svi = svijax.SVI(counting_model, normal_guide, optax.sgd(0.0))
    state = svi.init(jax.random.key(0), Y)
    far = state.having(mutable={"mean": {"x": jnp.asarray(50.0), "n": jnp.asarray(3, jnp.int32)}})
    assert float(svi.evaluate(far, Y)) > float(svi.evaluate(state, Y)) + 100
    assert float(svi.evaluate(far, Y)) == pytest.approx(float(svi.update(far, Y)[1]), rel=1e-6)


def test_mutable_state_of_chains_and_particles():
    svi = svijax.SVI(counting_model, normal_guide, 0.05, svijax.Trace_ELBO(num_particles=4))
    fit = run(svi, 5, Y, num_chains=2)
    np.testing.assert_array_equal(fit.state.mutable["mean"]["n"], [5, 5])


def test_stable_update_rolls_everything_back():
    svi = svijax.SVI(counting_model, AutoNormal(counting_model), optax.adam(0.05))
    state = svi.init(jax.random.key(0), Y)
    after, loss = svi.stable_update(state, Y, bad_at=1)
    assert np.isnan(float(loss))
    assert int(after.step) == 1
    for name in ("free", "optim_state", "mutable"):
        for a, b in zip(jax.tree.leaves(getattr(after, name)), jax.tree.leaves(getattr(state, name))):
            np.testing.assert_array_equal(a, b)
    good, loss = svi.stable_update(state, Y)
    plain, _ = svi.update(state, Y)
    assert int(good.mutable["mean"]["n"]) == 1
    for a, b in zip(jax.tree.leaves(good), jax.tree.leaves(plain)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_skip_rolls_mutable_state_back_in_a_run():
    svi = svijax.SVI(counting_model, AutoNormal(counting_model), optax.adam(0.05))
    # The count stays at 2, so every step from the third on is bad.
    fit = run(svi, 8, Y, on_nonfinite="skip", bad_at=3)
    assert fit.skipped == 6
    assert int(fit.state.mutable["mean"]["n"]) == 2
    assert int(fit.state.step) == 8


def test_mutable_state_of_a_guide():
    def guide(y):
        count = svijax.mutable("count", {"n": jnp.zeros(())})
        count["n"] = count["n"] + 1.0
        svijax.sample("mu", dist.Normal(svijax.param("loc", 0.5), 1.0))

    fit = run(svijax.SVI(normal_model, guide, 0.05), 4, Y)
    assert float(fit.state.mutable["count"]["n"]) == 4.0


def test_mutable_state_under_an_autoguide():
    fit = run(svijax.SVI(counting_model, AutoNormal(counting_model), 0.05), 4, Y)
    assert int(fit.state.mutable["mean"]["n"]) == 4
