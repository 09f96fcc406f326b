"""Networks of flax nnx in programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regressions import KEY, X, Y, close, dropped, loss, loss_and_gradient, plain, state_of_four_particles

import svijax
import svijax.distributions as dist
from svijax import SVI, Predictive
from svijax.base import ArgumentError, ModelError
from svijax.guides import AutoNormal
from svijax.handlers import seed, trace
from svijax.nn import get_module, initial_values, nnx_module, prior_table, random_nnx_module

pytestmark = pytest.mark.interop


def test_forward_and_gradient_are_the_package_s_own() -> None:
    from flax import nnx
    from nnx_networks import Plain

    module = Plain(nnx.Rngs(0))
    svi = plain(lambda: nnx_module("net", module))
    state = svi.init(KEY, X, Y)
    assert set(state.params) == {"net$params"}
    close(state.params["net$params"]["layers"]["0"]["kernel"], module.layers[0].kernel.get_value())
    value, gradient = loss_and_gradient(svi, state)
    np.testing.assert_allclose(value, loss(module(X)), rtol=1e-5)
    own = nnx.to_pure_dict(nnx.grad(lambda module: loss(module(X)))(module))
    close(jax.tree.leaves(gradient["net$params"]), jax.tree.leaves(own))


@pytest.mark.parametrize("inside", [False, True])
def test_a_module_made_outside_and_one_made_at_each_run(
    inside: bool, count_compiles: Callable[[], Any]
) -> None:
    from flax import nnx
    from nnx_networks import Normed

    module = Normed(nnx.Rngs(0))
    svi = plain(lambda: nnx_module("net", Normed(nnx.Rngs(svijax.prng_key())) if inside else module))
    with jax.checking_leaks():
        fit = svi.run(KEY, 100, X, Y, num_chains=2, progress_bar=False)
    assert (fit.losses[0, 0] != fit.losses[1, 0]) == inside
    assert (fit.losses[:, -1] < fit.losses[:, 0]).all()
    with count_compiles() as seen:
        again = svi.run(KEY, 200, X, Y, num_chains=2, progress_bar=False)
    assert seen.count == 0
    np.testing.assert_array_equal(again.losses[:, :100], fit.losses)
    np.testing.assert_array_equal(module.norm.mean.get_value(), 0)
    alone = jax.jit(lambda key: svi.run(key, 100, X, Y).losses)(jax.random.split(KEY, 2)[1])
    np.testing.assert_allclose(alone, fit.losses[1], rtol=2e-3)


def test_statistics_move_as_the_package_moves_them() -> None:
    from flax import nnx
    from nnx_networks import Normed

    module = Normed(nnx.Rngs(0))
    svi = plain(lambda: nnx_module("net", module))
    fit = svi.run(KEY, 1, X, Y, progress_bar=False)
    own = nnx.clone(module)
    own(X)
    moved = {"norm": {"mean": own.norm.mean.get_value(), "var": own.norm.var.get_value()}}
    close(fit.state.mutable["net$state"], moved, 1e-6)
    start = svi.init(KEY, X, Y)
    inputs, after = state_of_four_particles(
        lambda: nnx_module("net", module), start.params, dict(start.mutable)
    )
    fresh = nnx.clone(module)
    fresh(inputs)
    close(after["net$state"]["norm"]["mean"], fresh.norm.mean.get_value(), 1e-6)
    assert not np.allclose(after["net$state"]["norm"]["mean"], own.norm.mean.get_value())


def test_the_fitted_module_and_prediction_by_running_statistics() -> None:
    from flax import nnx
    from nnx_networks import Normed

    training = Normed(nnx.Rngs(0))
    steady = nnx.clone(training)
    steady.eval()

    def model(x: Any, y: Any = None, train: bool = True) -> None:
        net = nnx_module("net", training if train else steady)
        mean = svijax.deterministic("mean", net(x))
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(mean, 0.5), obs=y)

    svi = SVI(model, lambda x, y=None, train=True: None, 0.02)
    fit = svi.run(KEY, 30, X, Y, progress_bar=False)
    fitted = get_module("net", steady, fit)
    assert isinstance(fitted, Normed) and fitted.norm.use_running_average
    predict = Predictive(model, params={**fit.params, **fit.state.mutable}, num_samples=1)
    close(predict(KEY, X[:2], train=False)["mean"][0], fitted(X[:2]))
    assert not np.allclose(fitted(X[:2]), steady(X[:2]))
    by_row = jax.vmap(nnx_module("net", steady))(X)
    np.testing.assert_allclose(by_row, steady(X), rtol=1e-4, atol=1e-6)
    fitted.train()
    fitted(X)  # a module of its own, which may be changed
    np.testing.assert_array_equal(steady.norm.mean.get_value(), 0)


def test_dropout_differs_by_step_key_call_and_layer_and_is_reproducible() -> None:
    from flax import nnx
    from nnx_networks import Dropped

    module = Dropped(nnx.Rngs(0))
    losses, _ = dropped(lambda: nnx_module("net", module))
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len({*losses[0], *losses[2]}) == 4

    def program() -> Any:
        net = nnx_module("net", module)
        return jnp.stack([net(jnp.ones(64)), net(jnp.ones(64))])

    masks = np.asarray(seed(program, KEY)()).reshape(4, 64)
    assert len({tuple(mask) for mask in masks}) == 4
    assert set(np.unique(masks)) == {0.0, 2.0}
    # Without a key the streams are where the module's own are.
    np.testing.assert_array_equal(program()[0], nnx.clone(module)(jnp.ones(64)))


def test_priors_by_pattern() -> None:
    from flax import nnx
    from nnx_networks import Plain

    module = Plain(nnx.Rngs(0))
    prior = {"layers.0.*": dist.Normal(0.0, 2.0), "out.kernel": dist.Laplace(0.0, 1.0)}

    def model(x: Any, y: Any = None) -> None:
        net = random_nnx_module("net", module, prior)
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(net(x), 0.5), obs=y)

    sites = trace(seed(model, KEY)).get_trace(X, Y)
    latents = ["net/layers.0.bias", "net/layers.0.kernel", "net/out.kernel"]
    assert list(sites) == ["net$params", *latents, "rows", "y"]
    values = {name: sites[name].value for name in latents}
    drawn = get_module("net", module, {"net$params": sites["net$params"].value}, latents=values)
    close(sites["y"].fn.loc, drawn(X))
    fit = SVI(model, AutoNormal(model), 0.01).run(KEY, 20, X, Y, num_chains=2, progress_bar=False)
    assert np.isfinite(fit.losses).all()
    mean = get_module("net", module, fit.best(), latents=fit.best().posterior.mean(10))
    assert isinstance(mean, Plain) and mean(X).shape == (6,)
    start = initial_values("net", module, prior)
    np.testing.assert_array_equal(start["net/out.kernel"], module.out.kernel.get_value())
    assert "out.kernel       (4, 1)  Laplace(0, 1)  out.kernel" in prior_table(module, prior)


@pytest.mark.filterwarnings("ignore:Using .Module.sow:DeprecationWarning")
def test_what_a_module_makes_when_called() -> None:
    from nnx_networks import Growing

    program = trace(lambda: nnx_module("net", Growing(False))(jnp.ones(())))
    sites = program.get_trace()
    assert sites["net$state"].value == {"calls": 1.0}
    with pytest.raises(ModelError) as error:
        nnx_module("net", Growing(True))(jnp.ones(()))
    assert str(error.value) == (
        "program network 'net': a call makes new variables.\n"
        "  expected: those that it had, ['calls']\n"
        "  got:      ['later']\n"
        "  fix:      make them where the module is made, so that they can be carried from step to step."
    )


def test_what_is_no_module() -> None:
    from nnx_networks import Plain

    with pytest.raises(ArgumentError) as error:
        nnx_module("net", lambda x: x)
    assert str(error.value) == (
        "program network 'net': this is no module of flax nnx.\n"
        "  expected: an instance of nnx.Module\n"
        "  got:      builtins.function\n"
        "  fix:      make it: Net(..., rngs=nnx.Rngs(0)); for linen use flax_module, for equinox eqx_module."
    )
    with pytest.raises(ArgumentError, match=r"got:      <class 'nnx_networks\.Plain'>"):
        nnx_module("net", Plain)
