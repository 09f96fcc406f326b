"""Options of all objectives of particles: sources of noise, fixed draws, memory, annealing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError
from svijax.density import Antithetic, NoiseLayout, PlainNoise, Sobol, draw
from svijax.guides import AutoDiagonalNormal, AutoNormal
from svijax.objectives import PathDerivative

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal = dist.Normal

Y = np.array([0.3, -1.2, 0.8, 2.1])


def model() -> None:
    mu = sample("mu", Normal(0.0, 5.0))
    with plate("data", 4):
        sample("y", Normal(mu, 1.0), obs=Y)


def guide() -> None:
    sample("mu", Normal(param("loc", 0.3), param("sd", 0.6, constraint=dist.constraints.positive)))


PARAMS = {"loc": jnp.array(0.3), "sd": jnp.array(0.6)}


def layout_of(program: Any) -> NoiseLayout:
    return svijax.density.noise_layout(program, (), {})


def noise_of(source: Any, count: int, size: tuple[int, int], keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of a guide with ``size`` normals and uniforms, for many keys: (keys, count, size)."""

    def program() -> None:
        sample("a", Normal(0.0, 1.0).expand([size[0]]))
        sample("b", dist.Uniform(0.0, 1.0).expand([size[1]]))

    layout = layout_of(program)

    def one(key: Any) -> Any:
        found = source.expand(draw(key, layout, source.rows(count)), layout, count)
        return found.normal, found.uniform

    normal, uniform = jax.vmap(one)(jax.random.split(jax.random.key(0), keys))
    return np.asarray(normal), np.asarray(uniform)


