"""Networks of equinox in programs."""

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
from svijax.base import ArgumentError, ModelError
from svijax.guides import AutoNormal
from svijax.handlers import seed, trace
from svijax.nn import StatefulModule, eqx_module, get_module, initial_values, prior_table, random_eqx_module

pytestmark = pytest.mark.interop


def test_forward_and_gradient_are_the_package_s_own() -> None:
    import equinox as eqx
    from eqx_networks import Plain

    module = Plain(KEY)
    svi = plain(lambda: jax.vmap(eqx_module("net", module)))
    state = svi.init(KEY, X, Y)
    assert set(state.params["net$params"]) == {"layers"}
    value, gradient = loss_and_gradient(svi, state)
    expected, own = eqx.filter_value_and_grad(lambda module: loss(jax.vmap(module)(X)))(module)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for i in (0, 1):
        close(gradient["net$params"]["layers"][str(i)]["weight"], own.layers[i].weight)
        close(gradient["net$params"]["layers"][str(i)]["bias"], own.layers[i].bias)


@pytest.mark.parametrize("inside", [False, True])
def test_a_module_made_outside_and_one_made_at_each_run(inside: bool) -> None:
    import equinox as eqx
    from eqx_networks import Normed

    outside = eqx.nn.make_with_state(Normed)(KEY)

    def net() -> Any:
        parts = eqx.nn.make_with_state(Normed)(svijax.prng_key()) if inside else outside
        return eqx_module("net", *parts)

    svi = plain(net)
    with jax.checking_leaks():
        fit = svi.run(KEY, 100, X, Y, num_chains=2, progress_bar=False)
    assert (fit.losses[0, 0] != fit.losses[1, 0]) == inside
    assert (fit.losses[:, -1] < fit.losses[:, 0]).all()


def test_statistics_move_as_the_package_moves_them() -> None:
    import equinox as eqx
    from eqx_networks import Normed

    module, start = eqx.nn.make_with_state(Normed)(KEY)
    over_rows = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))

    def fresh() -> Any:
        return jax.tree.map(jnp.asarray, start)

    svi = plain(lambda: eqx_module("net", module, start))
    fit = svi.run(KEY, 1, X, Y, progress_bar=False)
    outputs, moved = over_rows(X, fresh())
    np.testing.assert_allclose(fit.losses[0], loss(outputs), rtol=1e-5)
    fitted, after = get_module("net", module, fit, state=start)
    assert isinstance(fitted, Normed)
    close(after, moved, 1e-6)
    assert not np.array_equal(fitted.first.weight, module.first.weight)
    first = svi.init(KEY, X, Y)
    inputs, states = state_of_four_particles(
        lambda: eqx_module("net", module, start), first.params, dict(first.mutable)
    )
    close(list(states["net$state"].values()), jax.tree.leaves(over_rows(inputs, fresh())[1]), 1e-6)


def test_the_state_by_hand_and_by_call() -> None:
    import equinox as eqx
    from eqx_networks import Normed

    module, start = eqx.nn.make_with_state(Normed)(KEY)

    def by_hand() -> None:
        net = eqx_module("net", module, start)
        assert isinstance(net, StatefulModule)
        over_rows = jax.vmap(net.module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        for _ in range(2):
            _, after = over_rows(X, net.state)
            net.keep(after)

    def by_call() -> None:
        net = eqx_module("net", module, start)
        net(X)
        net(X)

    states = [trace(program).get_trace()["net$state"].value for program in (by_hand, by_call)]
    close(states[0], states[1], 1e-6)
    assert states[0]["0"] == 2
    with pytest.raises(ModelError, match="network 'net': its state changed its entries or their shapes"):
        eqx_module("net", module, start).keep({"mean": jnp.zeros(())})


def test_dropout_differs_by_step_row_and_key_and_is_reproducible() -> None:
    import equinox as eqx
    from eqx_networks import Normed

    def net() -> Any:
        own = eqx_module("net", eqx.nn.Dropout(0.5))
        return lambda x: own(x, key=svijax.prng_key())

    losses, _ = dropped(net)
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len({*losses[0], *losses[2]}) == 4
    module, start = eqx.nn.make_with_state(Normed)(KEY, rate=0.5)
    module = eqx.tree_at(lambda m: m.norm.bias, module, jnp.ones(4))
    same = jnp.zeros((40, 3))
    with seed(rng_seed=KEY):
        outputs = eqx_module("net", module, start)(same, key=svijax.prng_key())
    assert len(set(np.asarray(outputs).round(4).tolist())) > 5


def test_priors_by_pattern() -> None:
    from eqx_networks import Plain

    module = Plain(KEY)
    prior = {"layers.1.*": dist.Normal(0.0, 2.0), "*.weight": dist.Laplace(0.0, 1.0)}

    def model(x: Any, y: Any = None) -> None:
        net = random_eqx_module("net", module, prior)
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(jax.vmap(net)(x), 0.5), obs=y)

    sites = trace(seed(model, KEY)).get_trace(X, Y)
    latents = ["net/layers.0.weight", "net/layers.1.bias", "net/layers.1.weight"]
    assert list(sites) == ["net$params", *latents, "rows", "y"]
    values = {name: sites[name].value for name in latents}
    drawn = get_module("net", module, {"net$params": sites["net$params"].value}, latents=values)
    close(sites["y"].fn.loc, jax.vmap(drawn)(X))
    fit = SVI(model, AutoNormal(model), 0.01).run(KEY, 20, X, Y, progress_bar=False)
    assert np.isfinite(fit.losses).all()
    assert list(initial_values("net", module, prior)) == latents
    assert "layers.1.bias    (1,)    Normal(0, 2)   layers.1.*" in prior_table(module, prior)


def test_refused() -> None:
    import equinox as eqx
    from eqx_networks import Normed, Plain

    with_state, start = eqx.nn.make_with_state(Normed)(KEY)
    for module, state in ((with_state, None), (Normed(KEY), None), (Normed(KEY), start)):
        with pytest.raises(ArgumentError) as error:
            eqx_module("net", module, state)
        assert str(error.value) == (
            "program network 'net': the module has a state and none is given.\n"
            "  fix:      module, state = eqx.nn.make_with_state(Net)(...), then eqx_module(name, module, state)."
        )
    with pytest.raises(ArgumentError, match="a state is given and the module has none"):
        eqx_module("net", Plain(KEY), start)
    with pytest.raises(
        ArgumentError, match=r"this is no module of equinox[\s\S]*<class 'eqx_networks.Plain'>"
    ):
        eqx_module("net", Plain)
