"""Variances of gradients, exactly: over all draws of all particles, or against a formula by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import Expectation, enumerated, evaluate_at, expected_derivative, gauss_hermite

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO, gradient_report
from svijax.density import Antithetic, PlainNoise, Sobol
from svijax.handlers import estimator
from svijax.objectives import (
    ClosedFormEntropy,
    Learned,
    LeaveOneOut,
    NoBaseline,
    PathDerivative,
    Pathwise,
    RunningMean,
    ScoreFunction,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Bernoulli, Normal = dist.Bernoulli, dist.Normal

PLAIN, OTHERS = ScoreFunction(NoBaseline()), ScoreFunction(LeaveOneOut())


def variance(objective: Any, case: Expectation, params: Any) -> dict[str, float]:
    """Σ over the elements of the exact variance of the gradient, by parameter."""
    mean = expected_derivative(objective, case, params)[1]

    def squared(loss: Any) -> Any:
        return lambda p: jax.tree.map(jnp.square, jax.grad(loss)(p))

    square = expected_derivative(objective, case, params, squared)[1]
    return {n: float(np.sum(np.asarray(square[n] - mean[n] ** 2))) for n in mean}


# One coin, by hand

A, PRIOR, CONSTANT = 0.4, 0.3, 2.5
Q = 1 / (1 + np.exp(-A))
CHANCE = np.array([1 - Q, Q])
SCORE = np.array([-Q, 1 - Q])
LOSS = np.log(CHANCE) - np.log([1 - PRIOR, PRIOR]) - CONSTANT


def coin(guide_estimator: Any = None) -> Expectation:
    def model() -> None:
        sample("z", Bernoulli(PRIOR))
        svijax.factor("constant", CONSTANT)

    def guide() -> None:
        logits = param("a", A)
        with estimator(estimator=guide_estimator):
            sample("z", Bernoulli(logits=logits))

    return Expectation(model, guide, enumerated({"z": ()}))


def spread(values: Any, weights: Any) -> float:
    return float(np.sum(weights * values**2) - np.sum(weights * values) ** 2)


def alone(baseline: float = 0.0) -> float:
    """Var[(f − b) s]: the derivative of log q at the draw itself is left out."""
    return spread((LOSS - baseline) * SCORE, CHANCE)


def test_a_coin_without_baseline(x64: None) -> None:
    one = variance(Trace_ELBO(estimator=PLAIN), coin(), {"a": A})["a"]
    np.testing.assert_allclose(one, alone(), rtol=1e-10)
    two = variance(Trace_ELBO(2, estimator=PLAIN), coin(), {"a": A})["a"]
    np.testing.assert_allclose(two, alone() / 2, rtol=1e-10)


def test_a_coin_and_the_other_one(x64: None) -> None:
    """½ Σ_k (f_k − f_j) s_k over the four pairs."""
    pairs = 0.5 * np.subtract.outer(LOSS, LOSS) * np.subtract.outer(SCORE, SCORE)
    want = spread(pairs, np.outer(CHANCE, CHANCE))
    got = variance(Trace_ELBO(2, estimator=OTHERS), coin(), {"a": A})["a"]
    np.testing.assert_allclose(got, want, rtol=1e-10)
    assert want < 0.6 * alone() / 2


def test_a_coin_and_a_learned_number(x64: None) -> None:
    case = coin(ScoreFunction(Learned(lambda: param("b", -2.0))))
    got = variance(Trace_ELBO(), case, {"a": A, "b": -2.0})["a"]
    np.testing.assert_allclose(got, alone(-2.0), rtol=1e-10)


def test_a_coin_and_what_came_before(x64: None) -> None:
    case, objective = coin(), Trace_ELBO(estimator=ScoreFunction(RunningMean()))
    state = {"z_baseline": {"total": jnp.array(-1.0), "weight": jnp.array(0.5)}}

    def gradient(z: int) -> float:
        def loss(a: Any) -> Any:
            points = [({"z": z}, {})]
            return evaluate_at(objective, case.model, case.guide, {"a": a}, points, mutable=state).loss

        return float(jax.grad(loss)(A))

    got = spread(np.array([gradient(0), gradient(1)]), CHANCE)
    np.testing.assert_allclose(got, alone(-2.0), rtol=1e-10)


def test_the_entropy_of_a_coin_in_closed_form(x64: None) -> None:
    """½ (c_1 − c_2) (s_1 − s_2), c = −log p(z): the entropy has no variance of its own."""
    cost = -np.log([1 - PRIOR, PRIOR])
    pairs = 0.5 * np.subtract.outer(cost, cost) * np.subtract.outer(SCORE, SCORE)
    got = variance(Trace_ELBO(2, estimator=ClosedFormEntropy()), coin(), {"a": A})["a"]
    np.testing.assert_allclose(got, spread(pairs, np.outer(CHANCE, CHANCE)), rtol=1e-10)


def test_pairs_of_coins_have_no_variance_at_the_posterior(x64: None) -> None:
    """f is then the same for every draw, masked and scaled or not: sticking the landing, for draws without a path."""

    def model() -> None:
        with svijax.handlers.scale(scale=2.5), plate("i", 2):
            z = sample("z", Bernoulli(PRIOR))
            sample("y", Normal(1.5 * z, 1.0), obs=np.array([0.4, 1.1]))

    def guide() -> None:
        with svijax.handlers.scale(scale=2.5), plate("i", 2):
            sample("z", Bernoulli(logits=param("u", jnp.zeros(2))))

    posterior = np.log(PRIOR / (1 - PRIOR)) + 1.5 * np.array([0.4, 1.1]) - 1.5**2 / 2
    case = Expectation(model, guide, enumerated({"z": (2,)}))
    got = variance(Trace_ELBO(2, estimator=OTHERS), case, {"u": jnp.asarray(posterior)})
    np.testing.assert_allclose(got["u"], 0.0, atol=1e-14)
    away = variance(Trace_ELBO(2, estimator=OTHERS), case, {"u": jnp.asarray(posterior + 0.3)})
    assert away["u"] > 1e-3


# Leave one out is below the plain score


def layer() -> tuple[Expectation, Any]:
    """Coins that one image is made of."""
    x, weights = np.array([1.0, 0.0, 1.0]), np.array([[1.0, -2.0, 0.5], [-1.0, 1.5, 2.0]])

    def model() -> None:
        z = sample("z", Bernoulli(0.4).expand([2]).to_event(1))
        with plate("pixels", 3):
            sample("x", Bernoulli(logits=z @ weights), obs=x)

    def guide() -> None:
        sample("z", Bernoulli(logits=param("u", np.zeros(2))).to_event(1))

    return Expectation(model, guide, enumerated({"z": (2,)})), {"u": jnp.array([0.5, -1.0])}


def counts() -> tuple[Expectation, Any]:
    """A count behind a count; beyond 20 the guide has 4e-13 left."""

    def model() -> None:
        z = sample("z", dist.Poisson(3.0))
        sample("y", dist.Poisson(0.5 * z + 0.2), obs=4)

    def guide() -> None:
        sample("z", dist.Poisson(jnp.exp(param("u", 0.0))))

    return Expectation(model, guide, enumerated({"z": ()}, 21)), {"u": jnp.array(0.9)}


def mixture() -> tuple[Expectation, Any]:
    """The components that two points come from."""
    means = np.array([-2.0, 0.0, 3.0])

    def model() -> None:
        with plate("points", 2):
            k = sample("k", dist.Categorical(probs=np.array([0.2, 0.5, 0.3])))
            sample("x", Normal(jnp.asarray(means)[k], 1.0), obs=np.array([-1.5, 1.2]))

    def guide() -> None:
        with plate("points", 2):
            sample("k", dist.Categorical(logits=param("u", np.zeros((2, 3)))))

    values = enumerated({"k": (2,)}, 3)
    return Expectation(model, guide, values), {"u": jnp.array([[0.3, 0.1, -0.2], [0.0, 0.2, 0.1]])}


@pytest.mark.parametrize("problem", [layer, counts, mixture])
def test_leave_one_out_is_below_the_plain_score(x64: None, problem: Any) -> None:
    case, params = problem()
    plain = variance(Trace_ELBO(2, estimator=PLAIN), case, params)
    others = variance(Trace_ELBO(2, estimator=OTHERS), case, params)
    assert all(others[n] < 0.95 * plain[n] for n in plain), (others, plain)


# A normal on a quadratic: L(z) = a z²/2 − b z, z = m + exp(u) e

SLOPE, SHIFT = 3.0, 1.2


def quadratic() -> Expectation:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        with plate("i", 2):
            sample("y", Normal(z, 1.0), obs=np.array([0.5, 0.7]))

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), jnp.exp(param("u", 0.0))))

    return Expectation(model, guide, gauss_hermite({"z": ()}, 6))


@pytest.mark.parametrize(("m", "u"), [(0.3, -0.2), (SHIFT / SLOPE, -0.5 * np.log(SLOPE))])
@pytest.mark.parametrize(
    ("chosen", "own"), [(Pathwise(), 0.0), (ClosedFormEntropy(), 0.0), (PathDerivative(), 1.0)], ids=str
)
def test_paths_of_a_normal(x64: None, chosen: Any, own: float, m: float, u: float) -> None:
    """Var of m: (a s − own/s)²; of u: s² c² + 2 (a s² − own)², c = a m − b; own = 1 where log q's path counts."""
    s, c = np.exp(u), SLOPE * m - SHIFT
    got = variance(Trace_ELBO(estimator=chosen), quadratic(), {"m": jnp.array(m), "u": jnp.array(u)})
    np.testing.assert_allclose(got["m"], (SLOPE * s - own / s) ** 2, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got["u"], s**2 * c**2 + 2 * (SLOPE * s**2 - own) ** 2, rtol=1e-10, atol=1e-12)


