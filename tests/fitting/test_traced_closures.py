"""Hyperparameters that a program or an optimiser closes over may be traced: sweeps are one vmap."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import captured, reads_tracer
from svijax.guides import AutoNormal

Y = np.arange(4, dtype=np.float32)


def model(y: Any, scale: Any = 1.0) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
    with svijax.plate("n", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, scale), obs=y)


def test_rates_of_the_optimiser_can_be_vmapped() -> None:
    def fit(rate: Any) -> Any:
        svi = SVI(model, AutoNormal(model), optax.adam(rate))
        return svi.run(jax.random.key(0), 50, Y).losses

    rates = jnp.array([0.001, 0.1])
    losses = jax.vmap(fit)(rates)
    for row, rate in zip(losses, rates):
        single = SVI(model, AutoNormal(model), optax.adam(float(rate))).run(
            jax.random.key(0), 50, Y, progress_bar=False
        )
        np.testing.assert_allclose(row, single.losses, rtol=2e-4)


def test_values_that_the_model_closes_over_can_be_vmapped() -> None:
    def fit(scale: Any) -> Any:
        def closed(y: Any) -> None:
            model(y, scale)

        return SVI(closed, AutoNormal(closed), 0.05).run(jax.random.key(0), 30, Y).losses[-1]

    losses = jax.vmap(fit)(jnp.array([1.0, 2.0]))
    assert losses.shape == (2,) and abs(losses[0] - losses[1]) > 0.1


def test_a_zero_dim_array_is_a_rate() -> None:
    for rate in (jnp.float32(0.05), np.float64(0.05), jnp.asarray(0.05)):
        fit = SVI(model, AutoNormal(model), rate).run(jax.random.key(0), 10, Y, progress_bar=False)
        assert fit.losses.shape == (10,)


def test_only_closures_are_searched_for_tracers() -> None:
    assert not reads_tracer(model, optax.adam(0.1))
    seen = []
    jax.vmap(lambda rate: seen.append(reads_tracer(optax.adam(rate))) or rate)(jnp.ones(2))
    assert seen == [True]


def test_rebound_scalars_and_arrays_change_the_key_and_equal_ones_do_not() -> None:
    array = np.ones(3)

    offset = np.float32(1.0)

    def program() -> Any:
        return array + offset

    before = captured(program)[0]
    assert captured(program)[0] == before
    array = np.ones(3)
    assert captured(program)[0] != before