@pytest.mark.parametrize("source", [PlainNoise(), Antithetic(), Sobol()], ids=str)
def test_each_particle_has_the_law_of_the_noise(source: Any) -> None:
    """A Kolmogorov-Smirnov test, of each particle by itself, in the first and the last coordinate."""
    normal, uniform = noise_of(source, 8, (3, 2), 4000)
    assert normal.shape == (4000, 8, 3) and uniform.shape == (4000, 8, 2)
    assert np.isfinite(normal).all() and uniform.min() > 0 and uniform.max() < 1
    for k in (0, 3, 7):
        for j in (0, 2):
            assert stats.kstest(normal[:, k, j], "norm").pvalue > 1e-3
        assert stats.kstest(uniform[:, k, -1], "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(normal[:, k, 0], normal[:, k, 1])[0, 1]) < 0.06


def test_antithetic_pairs() -> None:
    normal, uniform = noise_of(Antithetic(), 6, (2, 2), 5)
    np.testing.assert_array_equal(normal[:, :3], -normal[:, 3:])
    np.testing.assert_allclose(uniform[:, :3], 1 - uniform[:, 3:], atol=1e-7)


def test_sobol_points_are_a_net() -> None:
    """Of 64 points one lies in each 64th of each axis, and one in each cell of the 8 × 8 grid of the first two."""
    normal, uniform = noise_of(Sobol(), 64, (3, 1), 20)
    points = np.concatenate([stats.norm.cdf(normal), uniform], axis=-1)
    for row in points:
        for axis in range(4):
            assert len(set(np.floor(64 * row[:, axis]).astype(int))) == 64
        assert len({(int(8 * a), int(8 * b)) for a, b in row[:, :2]}) == 64
    assert len({tuple(row[0]) for row in points}) == 20


def test_sobol_in_double_precision(x64: None) -> None:
    normal, _ = noise_of(Sobol(), 16, (2, 1), 50)
    assert normal.dtype == np.float64 and len(np.unique(normal)) == normal.size


@pytest.mark.parametrize("source", [Antithetic(), Sobol()], ids=str)
def test_other_noise_lowers_the_error_of_the_loss(source: Any) -> None:
    def sd(noise: Any) -> float:
        svi = SVI(model, guide, 1e-3, Trace_ELBO(16, noise=noise))
        state = svi.init(jax.random.key(0))
        return svi.estimate(state, num_particles=300)[1]

    mean = [
        SVI(model, guide, 1e-3, Trace_ELBO(16, noise=n)).estimate(
            SVI(model, guide, 1e-3).init(jax.random.key(0)), num_particles=2000
        )
        for n in (source, PlainNoise())
    ]
    assert abs(mean[0][0] - mean[1][0]) < 4 * (mean[0][1] + mean[1][1])
    assert sd(source) < 0.9 * sd(PlainNoise())


@pytest.mark.parametrize("auto", [AutoNormal, AutoDiagonalNormal])
@pytest.mark.parametrize("noise", [Antithetic(), Sobol()], ids=str)
def test_fits_with_other_noise(auto: Any, noise: Any) -> None:
    svi = SVI(model, auto(model), optax.adam(0.05), Trace_ELBO(4, noise=noise))
    fit = svi.run(jax.random.key(0), 600, progress_bar=False)
    assert float(fit.losses[-100:].mean()) < 9.5
    step = jax.jit(svi.update)
    state = svi.init(jax.random.split(jax.random.key(0))[0])
    for _ in range(3):
        state, loss = step(state)
    assert np.isfinite(loss)
    both = svi.run(jax.random.key(0), 5, num_chains=2, progress_bar=False)
    alone = svi.run(jax.random.split(jax.random.key(0), 2)[1], 5, progress_bar=False)
    np.testing.assert_allclose(both.losses[1], alone.losses, rtol=2e-5)


def test_fixed_draws_are_a_function_of_the_parameters_alone() -> None:
    objective = Trace_ELBO(fixed_draws=16)
    loss = lambda p, k: objective.loss(k, p, model, guide)  # noqa: E731
    one, other = (loss(PARAMS, jax.random.key(k)) for k in (0, 1))
    assert one == other
    assert Trace_ELBO(fixed_draws=16, draws_seed=1).loss(jax.random.key(0), PARAMS, model, guide) != one
    assert Trace_ELBO(fixed_draws=16, noise=Sobol()).loss(jax.random.key(0), PARAMS, model, guide) != one
    gradient = jax.grad(loss)(PARAMS, jax.random.key(0))
    step = 1e-2
    for name in PARAMS:
        up, down = ({**PARAMS, name: PARAMS[name] + s} for s in (step, -step))
        slope = (loss(up, jax.random.key(2)) - loss(down, jax.random.key(3))) / (2 * step)
        np.testing.assert_allclose(gradient[name], slope, rtol=2e-3)


def test_fixed_draws_and_line_searches() -> None:
    """L-BFGS on M fixed draws e: the optimum of their mean, loc = m − s mean(e) and s = 1 / (sd(e) sqrt(precision))."""
    svi = SVI(model, AutoDiagonalNormal(model), optax.lbfgs(), Trace_ELBO(fixed_draws=64, noise=Sobol()))
    fit = svi.run(jax.random.key(0), 60, progress_bar=False)
    precision = 4 + 1 / 25.0
    layout = layout_of(lambda: sample("z", Normal(0.0, 1.0)))
    e = np.asarray(Sobol().expand(draw(jax.random.key(0), layout, 1), layout, 64).normal)
    scale = 1 / (e.std() * precision**0.5)
    np.testing.assert_allclose(fit.params["auto_scale"], [scale], rtol=1e-3)
    np.testing.assert_allclose(fit.params["auto_loc"], [Y.sum() / precision - scale * e.mean()], atol=1e-3)
    assert np.all(np.diff(fit.losses[:20]) <= 1e-5)
    gradient = jax.grad(lambda free: svi.loss(free, jax.random.key(9)))(dict(fit.state.free))
    assert all(np.abs(g).max() < 1e-2 for g in jax.tree.leaves(gradient))


def test_fixed_draws_that_cannot_be() -> None:
    def keyed() -> None:
        sample("mu", dist.Gamma(param("loc", 1.0), 1.0))

    def positive() -> None:
        sample("mu", dist.Gamma(1.0, 1.0))

    with pytest.raises(ArgumentError, match=r"fixed_draws: guide sites \['mu'\] are drawn by key"):
        Trace_ELBO(fixed_draws=4).loss(jax.random.key(0), {}, positive, keyed)

    def rows() -> None:
        with plate("data", 4, 2):
            sample("z", Normal(0.0, 1.0))

    with pytest.raises(ArgumentError, match=r"fixed_draws: plates \['data'\] subsample"):
        Trace_ELBO(fixed_draws=4).loss(jax.random.key(0), {}, rows, rows)


def test_counts_that_a_source_cannot_make() -> None:
    with pytest.raises(ArgumentError, match=r"Antithetic noise needs an even number(.|\n)*num_particles=4"):
        Trace_ELBO(3, noise=Antithetic())
    with pytest.raises(ArgumentError, match=r"Sobol noise needs a power of two(.|\n)*num_particles=8"):
        Trace_ELBO(6, noise=Sobol())
    with pytest.raises(ArgumentError, match="noise must be a source of noise"):
        Trace_ELBO(2, noise="sobol")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="fixed_draws must be an int"):
        Trace_ELBO(fixed_draws=0)
    with pytest.raises(ArgumentError, match="particle_batch must be an int"):
        Trace_ELBO(2, particle_batch=0)


# Memory


def network(X: Any) -> tuple[Any, Any]:
    def model() -> None:
        w = param("w", np.full((X.shape[1], 30), 0.01, np.float32))
        z = sample("z", Normal(0.0, 1.0).expand([30]).to_event(1))
        with plate("data", X.shape[0]):
            sample(
                "y", Normal(jnp.tanh(jnp.tanh(X @ w) * z).sum(-1), 1.0), obs=np.ones(X.shape[0], np.float32)
            )

    def guide() -> None:
        sample("z", Normal(param("loc", np.zeros(30)), 0.5).to_event(1))

    return model, guide


