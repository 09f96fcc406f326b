"""Networks from plain functions: weights, gradient, state, chains, what comes out of a fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Predictive, Trace_ELBO
from svijax.base import ArgumentError, MissingKeyError, ModelError, ShapeError
from svijax.density import draw, noise_layout
from svijax.handlers import scope, seed, substitute, trace
from svijax.nn import functional_module, get_module

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 3))
Y = jnp.sin(X @ jnp.array([1.0, -2.0, 0.5]))


def make(key: jax.Array) -> list[dict[str, Any]]:
    """Two layers, 3-4-1."""
    first, second = jax.random.split(key)
    return [
        {"w": 0.5 * jax.random.normal(first, (3, 4)), "b": jnp.zeros(4)},
        {"w": 0.5 * jax.random.normal(second, (4, 1)), "b": jnp.zeros(1)},
    ]


def forward(params: Any, x: Any) -> Any:
    hidden = jnp.tanh(x @ params[0]["w"] + params[0]["b"])
    return (hidden @ params[1]["w"] + params[1]["b"])[..., 0]


def centred(params: Any, state: Any, x: Any, rate: float = 0.5) -> tuple[Any, Any]:
    """x w less its mean over rows, and the running mean."""
    y = x @ params["w"]
    mean = jnp.mean(y)
    return y - mean, {"mean": (1 - rate) * state["mean"] + rate * mean, "calls": state["calls"] + 1}


START = {"mean": jnp.zeros(()), "calls": jnp.zeros((), jnp.int32)}
W = {"w": jnp.array([1.0, 2.0, -1.0])}


def regression(x: Any, y: Any = None) -> None:
    net = functional_module("net", make, forward)
    with svijax.plate("rows", len(x)):
        svijax.sample("y", dist.Normal(net(x), 0.5), obs=y)


def no_latents(*args: Any) -> None:
    """The guide of a model that has none."""


SVI_OF_REGRESSION = SVI(regression, no_latents, optax.adam(0.02), Trace_ELBO())


# Weights


def test_a_network_is_one_param() -> None:
    sites = trace(seed(regression, KEY)).get_trace(X, Y)
    assert list(sites) == ["net$params", "rows", "y"]
    np.testing.assert_allclose(sites["y"].fn.loc, forward(sites["net$params"].value, X), rtol=1e-6)


def test_the_gradient_is_that_of_the_function() -> None:
    state = SVI_OF_REGRESSION.init(KEY, X, Y)
    params = state.params["net$params"]

    def loss(params: Any) -> Any:
        return -jnp.sum(jax.scipy.stats.norm.logpdf(Y, forward(params, X), 0.5))

    value, gradient = jax.value_and_grad(lambda free: SVI_OF_REGRESSION.loss(free, KEY, X, Y))(
        dict(state.free)
    )
    np.testing.assert_allclose(value, loss(params), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient["net$params"],
        jax.grad(loss)(params),
    )


def test_chains_start_from_keys_of_their_own_and_fit() -> None:
    with jax.checking_leaks():
        fit = SVI_OF_REGRESSION.run(KEY, 300, X, Y, num_chains=3, progress_bar=False)
    first = fit.losses[:, 0]
    assert len(set(first.tolist())) == 3
    assert (fit.losses[:, -1] < first - 2).all()
    best = fit.best()
    net = get_module("net", make(KEY), best)
    jax.tree.map(np.testing.assert_array_equal, net, best.params["net$params"])
    jax.tree.map(np.testing.assert_array_equal, net, get_module("net", make(KEY), best.state))
    jax.tree.map(np.testing.assert_array_equal, net, get_module("net", make(KEY), best.params))
    with pytest.raises(
        ArgumentError, match=r"network 'net': this is a fit of several chains[\s\S]*fit.best\(\)"
    ):
        get_module("net", make(KEY), fit)
    with pytest.raises(ArgumentError, match=r"the fit has no weights of it[\s\S]*a param 'other\$params'"):
        get_module("other", make(KEY), best)
    with pytest.raises(ShapeError, match=r"the weight '0.w' has another shape[\s\S]*\(3, 5\)"):
        get_module("net", [{"w": jnp.zeros((3, 5)), "b": jnp.zeros(4)}, make(KEY)[1]], best)
    with pytest.raises(ArgumentError, match="in the result of a run, in a state, or in parameters"):
        get_module("net", make(KEY), 3)


def test_a_run_inside_jit_and_vmap() -> None:
    one = SVI_OF_REGRESSION.run(KEY, 3, X, Y, progress_bar=False)
    run = jax.jit(lambda y: SVI_OF_REGRESSION.run(KEY, 3, X, y).losses)
    np.testing.assert_allclose(jax.vmap(run)(jnp.stack([Y, Y])), [one.losses] * 2, rtol=1e-5)


def test_model_and_guide_share_a_network_of_one_name() -> None:
    def program(x: Any) -> None:
        net = functional_module("net", make, forward)
        svijax.sample("z", dist.Normal(net(x).sum(), 1.0))

    svi = SVI(program, program, 0.1)
    state = svi.init(KEY, X)
    assert list(state.params) == ["net$params"]
    np.testing.assert_allclose(svi.update(state, X)[1], 0.0, atol=1e-6)


def test_scope_prefixes_and_starting_values_are_found_by_name() -> None:
    sites = trace(seed(scope(regression, "a"), KEY)).get_trace(X, Y)
    assert list(sites) == ["a/net$params", "a/rows", "a/y"]
    given = jax.tree.map(jnp.ones_like, make(KEY))
    state = SVI_OF_REGRESSION.init(KEY, X, Y, init_params={"net$params": given})
    jax.tree.map(np.testing.assert_array_equal, state.params["net$params"], given)


def test_a_tree_is_checked_against_the_one_that_was_stated() -> None:
    def program() -> Any:
        return functional_module("net", W, lambda params, x: x @ params["w"])(jnp.ones(3))

    assert substitute(program, {"net$params": {"w": jnp.zeros(3)}})() == 0
    with pytest.raises(ArgumentError) as error:
        substitute(program, {"net$params": {"v": jnp.zeros(3)}})()
    assert str(error.value) == (
        "program network 'net': the values are not those of this network's weights.\n"
        "  expected: ['w']\n"
        "  got:      without ['w'], and ['v']\n"
        "  fix:      use the module that was fitted, under the name that it had; start from values of its own tree."
    )
    with pytest.raises(ArgumentError, match=r"two weights have the path 'a.b'"):
        functional_module("net", {"a": {"b": 1.0}, "a.b": 2.0}, lambda params: 0.0)


def test_a_network_without_weights() -> None:
    program = trace(lambda: functional_module("net", {}, lambda params, x: x)(2.0))
    assert list(program.get_trace()) == []


def test_what_needs_a_key_says_so() -> None:
    with pytest.raises(MissingKeyError, match=r"param 'net\$params' starts from a function of a random key"):
        regression(X)


# State


def run_twice(state: Any = None) -> Any:
    net = functional_module("net", W, centred, state=START)
    net(X)
    return net(X, rate=1.0)


def test_the_state_moves_from_call_to_call_and_its_start_does_not() -> None:
    sites = trace(run_twice).get_trace()
    mean = jnp.mean(X @ W["w"])
    held = sites["net$state"]
    np.testing.assert_allclose(held.value["mean"], mean, rtol=1e-6)
    assert held.value["calls"] == 2
    assert held.start["calls"] == START["calls"] == 0
    moved = trace(substitute(run_twice, {"net$state": {**START, "calls": jnp.array(5)}})).get_trace()
    assert moved["net$state"].value["calls"] == 7


def noisy(x: Any) -> None:
    z = svijax.sample("z", dist.Normal(0.0, 1.0))
    net = functional_module("net", W, centred, state=START)
    with svijax.plate("rows", len(x)):
        svijax.sample("y", dist.Normal(net(x + z), 1.0), obs=Y)


def guide_of_noisy(x: Any) -> None:
    svijax.sample("z", dist.Normal(svijax.param("loc", 0.3), 0.5))


def test_of_several_particles_the_first_one_s_state_is_kept() -> None:
    layout = noise_layout(seed(guide_of_noisy, KEY), (X,), {})
    draws = draw(KEY, layout, 4)
    after = Trace_ELBO(4).from_draws(draws, noisy, guide_of_noisy, (X,), {}, {"net$state": START})
    z = 0.3 + 0.5 * draws.normal[0, 0]
    expected = centred(W, START, X + z)[1]
    np.testing.assert_allclose(after.mutable["net$state"]["mean"], expected["mean"], rtol=1e-5)
    assert after.mutable["net$state"]["calls"] == 1


def test_a_run_carries_the_state_and_prediction_asks_for_it() -> None:
    svi = SVI(noisy, guide_of_noisy, 0.01, Trace_ELBO(4))
    fit = svi.run(KEY, 5, X, progress_bar=False)
    state = svi.init(KEY, X)
    assert state.mutable["net$state"]["calls"] == 0
    for _ in range(5):
        state, _ = svi.update(state, X)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        fit.state.mutable["net$state"],
        state.mutable["net$state"],
    )
    assert fit.state.mutable["net$state"]["calls"] == 5
    values = {**fit.params, **fit.state.mutable}
    assert Predictive(noisy, guide=guide_of_noisy, params=values, num_samples=2)(KEY, X)["y"].shape == (2, 6)
    with pytest.raises(ArgumentError) as error:
        Predictive(noisy, guide=guide_of_noisy, params=fit.params, num_samples=2)(KEY, X)
    assert str(error.value) == (
        "model mutable 'net$state' has no value in params, and its state at the start is not the fitted one.\n"
        "  expected: every parameter and mutable of the programs\n"
        "  got:      ['loc', 'net$params']\n"
        "  fix:      pass params={**fit.params, **fit.state.mutable}."
    )


def test_no_gradient_flows_through_the_state() -> None:
    def loss(w: Any) -> Any:
        net = functional_module("net", {"w": w}, centred, state=START)
        net(X)
        return net.state["mean"]

    assert loss(W["w"]) != 0
    np.testing.assert_array_equal(jax.grad(loss)(W["w"]), 0)


@pytest.mark.parametrize(
    "after", [{"mean": jnp.zeros(2), "calls": 0}, {"mean": jnp.zeros(())}, {**START, "new": 1.0}]
)
def test_a_state_that_changes_its_shape_is_an_error(after: Any) -> None:
    net = functional_module("net", W, lambda params, state: (0.0, after), state=START)
    with pytest.raises(
        ModelError,
        match=r"network 'net': its state changed its entries or their shapes in a call[\s\S]*'mean': \(\)",
    ):
        net()


@pytest.mark.parametrize(
    "transformed",
    [jax.vmap, jax.jit, jax.checkpoint, lambda f: lambda x: jax.lax.scan(lambda c, r: (c, f(r)), 0, x)[1]],
)
def test_a_state_cannot_leave_a_transformation(transformed: Any) -> None:
    def program(x: Any) -> Any:
        net = functional_module("net", W, centred, state=START)
        still = functional_module(
            "still", W, lambda params, state, x: (x + state["mean"], state), state=START
        )
        np.testing.assert_allclose(transformed(still)(x), x)
        return transformed(net)(x)

    with pytest.raises(ModelError) as error:
        program(X)
    assert str(error.value) == (
        "program network 'net': it has a state and is called inside a jax.vmap, jit, scan or the like, which the "
        "new state cannot leave.\n"
        "  fix:      call it outside of the transformation, on all rows at once; or in evaluation mode, where the "
        "state stays as it is."
    )


# The room


def test_the_room_loads_no_package_of_networks() -> None:
    code = "import sys, svijax; assert 'svijax.nn' not in sys.modules; import svijax.nn; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[0] for name in done.stdout.split()}.isdisjoint({"flax", "equinox"})
