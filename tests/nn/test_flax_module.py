"""Networks of flax linen in programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regressions import KEY, X, Y, close, dropped, loss, loss_and_gradient, plain, state_of_four_particles

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import ArgumentError, MissingKeyError
from svijax.guides import AutoNormal
from svijax.handlers import seed, trace
from svijax.nn import flax_module, get_module, prior_table, random_flax_module

pytestmark = pytest.mark.interop


def test_forward_and_gradient_are_the_package_s_own() -> None:
    from linen_networks import Plain

    svi = plain(lambda: flax_module("net", Plain(), input_shape=(1, 3)))
    state = svi.init(KEY, X, Y)
    params = state.params["net$params"]
    assert set(params) == {"Dense_0", "Dense_1"}
    value, gradient = loss_and_gradient(svi, state)
    expected, own = jax.value_and_grad(lambda p: loss(Plain().apply({"params": p}, X)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    close(gradient["net$params"], own)


def test_the_start_is_the_package_s_own_by_arguments_or_by_shape() -> None:
    from linen_networks import Plain

    key = svijax.base.site_key(KEY, "net$params")
    own = Plain().init(key, X)["params"]
    with seed(rng_seed=KEY):
        close(flax_module("net", Plain(), X).params, own, 1e-6)
        close(flax_module("net", Plain(), input_shape=(1, 3)).params, own, 1e-6)
    with pytest.raises(MissingKeyError, match=r"param 'net\$params' starts from a function of a random key"):
        flax_module("net", Plain(), X)


def test_statistics_move_as_the_package_moves_them() -> None:
    from linen_networks import Normed

    def net() -> Any:
        return flax_module("net", Normed(), input_shape=(1, 3), mutable=["batch_stats"])

    svi = plain(net)
    start = svi.init(KEY, X, Y)
    with jax.checking_leaks():
        fit = svi.run(KEY, 1, X, Y, num_chains=2, progress_bar=False)

    def moved(params: Any, x: Any) -> Any:
        variables = {"params": params["net$params"], **start.mutable["net$state"]}
        return Normed().apply(variables, x, mutable=["batch_stats"])[1]

    firsts = svi.init(jax.random.split(KEY, 2)[1], X, Y)
    close(fit.chain(1).state.mutable["net$state"], moved(firsts.params, X), 1e-6)
    inputs, after = state_of_four_particles(net, start.params, dict(start.mutable))
    close(after["net$state"], moved(start.params, inputs), 1e-6)


def test_the_fitted_module_and_its_evaluation_mode() -> None:
    from linen_networks import Normed

    def model(x: Any, y: Any = None, train: bool = True) -> None:
        net = flax_module("net", Normed(), input_shape=(1, 3), mutable=["batch_stats"])
        mean = svijax.deterministic("mean", net(x, train=train))
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(mean, 0.5), obs=y)

    fit = SVI(model, lambda x, y=None, train=True: None, 0.02).run(KEY, 30, X, Y, progress_bar=False)
    fitted = get_module("net", Normed(), fit)
    predict = svijax.Predictive(model, params={**fit.params, **fit.state.mutable}, num_samples=1)
    close(predict(KEY, X[:2], train=False)["mean"][0], fitted(X[:2], train=False))
    module, variables = fitted.unbind()
    assert isinstance(module, Normed)
    close(variables, {"params": fit.params["net$params"], **fit.state.mutable["net$state"]})


def test_dropout_differs_by_step_and_key_and_is_reproducible() -> None:
    from linen_networks import Dropped

    def net() -> Any:
        return flax_module("net", Dropped(), input_shape=(1, 3), apply_rng=["dropout"])

    losses, _ = dropped(net)
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len({*losses[0], *losses[2]}) == 4

    def program() -> Any:
        own = net()
        x = jnp.ones(64)
        return own(x), own(x), own(x, rngs={"dropout": KEY}), own(x, train=False)

    first, second, given, whole = seed(program, KEY)()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(
        given, Dropped().apply({"params": {"scale": 1.0}}, jnp.ones(64), rngs={"dropout": KEY})
    )
    np.testing.assert_array_equal(whole, 1)


def test_priors_by_pattern() -> None:
    from linen_networks import Normed

    prior = {"Dense_?.kernel": dist.Normal(0.0, 2.0)}
    options: Any = {"input_shape": (1, 3), "mutable": ["batch_stats"]}

    def model(x: Any, y: Any = None) -> None:
        net = random_flax_module("net", Normed(), prior, **options)
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(net(x), 0.5), obs=y)

    sites = trace(seed(model, KEY)).get_trace(X, Y)
    latents = ["net/Dense_0.kernel", "net/Dense_1.kernel"]
    assert list(sites) == ["net$params", *latents, "net$state", "rows", "y"]
    values = {name: sites[name].value for name in latents}
    sources = {"net$params": sites["net$params"].value, "net$state": sites["net$state"].start}
    drawn = get_module("net", Normed(), sources, latents=values)
    close(sites["y"].fn.loc, _training(drawn))
    fit = SVI(model, AutoNormal(model), 0.01).run(KEY, 20, X, Y, progress_bar=False)
    assert np.isfinite(fit.losses).all()
    assert "Dense_0.kernel     (3, 4)  Normal(0, 2)  Dense_?.kernel" in prior_table(
        Normed(), prior, **options
    )


def _training(bound: Any) -> Any:
    """The output of a bound module in training."""
    module, variables = bound.unbind()
    return module.apply(variables, X, mutable=["batch_stats"])[0]


def test_refused() -> None:
    from linen_networks import Normed, Plain

    with seed(rng_seed=KEY):
        with pytest.raises(ArgumentError) as error:
            flax_module("net", Normed(), input_shape=(1, 3))
        assert str(error.value) == (
            "program network 'net': mutable= does not name the collections that the module has besides its "
            "parameters.\n"
            "  expected: ['batch_stats']\n"
            "  got:      []\n"
            "  fix:      pass mutable=['batch_stats']."
        )
        with pytest.raises(ArgumentError, match=r"expected: \[\][\s\S]*leave mutable= out"):
            flax_module("net", Plain(), input_shape=(1, 3), mutable=["batch_stats"])
        with pytest.raises(
            ArgumentError, match=r"apply_rng= is a list of names[\s\S]*apply_rng=\['dropout'\]"
        ):
            flax_module("net", Plain(), input_shape=(1, 3), apply_rng="dropout")
        with pytest.raises(ArgumentError, match="this is no module of flax linen"):
            flax_module("net", Plain, input_shape=(1, 3))
