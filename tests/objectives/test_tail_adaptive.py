"""The tail-adaptive gradient: weights by descending rank of p/q, derivatives through the draws."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, DerivativeError, ModelError
from svijax.guides import AutoNormal
from svijax.handlers import estimator
from svijax.objectives import PathDerivative, TraceTailAdaptive_ELBO
from svijax.objectives._tail_adaptive import tail_weights

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal = dist.Normal


def at(**values: Any) -> Any:
    return {name: jnp.asarray(value, float) for name, value in values.items()}


def pair() -> tuple[Any, Any]:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, param("noise", 1.0)), obs=2.0)

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), param("s", 1.0)))

    return model, guide


def test_the_largest_ratio_gets_the_largest_weight() -> None:
    got = tail_weights(jnp.array([3.0, 1.0, 2.0]), -1.0)
    np.testing.assert_allclose(got, np.array([1, 1 / 3, 1 / 2]) / (1 + 1 / 3 + 1 / 2), rtol=1e-6)
    np.testing.assert_allclose(tail_weights(jnp.array([3.0, 1.0, 2.0]), 0.0), 1 / 3, rtol=1e-6)
    # Equal ratios share the count of all that are as large.
    np.testing.assert_allclose(tail_weights(jnp.array([1.0, 1.0]), -1.0), 0.5)
    got = tail_weights(jnp.array([1.0, 2.0, 1.0]), -2.0)
    np.testing.assert_allclose(got, np.array([1 / 9, 1, 1 / 9]) / (1 + 2 / 9), rtol=1e-6)


@pytest.mark.parametrize("beta", [-1.0, -0.5, 0.0])
def test_value_and_gradient(x64: None, beta: float) -> None:
    key, params = jax.random.key(0), at(m=0.3, s=0.8, noise=1.3)
    objective = TraceTailAdaptive_ELBO(4, tail_adaptive_beta=beta)
    loss, got = jax.jit(jax.value_and_grad(lambda p: objective.loss(key, p, *pair())))(params)
    noise = np.asarray(
        svijax.density.draw(key, svijax.density.noise_layout(pair()[1], (), {}), 4).normal[:, 0]
    )
    z = 0.3 + 0.8 * noise
    normal = lambda x, s: -0.5 * (x / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)  # noqa: E731
    log_w = normal(z, 1.0) + normal(2 - z, 1.3) - normal(0.8 * noise, 0.8)
    np.testing.assert_allclose(loss, -log_w.mean(), rtol=1e-10)
    rank = np.array([np.sum(log_w >= w) for w in log_w])
    gamma = rank**beta / np.sum(rank**beta)
    slope = -z + (2 - z) / 1.3**2 + noise / 0.8
    want = {
        "m": -np.sum(gamma * slope),
        "s": -np.sum(gamma * slope * noise),
        "noise": -np.sum(gamma * ((2 - z) ** 2 / 1.3**3 - 1 / 1.3)),
    }
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-10)


def test_weights_that_do_not_matter_leave_the_path_derivative(x64: None) -> None:
    key, params = jax.random.key(0), at(m=0.3, s=0.8, noise=1.3)
    got = jax.grad(TraceTailAdaptive_ELBO(4, tail_adaptive_beta=0.0).loss, 1)(key, params, *pair())
    want = jax.grad(Trace_ELBO(4, estimator=PathDerivative()).loss, 1)(key, params, *pair())
    for name in got:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-10)


def test_it_covers_heavy_tails() -> None:
    """A normal for a Student with three degrees of freedom: wider than the ELBO's."""

    def model() -> None:
        sample("z", dist.StudentT(3.0, 0.0, 1.0))

    def guide() -> None:
        sample("z", Normal(param("m", 0.1), param("s", 1.0, constraint=dist.constraints.positive)))

    found = []
    for objective in (Trace_ELBO(32), TraceTailAdaptive_ELBO(32)):
        svi = SVI(model, guide, optax.adam(0.02), objective)
        found.append(float(svi.run(jax.random.key(0), 500, progress_bar=False).params["s"]))
    assert found[0] > 1.0 and found[1] > 1.15 * found[0], found


