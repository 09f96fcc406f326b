"""Computing in fewer bits, sums over many rows, and what saves memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, ModelError
from svijax.density import log_density
from svijax.distributions import constraints
from svijax.guides import AutoMultivariateNormal, AutoNormal
from svijax.handlers import compute, seed, substitute, trace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 12)).astype(np.float32)
Y = (X[:, 0] + 0.1 * RNG.normal(size=64) + 100).astype(np.float32)
WEIGHTS = RNG.normal(size=(12, 5)).astype(np.float32)
SEEN: list[Any] = []


def network(X: Any, y: Any) -> None:
    """A layer with weights to learn, a latent output layer, rows around 100."""
    w = svijax.param("weights", WEIGHTS)
    b = svijax.param("b", np.zeros(5, np.float32))
    z = svijax.sample("z", dist.Normal(0.0, 1.0).expand([5]).to_event(1))
    hidden = jnp.tanh(X @ w + b)
    SEEN[:] = [X.dtype, w.dtype, z.dtype, hidden.dtype]
    with svijax.plate("rows", X.shape[0]):
        svijax.sample("y", dist.Normal(hidden @ z, 1.0), obs=y)


def sites(program: Any, **values: Any) -> Any:
    with trace() as found, seed(rng_seed=0), substitute(data=values):
        program(X, Y)
    return found


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_it_computes_in_few_bits_and_scores_in_many(dtype: Any) -> None:
    z = np.linspace(0.1, 1.3, 5).astype(np.float32)
    found = sites(compute(network, dtype), z=z)
    assert set(SEEN) == {jnp.dtype(dtype)}
    kept = {name: found[name].value for name in ("weights", "b", "z", "y")}
    assert {x.dtype for x in kept.values()} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(kept["z"], z)
    np.testing.assert_array_equal(kept["weights"], WEIGHTS)
    np.testing.assert_array_equal(kept["y"], Y, "rows are scored as they came: bfloat16 knows 100 and 100.5")
    assert found["y"].fn.loc.dtype == jnp.float32 and found["z"].fn.dtype == jnp.float32
    hidden = np.tanh(X.astype(dtype) @ WEIGHTS.astype(dtype)) @ z.astype(dtype)
    np.testing.assert_allclose(found["y"].fn.loc, np.asarray(hidden, np.float32), atol=0.1)
    assert {x.dtype for x in log_density(found).values()} == {jnp.dtype("float32")}


def test_gradients_and_parameters_are_single() -> None:
    svi = SVI(compute(network), AutoNormal(network), optax.sgd(1e-3))
    state = svi.init(jax.random.key(0), X, Y)
    gradient = jax.grad(lambda f: svi.loss(f, jax.random.key(1), X, Y))(dict(state.free))
    plain = SVI(network, AutoNormal(network), optax.sgd(1e-3))
    want = jax.grad(lambda f: plain.loss(f, jax.random.key(1), X, Y))(dict(state.free))
    for name, g in gradient.items():
        assert g.dtype == state.free[name].dtype == jnp.float32
        assert 0 < np.abs(g - want[name]).max() < 0.03 * np.abs(want[name]).max(), name


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_autoguides_are_not_rounded(guide: Any) -> None:
    """The same draws, the same log q to the last bit, with and without the handler around the guide."""
    plain, handled = guide(network), compute(guide(network))
    params = {n: s.value for n, s in sites(plain).items() if type(s).__name__ == "Param"}
    params = {n: v + 0.001234567 if "loc" in n else v for n, v in params.items() if "auto" in n}

    def inner(X: Any, y: Any) -> Any:
        return guide(network)(X, y)

    found = [sites(g, **params) for g in (plain, handled, compute(inner))]
    for other in found[1:]:
        for name, site in found[0].items():
            if hasattr(site, "fn"):
                np.testing.assert_array_equal(site.value, other[name].value, name)
        assert log_density(found[0]) == log_density(other)


def test_an_encoder_computes_in_few_bits_and_its_scale_does_not() -> None:
    def model(x: Any) -> None:
        with svijax.plate("rows", x.shape[0]):
            z = svijax.sample("z", dist.Normal(0.0, 1.0))
            svijax.sample("x", dist.Normal(jnp.broadcast_to(z[:, None], x.shape), 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        w = svijax.param("w", np.full((12, 2), 0.01, np.float32))
        with compute(dtype=None):
            shift = svijax.param("shift", np.float32(0.001234567))
            scale = svijax.param("scale", np.float32(0.12345678), constraint=constraints.positive)
        out = x @ w
        assert (x.dtype, w.dtype, out.dtype) == (jnp.bfloat16,) * 3
        assert shift.dtype == scale.dtype == jnp.float32
        with svijax.plate("rows", x.shape[0]):
            svijax.sample("z", dist.Normal(out[:, 0] + shift, scale))

    svi = SVI(compute(model), compute(guide), 1e-2)
    fit = svi.run(jax.random.key(0), 400, X, progress_bar=False, num_chains=2)
    assert (fit.status == 0).all() and fit.losses.dtype == np.float32
    assert fit.final_losses().mean() < fit.losses[:, :20].mean() - 20


def test_a_fit_in_few_bits_ends_near_the_one_in_many() -> None:
    def fit(model: Any, guide: Any) -> Any:
        svi = SVI(model, guide, 0.02, Trace_ELBO(num_particles=4))
        return svi.run(jax.random.key(0), 600, X, Y - 100, progress_bar=False)

    many, few = fit(network, AutoNormal(network)), fit(compute(network), compute(AutoNormal(network)))
    first, last = many.losses[:20].mean(), many.final_losses()
    assert abs(few.final_losses() - last) < 0.02 * (first - last)
    assert not np.array_equal(few.losses, many.losses)


def test_it_works_in_x64_and_under_jit_and_vmap(x64: None) -> None:
    found = sites(compute(network, jnp.float32))
    assert set(SEEN) == {jnp.dtype("float32")}
    assert found["y"].fn.loc.dtype == np.float64 and found["z"].value.dtype == np.float64
    svi = SVI(compute(network, jnp.float32), AutoNormal(network), 0.01)
    with jax.checking_leaks():
        run = jax.jit(jax.vmap(lambda key: svi.run(key, 3, X.astype(np.float64), Y).losses))
        assert np.isfinite(run(jax.random.split(jax.random.key(0), 2))).all()


def test_rows_that_a_plate_takes_need_a_word() -> None:
    def model(X: Any, y: Any) -> None:
        with svijax.plate("rows", 64, subsample_size=8):
            mean = svijax.subsample(X, event_dim=1) @ svijax.param("w", np.zeros(12, np.float32))
            svijax.sample("y", dist.Normal(mean, 1.0), obs=svijax.subsample(y))

    with pytest.raises(ModelError) as error:
        sites(compute(model))
    assert "site 'y': its observation was computed in bfloat16 and lost digits" in str(error.value)
    assert 'compute(fn, keep=("y",))' in str(error.value)
    for keep in (("y",), "y", (1,), 1):
        assert sites(compute(model, keep=keep))["y"].value.dtype == jnp.float32
    with pytest.raises(ArgumentError, match="keep names 'rows', which is no argument of the program"):
        sites(compute(model, keep=("rows",)))


def test_sites_inside_scan_need_the_handler_in_the_body() -> None:
    def model(inner: Any) -> Any:
        def program(X: Any, y: Any) -> None:
            w = svijax.param("w", np.float32(1.0))

            def body(carry: Any, x: Any) -> Any:
                with inner():
                    z = svijax.sample("s", dist.Normal(w * x.astype(w.dtype), 1.0))
                return carry, z

            svijax.scan(body, jnp.zeros(()), X[:5, 0])

        return program

    from contextlib import nullcontext

    with pytest.raises(ModelError, match="compute cannot reach the distributions inside scan and cond"):
        sites(compute(model(nullcontext)))
    found = sites(compute(model(lambda: compute(dtype=jnp.bfloat16))))
    assert found["s"].fn.loc.dtype == found["s"].value.dtype == jnp.float32


def test_a_factor_is_summed_in_many_bits() -> None:
    def model(X: Any, y: Any) -> None:
        svijax.factor("f", X[:, 0] * svijax.param("w", np.float32(1.0)))

    found = sites(compute(model))
    np.testing.assert_allclose(log_density(found)["f"], X[:, 0].sum(), rtol=0.02)
    assert log_density(found)["f"].dtype == jnp.float32


def test_a_dtype_that_is_none_of_floats_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="compute: dtype must be one of floats"):
        compute(network, jnp.int8)


# Sums over many rows


def drift(rows: int, level: float, form: str) -> tuple[float, float]:
    """Relative error of the loss in single precision against double, and of its gradient in the mean of a row."""
    y = (level + np.random.default_rng(1).normal(size=rows)).astype(np.float32)

    def model(y: Any) -> None:
        mu = svijax.param("mu", np.float32(level + 0.01))
        if form == "event":
            svijax.sample("y", dist.Normal(mu, 1.0).expand([rows]).to_event(1), obs=y)
            return
        mask = jnp.ones(rows, bool) if form == "mask" else None
        with svijax.plate("rows", rows), svijax.handlers.mask(mask=True if mask is None else mask):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    svi = SVI(model, lambda y: None, 1.0)
    free = {"mu": jnp.float32(level + 0.01)}
    value, gradient = jax.jit(jax.value_and_grad(lambda f: svi.loss(f, jax.random.key(0), y)))(free)
    z = y.astype(np.float64) - np.float64(free["mu"])
    want = (0.5 * z**2 + 0.5 * np.log(2 * np.pi)).sum()
    return abs(float(value) / want - 1), abs(float(gradient["mu"]) + z.sum()) / rows


@pytest.mark.parametrize("form", ["plate", "event", "mask"])
def test_sums_over_a_million_rows_keep_their_digits(form: str) -> None:
    for level in (0.0, 1000.0):
        loss, gradient = drift(10**6, level, form)
        assert loss < 3e-7 and gradient < 3e-7, (loss, gradient)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plate", "event", "mask"])
@pytest.mark.parametrize("level", [0.0, 3.0, 1000.0])
def test_sums_over_ten_million_rows_keep_their_digits(form: str, level: float) -> None:
    loss, gradient = drift(10**7, level, form)
    assert loss < 3e-7 and gradient < 3e-7, (loss, gradient)


# Memory


def step_memory(model: Any, objective: Any) -> int:
    """Bytes of scratch space of one compiled step."""
    svi = SVI(model, AutoNormal(network), optax.sgd(1e-3), objective)
    big = np.zeros((2000, 12), np.float32)
    state = svi.init(jax.random.key(0), big, big[:, 0])
    compiled = jax.jit(lambda s, x, y: svi.update(s, x, y)).lower(state, big, big[:, 0]).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)


def test_chunks_of_particles_and_recomputation_save_memory_of_a_step() -> None:
    whole, chunks, recomputed = (
        step_memory(network, Trace_ELBO(64, **options))
        for options in ({}, {"particle_batch": 4}, {"particle_batch": 4, "remat": True})
    )
    assert recomputed < 0.4 * whole and recomputed < 0.5 * chunks, (whole, chunks, recomputed)