def landed(noise: float) -> float:
    """The largest entry of the path derivative at the posterior, for one draw."""
    case, params = quadratic(), {"m": jnp.array(SHIFT / SLOPE), "u": jnp.array(-0.5 * np.log(SLOPE))}
    objective, points = Trace_ELBO(estimator=PathDerivative()), [({}, {"z": jnp.asarray(noise)})]

    def loss(params: Any) -> Any:
        return evaluate_at(objective, case.model, case.guide, params, points).loss

    return max(abs(float(g)) for g in jax.grad(loss)(params).values())


def test_sticking_the_landing_draw_by_draw(x64: None) -> None:
    assert max(landed(e) for e in (-3.0, -0.4, 0.0, 1.7)) < 1e-14


def test_sticking_the_landing_to_the_rounding_of_single_precision() -> None:
    assert 0.0 < max(landed(e) for e in (-3.0, -0.4, 0.0, 1.7)) < 1e-5


# Noise


def linear_model() -> None:
    with svijax.handlers.mask(mask=False):
        z = sample("z", Normal(0.0, 1.0).expand([3]).to_event(1))
    svijax.factor("linear", z @ np.array([1.0, -2.0, 0.5]))


def smooth_model() -> None:
    z = sample("z", Normal(0.0, 1.0).expand([3]).to_event(1))
    sample("y", Normal(jnp.sin(z).sum(), 0.5), obs=0.4)