def memory(objective: Any, program: Any, twin: Any) -> tuple[int, Any]:
    svi = SVI(program, twin, 1e-3, objective)
    state = svi.init(jax.random.key(0))
    loss = lambda free: svi.loss(free, jax.random.key(1))  # noqa: E731
    compiled = jax.jit(jax.value_and_grad(loss)).lower(dict(state.free)).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes), compiled(dict(state.free))


def test_particles_in_chunks_and_recomputed_take_less_memory() -> None:
    program, twin = network(np.random.default_rng(0).normal(size=(500, 10)).astype(np.float32))
    whole, want = memory(Trace_ELBO(64), program, twin)
    for options, share in (({"particle_batch": 4, "remat": True}, 0.35), ({"particle_batch": 4}, 1.3)):
        used, got = memory(Trace_ELBO(64, **options), program, twin)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), got, want)
        assert used < share * whole, (options, used, whole)


def test_recomputing_is_in_the_program() -> None:
    jaxpr = str(
        jax.make_jaxpr(lambda k: Trace_ELBO(2, remat=True).loss(k, PARAMS, model, guide))(jax.random.key(0))
    )
    assert "checkpoint" in jaxpr or "remat" in jaxpr


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_any_chunk_gives_the_same_loss(size: int) -> None:
    want = Trace_ELBO(5).loss(jax.random.key(0), PARAMS, model, guide)
    got = Trace_ELBO(5, particle_batch=size).loss(jax.random.key(0), PARAMS, model, guide)
    np.testing.assert_allclose(got, want, rtol=1e-6)


# Annealing


def terms(beta: Any, step: int = 0) -> Any:
    from exact_expectations import evaluate_at

    return evaluate_at(Trace_ELBO(beta=beta), model, guide, PARAMS, [({}, {"mu": jnp.array(0.5)})], step=step)


def test_beta_weighs_the_divergence_and_not_the_likelihood() -> None:
    plain = terms(1.0)
    for beta in (0.0, 0.3, 2.0):
        got = terms(beta)
        want = beta * (plain.log_q["mu"] - plain.log_p["mu"]) - plain.log_p["y"]
        np.testing.assert_allclose(got.loss, want, rtol=1e-6)
        np.testing.assert_allclose(got.log_q["mu"], plain.log_q["mu"])


def test_a_schedule_is_a_function_of_the_step() -> None:
    schedule = optax.linear_schedule(0.0, 1.0, 10)
    np.testing.assert_allclose(terms(schedule, 3).loss, terms(0.3).loss, rtol=1e-6)
    np.testing.assert_allclose(terms(schedule, 30).loss, terms(1.0).loss, rtol=1e-6)


def test_annealing_in_a_fit_compiles_once_and_follows_the_step() -> None:
    schedule = optax.linear_schedule(0.0, 1.0, 100)
    svi = SVI(model, guide, optax.sgd(0.0), Trace_ELBO(64, beta=schedule))
    fit = svi.run(jax.random.key(0), 200, progress_bar=False)
    still = SVI(model, guide, optax.sgd(0.0), Trace_ELBO(64)).run(jax.random.key(0), 200, progress_bar=False)
    kl = float(jnp.asarray(dist.kl_divergence(Normal(0.3, 0.6), Normal(0.0, 5.0))))
    gap = np.asarray(still.losses - fit.losses)
    np.testing.assert_allclose(gap[100:], 0.0, atol=1e-4)
    np.testing.assert_allclose(gap[0], kl, atol=0.5)
    np.testing.assert_allclose(gap[:5].mean(), kl, atol=0.2)
    assert gap[50] < 0.6 * kl + 0.2


def test_betas_that_are_none() -> None:
    for beta in (-1.0, float("nan"), "linear", True):
        with pytest.raises(
            ArgumentError, match="beta must be a number of at least 0, or a function of the step"
        ):
            Trace_ELBO(beta=beta)  # type: ignore[arg-type]


def test_options_together() -> None:
    """All of them in one compiled fit."""
    objective = Trace_ELBO(
        8,
        noise=Antithetic(),
        particle_batch=4,
        remat=True,
        beta=optax.linear_schedule(0.5, 1.0, 100),
        estimator=PathDerivative(),
    )
    svi = SVI(model, AutoNormal(model), optax.adam(0.02), objective)
    fit = svi.run(jax.random.key(0), 800, progress_bar=False)
    np.testing.assert_allclose(fit.params["mu_auto_loc"], Y.sum() / 4.04, atol=0.05)
    assert svi == SVI(model, AutoNormal(model), svi.optim, objective)