@pytest.mark.slow
def test_in_fits_and_chains() -> None:
    svi = SVI(pair()[0], AutoNormal(pair()[0]), optax.adam(0.02), TraceTailAdaptive_ELBO(4))
    state = svi.init(jax.random.key(0))
    loss = svi.evaluate(state)
    np.testing.assert_allclose(svi.update(state)[1], loss, rtol=1e-6)
    chains = svi.run(jax.random.key(0), 30, num_chains=2, progress_bar=False)
    assert chains.losses.shape == (2, 30) and np.isfinite(chains.losses).all()
    key = jax.random.key(0)
    options = [{}, {"vectorize_particles": False}, {"particle_batch": 2}, {"remat": True}]
    params = at(m=0.3, s=0.8, noise=1.3)
    losses = [
        jax.jit(jax.value_and_grad(lambda p, o=o: TraceTailAdaptive_ELBO(4, **o).loss(key, p, *pair())))(
            params
        )
        for o in options
    ]
    for other in losses[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), other, losses[0])


def test_terms_and_state_are_reported() -> None:
    def model() -> None:
        held = svijax.mutable("count", {"x": jnp.zeros(())})
        z = sample("z", Normal(0.0, 1.0))
        held["x"] = held["x"] + z

    key, guide = jax.random.key(0), pair()[1]
    found = TraceTailAdaptive_ELBO(3).evaluate(key, at(m=0.3, s=0.8), model, guide)
    noise = svijax.density.draw(key, svijax.density.noise_layout(guide, (), {}), 3).normal
    np.testing.assert_allclose(found.mutable["count"]["x"], 0.3 + 0.8 * noise[0, 0], rtol=1e-6)
    np.testing.assert_allclose(found.loss, found.log_q["z"] - found.log_p["z"], rtol=1e-5)


def test_a_flat_tail_weighs_less_than_importance() -> None:
    weights = tail_weights(jnp.linspace(0.0, 50.0, 10), -1.0)
    assert math.isclose(float(weights.sum()), 1.0, rel_tol=1e-6) and float(weights.max()) < 0.4


def refused(model: Any, guide: Any) -> str:
    with pytest.raises(ModelError) as error:
        SVI(model, guide, 1e-3, TraceTailAdaptive_ELBO(2)).run(jax.random.key(0), 2, progress_bar=False)
    return str(error.value)


def test_what_cannot_be() -> None:
    with pytest.raises(ArgumentError, match="num_particles of 2 or more"):
        TraceTailAdaptive_ELBO(1)
    with pytest.raises(ArgumentError, match="tail_adaptive_beta must be a number"):
        TraceTailAdaptive_ELBO(2, tail_adaptive_beta=float("nan"))

    def discrete() -> None:
        sample("z", Normal(0.0, 1.0).has_rsample_(False))

    text = refused(pair()[0], discrete)
    assert "guide site 'z'" in text and "TraceTailAdaptive_ELBO has no other way" in text

    def rows(guide: bool) -> Any:
        def run() -> None:
            with plate("data", 4, 2):
                sample("z", Normal(param("m", 0.0) if guide else 0.0, 1.0))

        return run

    text = refused(rows(False), rows(True))
    assert "TraceTailAdaptive_ELBO: plate 'data' subsamples" in text and "use Trace_ELBO" in text
    text = refused(pair()[0], estimator(pair()[1], estimator=PathDerivative()))
    assert "TraceTailAdaptive_ELBO has a gradient of its own" in text
    loss = lambda p: TraceTailAdaptive_ELBO(2).loss(jax.random.key(0), p, *pair())  # noqa: E731
    with pytest.raises(DerivativeError, match="no second derivative"):
        jax.eval_shape(jax.hessian(loss), at(m=0.3, s=0.8, noise=1.3))