def three_normals() -> None:
    loc, scale = param("m", jnp.array([0.3, -0.2, 0.1])), jnp.exp(param("u", -jnp.ones(3)))
    sample("z", Normal(loc, scale).to_event(1))


def gradients(objective: Any, model: Any, count: int) -> dict[str, np.ndarray]:
    params = {"m": jnp.array([0.3, -0.2, 0.1]), "u": -jnp.ones(3)}

    def one(key: Any) -> Any:
        return jax.grad(lambda p: objective.loss(key, p, model, three_normals))(params)

    return {
        n: np.asarray(g)
        for n, g in jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)).items()
    }


@pytest.mark.parametrize("noise", [Antithetic(), PlainNoise()], ids=str)
def test_opposites_leave_no_variance_of_a_linear_integrand(x64: None, noise: Any) -> None:
    found = gradients(Trace_ELBO(2, noise=noise, estimator=ClosedFormEntropy()), linear_model, 20)
    np.testing.assert_allclose(found["m"], np.tile([-1.0, 2.0, -0.5], (20, 1)), rtol=1e-12)
    if noise == Antithetic():
        np.testing.assert_allclose(found["u"], -1.0, rtol=1e-12)
    else:
        assert found["u"].var(axis=0).min() > 1e-3


def test_a_net_lowers_the_variance() -> None:
    plain = gradients(Trace_ELBO(32), smooth_model, 400)
    net = gradients(Trace_ELBO(32, noise=Sobol()), smooth_model, 400)
    for name, factor in (("m", 0.2), ("u", 0.35)):
        assert net[name].var(axis=0).sum() < factor * plain[name].var(axis=0).sum(), name


@pytest.mark.slow
@pytest.mark.parametrize("noise", [Antithetic(), Sobol()], ids=str)
def test_other_noise_is_unbiased(noise: Any) -> None:
    svi = SVI(smooth_model, three_normals, 0.05, Trace_ELBO(4, noise=noise))
    state = svi.init(jax.random.key(0))
    report = gradient_report(svi, state, num_samples=400_000, batch_size=4000, reference=Trace_ELBO(16))
    (found,) = report.estimators.values()
    assert not found.biased and found.resolution < 0.01, report
