"""Σ over an epoch of (rows / N) · gradient of the minibatch = the gradient of all data, to rounding.

The noise of a row goes with the row: where draws come from noise it is cut from one vector, and draws by key are those
of latents that no row has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO
from svijax.density import Draws, noise_layout
from svijax.distributions import constraints
from svijax.fitting._order import rows_of
from svijax.guides import AutoDelta, AutoNormal, Particles
from svijax.handlers import batch, config_enumerate, supply
from svijax.objectives import (
    SVGD,
    DReG,
    ImportanceWeightedELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)

N, SIZE, DIMS = 10, 4, 2
RNG = np.random.default_rng(7)
X = RNG.normal(size=(N, DIMS)).astype(np.float32)
Y = (X @ np.array([1.0, -0.5]) + RNG.normal(size=N)).astype(np.float32)
KEY = jax.random.key(3)


def hierarchy(x: Any, y: Any) -> None:
    """Global, local and observed sites, and a parameter of the model."""
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    noise = svijax.param("noise", 0.8, constraint=constraints.positive)
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Normal(mu, 1.5))
        svijax.sample("y", dist.Normal(z + x[:, 0], noise), obs=y)


def amortised(x: Any, y: Any) -> None:
    svijax.sample("mu", dist.Normal(svijax.param("m", 0.3), 0.5))
    encode = svijax.param("encode", jnp.array([0.4, -0.2]))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("z", dist.Normal(encode[0] * y + encode[1], 0.7))


def rows_only(x: Any, y: Any) -> None:
    """Every site in the plate: problems to be weighed apart."""
    noise = svijax.param("noise", 0.8, constraint=constraints.positive)
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Normal(0.0, 1.5))
        svijax.sample("y", dist.Normal(z + x[:, 0], noise), obs=y)


def rows_guide(x: Any, y: Any) -> None:
    encode = svijax.param("encode", jnp.array([0.4, -0.2]))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("z", dist.Normal(encode[0] * y + encode[1], 0.7))


def doubly_guide(x: Any, y: Any) -> None:
    encode = svijax.param("encode", jnp.array([0.4, -0.2]))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("z", dist.Normal(encode[0] * y + encode[1], 0.7), infer={"estimator": DReG()})


def switched(x: Any, y: Any) -> None:
    """One discrete latent for all rows."""
    s = svijax.sample("s", dist.Bernoulli(0.4))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(svijax.param("shift", 0.7) * s, 1.0), obs=y)


def switch_guide(x: Any, y: Any) -> None:
    svijax.sample("s", dist.Bernoulli(logits=svijax.param("logit", 0.3)))


def mixture(x: Any, y: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    loc = svijax.param("loc", jnp.array([-1.0, 1.0]))
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Categorical(jnp.array([0.3, 0.7])))
        svijax.sample("y", dist.Normal(mu + loc[z], 1.0), obs=y)


def mixture_guide(x: Any, y: Any) -> None:
    svijax.sample("mu", dist.Normal(svijax.param("m", 0.3), 0.5))


def chain(x: Any, y: Any) -> None:
    """A hidden Markov chain in each row."""
    loc = svijax.param("loc", jnp.array([-1.0, 1.0]))
    walk = jnp.array([[0.8, 0.2], [0.3, 0.7]])
    with svijax.plate("data", x.shape[0]):

        def step(z: Any, seen: Any) -> Any:
            z = svijax.sample("z", dist.Categorical(walk[z]))
            svijax.sample("x", dist.Normal(loc[z], 1.0), obs=seen)
            return z, None

        svijax.scan(step, jnp.zeros(x.shape[0], int), x.T)


def nothing(x: Any, y: Any) -> None:
    """The guide of what is all summed out."""


TABLES = {"z_auto_loc": jnp.linspace(-1.0, 1.0, N), "z_auto_scale": jnp.linspace(0.3, 0.9, N)}
TABLES |= {"mu_auto_loc": jnp.array(0.3), "mu_auto_scale": jnp.array(0.5), "noise": jnp.array(0.8)}
LOCALS = {name: TABLES[name] for name in ("z_auto_loc", "z_auto_scale", "noise")}
ENCODE = {"encode": jnp.array([0.4, -0.2]), "noise": jnp.array(0.8)}
AMORTISED = {**ENCODE, "m": jnp.array(0.3)}
MIXTURE = {"loc": jnp.array([-1.0, 1.0]), "m": jnp.array(0.3)}
SWITCH = {"shift": jnp.array(0.7), "logit": jnp.array(2.0)}
POINTS = {"mu_auto_loc": jnp.linspace(-1.0, 1.0, 3), "noise": jnp.array(0.8)}


def points(x: Any, y: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, svijax.param("noise", 0.8)), obs=y)


@dataclass(frozen=True)
class Case:
    """``shared``: how many numbers of the noise belong to no row."""

    objective: Any
    model: Callable[..., Any]
    guide: Any
    params: dict[str, Any]
    shared: int = 1


K = 3
CASES = {
    "Trace, tables": Case(Trace_ELBO(num_particles=2), hierarchy, AutoNormal(hierarchy), TABLES),
    "Trace, amortised": Case(Trace_ELBO(), hierarchy, amortised, AMORTISED),
    "MeanField, tables": Case(TraceMeanField_ELBO(), hierarchy, AutoNormal(hierarchy), TABLES),
    "MeanField, amortised": Case(TraceMeanField_ELBO(), hierarchy, amortised, AMORTISED),
    "Graph, tables": Case(TraceGraph_ELBO(), hierarchy, AutoNormal(hierarchy), TABLES),
    "Trace, score": Case(Trace_ELBO(num_particles=2), switched, switch_guide, SWITCH),
    "Graph, score": Case(TraceGraph_ELBO(), switched, switch_guide, SWITCH),
    "Enum, mixture": Case(TraceEnum_ELBO(), config_enumerate(mixture), mixture_guide, MIXTURE),
    "Enum, chain": Case(TraceEnum_ELBO(), config_enumerate(chain), nothing, {"loc": MIXTURE["loc"]}, 0),
    "Renyi, tables": Case(RenyiELBO(0.5, num_particles=K), rows_only, AutoNormal(rows_only), LOCALS, 0),
    "Renyi, amortised": Case(RenyiELBO(2.0, num_particles=K), rows_only, rows_guide, ENCODE, 0),
    "IWAE, amortised": Case(ImportanceWeightedELBO(num_particles=K), rows_only, rows_guide, ENCODE, 0),
    "IWAE, DReG": Case(ImportanceWeightedELBO(num_particles=K), rows_only, doubly_guide, ENCODE, 0),
    "RWS, amortised": Case(
        ReweightedWakeSleep(num_particles=K, insomnia=1.0), rows_only, rows_guide, ENCODE, 0
    ),
    "SVGD": Case(SVGD(), points, Particles(AutoDelta(points), 3, shared=["noise"]), POINTS, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_epoch_of_minibatches_has_the_gradient_of_all_data(name):
    case = CASES[name]
    count = case.objective.count if hasattr(case.objective, "count") else 1
    noise = np.random.default_rng(1).normal(size=(count, case.shared + N)).astype(np.float32)
    rows, valid = rows_of(KEY, 3, 3, N, SIZE)
    whole = jax.jit(jax.value_and_grad(lambda p: _loss(case, p, X, Y, noise, lambda program: program)))
    part = jax.jit(jax.value_and_grad(lambda p, rows, count: _part(case, p, noise, rows, count)))
    want_loss, want = whole(case.params)
    loss, gradient = 0.0, jax.tree.map(jnp.zeros_like, case.params)
    for i in range(3):
        found_loss, found = part(case.params, rows[i], valid[i])
        weight = float(valid[i]) / N
        loss += weight * found_loss
        gradient = jax.tree.map(lambda a, b, w=weight: a + w * b, gradient, found)
    assert list(valid) == [4, 4, 2]
    np.testing.assert_allclose(loss, want_loss, rtol=2e-5)
    size = max(np.abs(x).max() for x in want.values())
    assert size > 0.1
    for key in want:
        np.testing.assert_allclose(gradient[key], want[key], rtol=1e-4, atol=1e-5 * size)


def _part(case: Case, params: Any, noise: Any, rows: Any, count: Any) -> Any:
    noise = jnp.asarray(noise)
    own = jnp.concatenate([noise[:, : case.shared], noise[:, case.shared :][:, rows]], axis=1)
    return _loss(
        case,
        params,
        jnp.asarray(X)[rows],
        jnp.asarray(Y)[rows],
        own,
        lambda p: batch(p, "data", N, rows, count),
    )


def _loss(case: Case, params: Any, x: Any, y: Any, noise: Any, bind: Any) -> Any:
    x, y = jnp.asarray(x), jnp.asarray(y)
    model, guide = (supply(bind(p), params) for p in (case.model, case.guide))
    layout = noise_layout(guide, (x, y), {})
    normal = jnp.asarray(noise)[:, : layout.size("normal")]
    draws = Draws(normal, jnp.zeros((len(noise), 0)), KEY)
    return case.objective.from_draws(draws, model, guide, (x, y), {}, {}, layout).loss


def test_the_plain_mean_over_all_orders_is_the_gradient_of_all_data():
    """Each step is unbiased by itself, the short one too."""
    case = CASES["Trace, amortised"]
    noise = np.zeros((1, 1 + N), np.float32)
    whole = jax.grad(lambda p: _loss(case, p, X, Y, noise, lambda program: program))(case.params)
    starts = np.arange(N)
    short = np.stack([starts, (starts + 1) % N, starts, starts], 1)  # every pair of neighbours on the circle
    one = jax.jit(jax.vmap(jax.grad(lambda p, rows: _part(case, p, noise, rows, 2)), (None, 0)))
    mean = jax.tree.map(lambda g: g.mean(0), one(case.params, short))
    for key in whole:
        np.testing.assert_allclose(mean[key], whole[key], rtol=1e-4, atol=1e-5)


def test_leaving_the_count_out_would_be_wrong():
    """So that the tests above can fail."""
    case = CASES["Trace, amortised"]
    noise = np.zeros((1, 1 + N), np.float32)
    rows = jnp.array([1, 2, 3, 1])
    short, long = (_part(case, case.params, noise, rows, count) for count in (3, None))
    assert abs(float(short - long)) > 1e-2
