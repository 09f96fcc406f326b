"""The energy distance: against a double loop at known draws, against closed forms, under masks, scales and batches."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf

import svijax
import svijax.distributions as dist
from svijax import SVI, EnergyDistance
from svijax.base import ArgumentError, DataError, ModelError
from svijax.density import Antithetic, Draws
from svijax.guides import AutoNormal
from svijax.handlers import mask, scale, substitute, supply

sample, plate, param = svijax.sample, svijax.plate, svijax.param

DATA = {"x": np.array([0.5, -1.0, 2.0]), "y": np.array([[0.2, 1.0]])}
SEEN = np.array([True, False, True])


def model(weight: float = 1.0, seen: Any = True) -> None:
    z = sample("z", dist.Normal(0.5, 2.0))
    w = sample("w", dist.Normal(z, 1.0))
    # Points in the place of a likelihood: what is predicted is then known from the noise.
    with plate("i", 3), scale(scale=weight), mask(mask=seen):
        sample("x", dist.Delta(z * jnp.array([1.0, 2.0, -1.0])), obs=jnp.where(seen, DATA["x"], jnp.nan))
    with plate("j", 1):
        sample("y", dist.Delta(jnp.stack([w, z * w])[None], event_dim=1), obs=DATA["y"])


def guide(**_: Any) -> None:
    z = sample("z", dist.Normal(param("loc", 0.3), param("sd", 0.8)))
    sample("w", dist.Normal(z, 0.5))


NOISE = np.random.default_rng(0).normal(size=(4, 2))


def evaluate(objective: Any, loc: Any = 0.3, sd: Any = 0.8, noise: Any = NOISE, **how: Any) -> Any:
    rows = jnp.asarray(noise, jnp.result_type(float))
    draws = Draws(rows, jnp.zeros((len(rows), 0)), jax.random.key(0))

    def loss(loc: Any, sd: Any) -> Any:
        own = supply(guide, {"loc": loc, "sd": sd})
        return objective.from_draws(draws, supply(model, {}), own, (), how, {})

    return jax.jit(loss)(loc, sd)


def by_hand(
    beta: float,
    prior_scale: float,
    joint: bool,
    loc: float = 0.3,
    sd: float = 0.8,
    weight: float = 1.0,
    seen: Any = (True, True, True),
    mutation: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> float:
    """The definition, pair by pair and element by element."""
    z = loc + sd * NOISE[:, 0]
    w = z + 0.5 * NOISE[:, 1]
    x = z[:, None] * np.array([1.0, 2.0, -1.0])
    y = np.stack([w, z * w], 1)

    def distance(xa: Any, ya: Any, xb: Any, yb: Any) -> float:
        squares = [(weight, (a - b) ** 2) for a, b, s in zip(xa, xb, seen, strict=True) if s]
        squares.append((1.0, float(np.sum((ya - yb) ** 2))))
        if joint:
            return sum(s * d for s, d in squares) ** (beta / 2)
        return sum(s * d ** (beta / 2) for s, d in squares)

    error = np.mean([distance(x[k], y[k], DATA["x"], DATA["y"][0]) for k in range(4)])
    pairs = [(k, j) for k in range(4) for j in range(k)]
    spread = np.mean([distance(x[k], y[k], x[j], y[j]) for k, j in pairs])
    log_2pi = math.log(2 * math.pi)
    prior = np.mean(
        -0.5 * ((z - 0.5) / 2) ** 2 - math.log(2) - 0.5 * log_2pi - 0.5 * (w - z) ** 2 - 0.5 * log_2pi
    )
    a, b, c = mutation
    return float(a * error - b * 0.5 * spread - c * prior_scale * prior)


HOW: tuple[dict[str, Any], ...] = ({}, {"weight": 3.0}, {"seen": SEEN})
CASES = [
    {"beta": beta, "prior_scale": 0.6 * (i // 2 % 2), "joint": joint, **how}
    for i, (beta, how, joint) in enumerate(itertools.product((1.0, 0.4, 1.7), HOW, (True, False)))
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_it_is_the_double_loop(x64: None, case: dict[str, Any]) -> None:
    options = {n: case[n] for n in ("beta", "prior_scale", "joint")}
    how = {n: case[n] for n in case if n not in options}
    got = evaluate(EnergyDistance(num_particles=4, **options), **how).loss
    np.testing.assert_allclose(got, by_hand(**case), rtol=1e-10)
    for i in range(3 if case["prior_scale"] else 2):
        mutation = tuple(1.02 if j == i else 1.0 for j in range(3))
        assert abs(float(got) - by_hand(**case, mutation=mutation)) > 1e-3


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("beta", [1.0, 1.7])
def test_its_gradient_is_that_of_the_double_loop(x64: None, joint: bool, beta: float) -> None:
    objective = EnergyDistance(beta, 0.6, 4, joint=joint)
    got = jax.jit(jax.grad(lambda p: evaluate(objective, *p, seen=SEEN).loss))((0.3, 0.8))
    h = 1e-6
    for i, d in enumerate(np.eye(2) * h):
        up, down = (by_hand(beta, 0.6, joint, 0.3 + s * d[0], 0.8 + s * d[1], seen=SEEN) for s in (1, -1))
        np.testing.assert_allclose(got[i], (up - down) / (2 * h), rtol=1e-7)


def test_single_precision() -> None:
    got = evaluate(EnergyDistance(num_particles=4)).loss
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, by_hand(1.0, 0.0, True), rtol=1e-5)


def test_two_normals_in_closed_form(x64: None) -> None:
    """X ~ N(1, 0.5² + 1.2²) and a datum at 0.2: the distance of predictive and data, and its derivatives."""

    def normals() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        sample("x", dist.Normal(z, 1.2), obs=0.2)

    def mean_field() -> None:
        sample("z", dist.Normal(param("loc", 0.0), param("sd", 1.0)))

    def exact(loc: Any, sd: Any) -> Any:
        s, m = np.hypot(sd, 1.2), loc - 0.2
        folded = s * np.sqrt(2 / np.pi) * np.exp(-(m**2) / (2 * s**2)) + m * erf(m / (s * np.sqrt(2)))
        return folded - 0.5 * 2 * s / np.sqrt(np.pi)

    count = 4_000

    def loss(p: Any, key: Any) -> Any:
        return EnergyDistance(num_particles=2).loss(key, p, normals, mean_field)

    keys = jax.random.split(jax.random.key(3), count)
    params = {"loc": jnp.array(1.0), "sd": jnp.array(0.5)}
    found, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(params, keys)
    h = 1e-5
    by_loc = (exact(1 + h, 0.5) - exact(1 - h, 0.5)) / (2 * h)
    by_sd = (exact(1, 0.5 + h) - exact(1, 0.5 - h)) / (2 * h)
    for x, want in ((found, exact(1.0, 0.5)), (slopes["loc"], by_loc), (slopes["sd"], by_sd)):
        error = float(np.std(x)) / math.sqrt(count)
        assert abs(float(np.mean(x)) - want) < 4 * error
        assert error < 0.03


def test_each_element_by_itself_is_unbiased_under_subsampling(x64: None) -> None:
    data = np.array([0.5, -1.0, 2.0, 0.1])

    def rows(batch: int) -> None:
        z = sample("z", dist.Normal(0.5, 2.0))
        with plate("i", 4, batch) as i:
            sample("x", dist.Delta(z * (1.0 + i)), obs=data[i])

    def own(batch: int) -> None:
        sample("z", dist.Normal(param("loc", 0.3), 0.8))

    objective = EnergyDistance(1.3, joint=False, num_particles=3)
    draws = Draws(jnp.asarray(NOISE[:3, :1]), jnp.zeros((3, 0)), jax.random.key(0))

    def at(batch: int, indices: Any) -> Any:
        put_in = substitute(rows, {"i": np.array(indices)})

        def loss(loc: Any) -> Any:
            return objective.from_draws(draws, put_in, supply(own, {"loc": loc}), (batch,), {}, {}).loss

        return np.array(jax.jit(jax.value_and_grad(loss))(0.3))

    parts = [at(2, pair) for pair in itertools.combinations(range(4), 2)]
    np.testing.assert_allclose(np.mean(parts, axis=0), at(4, range(4)), rtol=1e-12)


def test_where_draws_and_data_coincide_the_derivative_is_none(x64: None) -> None:
    def point() -> None:
        sample("x", dist.Delta(param("a", 0.0)), obs=0.0)

    loss = lambda a: EnergyDistance().loss(jax.random.key(0), {"a": a}, point, lambda: None)  # noqa: E731
    np.testing.assert_array_equal(jax.jit(jax.value_and_grad(loss))(0.0), (0.0, 0.0))


def test_log_densities_are_reported_but_those_of_predictions(x64: None) -> None:
    result = evaluate(EnergyDistance(num_particles=4))
    assert set(result.log_p) == set(result.log_q) == {"z", "w"}


@pytest.mark.slow
def test_a_fit_with_heavy_tails() -> None:
    """Cauchy draws with outliers: E|X| is infinite, E|X|^½ is not."""
    rng = np.random.default_rng(1)
    data = jnp.asarray(3.0 + 0.5 * rng.standard_cauchy(40), jnp.float32)

    def heavy(y: Any) -> None:
        loc = sample("loc", dist.Normal(0.0, 10.0))
        with plate("i", 40):
            sample("y", dist.Cauchy(loc, 0.5), obs=y)

    with jax.checking_leaks():
        svi = SVI(
            heavy, AutoNormal(heavy), optax.adam(0.03), EnergyDistance(0.5, num_particles=8, joint=False)
        )
        fits = svi.run(jax.random.key(0), 600, data, num_chains=2, progress_bar=False)
    for k in range(2):
        assert abs(float(fits.chain(k).posterior.mean()["loc"]) - float(np.median(data))) < 0.4
    again = jax.jit(lambda key: svi.run(key, 5, data).losses)(jax.random.PRNGKey(3))
    assert np.isfinite(again).all()


def test_a_fit_of_a_likelihood_without_density() -> None:
    data = jnp.asarray(np.random.default_rng(2).normal(3.0, 1.4, size=30), jnp.float32)

    def stable(y: Any) -> None:
        loc = sample("loc", dist.Normal(0.0, 10.0))
        with plate("i", 30):
            sample("y", dist.Stable(1.7, 0.0, 1.0, loc), obs=y)

    svi = SVI(stable, AutoNormal(stable), optax.adam(0.05), EnergyDistance(0.8, num_particles=8, joint=False))
    fit = svi.run(jax.random.key(0), 300, data, progress_bar=False)
    assert abs(float(fit.posterior.mean()["loc"]) - 3.0) < 0.6
    with pytest.raises(DataError, match="observation is NaN"):
        svi.run(jax.random.key(0), 3, data.at[4].set(jnp.nan), progress_bar=False)


def test_how_particles_are_run_makes_no_difference(x64: None) -> None:
    whole = evaluate(EnergyDistance(num_particles=4)).loss
    for options in ({"vectorize_particles": False}, {"particle_batch": 2}, {"remat": True}):
        got = evaluate(EnergyDistance(num_particles=4, **options)).loss
        np.testing.assert_allclose(got, whole, rtol=1e-12)
    assert replace(EnergyDistance(0.5), prior_scale=1.0) == EnergyDistance(0.5, 1.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"beta": 2.0}, "beta must be in (0, 2)"),
        ({"beta": 0.0}, "beta must be in (0, 2)"),
        ({"prior_scale": -1.0}, "prior_scale must be a number of at least 0"),
        ({"num_particles": 1}, "compares particles with each other"),
        ({"noise": Antithetic()}, "independent of each other"),
        ({"fixed_draws": 4}, "independent of each other"),
    ],
)
def test_bad_arguments(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        EnergyDistance(**options)
    assert text in str(error.value)


def run(model: Any, guide: Any, objective: Any = EnergyDistance()) -> Any:  # noqa: B008
    return SVI(model, guide, 0.1, objective).run(jax.random.key(0), 1, progress_bar=False)


def test_what_has_no_pathwise_derivative_is_named() -> None:
    def likelihood() -> None:
        z = sample("z", dist.Beta(1.0, 1.0))
        sample("x", dist.Bernoulli(z), obs=1)

    def latent() -> None:
        b = sample("b", dist.Bernoulli(0.5))
        sample("x", dist.Normal(b, 1.0), obs=1.0)

    with pytest.raises(ModelError) as error:
        run(likelihood, AutoNormal(likelihood))
    assert "model site 'x': EnergyDistance needs draws with pathwise derivatives." in str(error.value)
    with pytest.raises(ModelError) as error:
        run(latent, lambda: sample("b", dist.Bernoulli(param("q", 0.5))))
    assert "guide site 'b': EnergyDistance needs draws with pathwise derivatives." in str(error.value)


def test_subsamples_and_missing_data_are_named() -> None:
    def rows() -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        with plate("i", 4, 2) as i:
            sample("x", dist.Normal(z, 1.0), obs=jnp.arange(4.0)[i])

    with pytest.raises(ModelError) as error:
        run(rows, AutoNormal(rows))
    assert "model site 'x': the norm of all the data" in str(error.value)
    assert "i (size 4, subsample 2, dim -1)" in str(error.value)
    assert "EnergyDistance(joint=False)" in str(error.value)
    run(rows, AutoNormal(rows), EnergyDistance(joint=False))

    def nothing() -> None:
        sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError) as error:
        run(nothing, AutoNormal(nothing))
    assert "the model observes nothing" in str(error.value)
