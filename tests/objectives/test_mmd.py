"""The maximum mean discrepancy: the V-statistic by a double loop, its expectation in closed form, what is a draw."""

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
from svijax import SVI, Trace_MMD
from svijax.base import ArgumentError, ModelError, UnknownNameError
from svijax.density import Draws
from svijax.guides import AutoNormal
from svijax.handlers import mask, scale, supply
from svijax.objectives import GraphicalKernel, IMQKernel, MixtureKernel, RBFKernel

sample, plate, param = svijax.sample, svijax.plate, svijax.param

RBF = RBFKernel(bandwidth=1.5)


# Points in the place of a prior make all draws known; a density is never asked for.

PRIOR = np.array([0.4, -1.0])


def model(weight: float = 1.0, seen: Any = True) -> None:
    with mask(mask=seen):
        z = sample("z", dist.Delta(PRIOR))
    u = sample("u", dist.Delta(0.3))
    with scale(scale=weight):
        sample("x", dist.Normal(z.sum() + u, 1.0), obs=0.7)


def guide(**_: Any) -> None:
    loc = param("loc", np.array([0.1, -0.2]))
    sample("z", dist.Normal(loc, 0.8))
    sample("u", dist.Normal(param("u_loc", 0.5), 0.4))


NOISE = np.random.default_rng(0).normal(size=(5, 3))


def evaluate(objective: Any, loc: Any = (0.1, -0.2), u_loc: Any = 0.5, **how: Any) -> Any:
    rows = jnp.asarray(NOISE, jnp.result_type(float))
    draws = Draws(rows, jnp.zeros((len(rows), 0)), jax.random.key(0))

    def result(loc: Any, u_loc: Any) -> Any:
        own = supply(guide, {"loc": loc, "u_loc": u_loc})
        return objective.from_draws(draws, supply(model, {}), own, (), how, {})

    return jax.jit(result)(jnp.asarray(loc), u_loc)


def v_statistic(x: Any, y: Any, h: float = 1.5) -> float:
    """Every pair, a point with itself too."""
    k = lambda a, b: math.exp(-float(np.sum((a - b) ** 2)) / h)  # noqa: E731
    mean = lambda a, b: sum(k(p, q) for p in a for q in b) / (len(a) * len(b))  # noqa: E731
    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def by_hand(
    loc: Any = (0.1, -0.2),
    u_loc: float = 0.5,
    weight: float = 1.0,
    kept: Any = (True, True),
    scales: tuple[float, float] = (1.0, 1.0),
    widths: tuple[float, float] = (1.5, 1.5),
    mutation: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> float:
    z = np.asarray(loc) + 0.8 * NOISE[:, :2]
    u = u_loc + 0.4 * NOISE[:, 2]
    likelihood = np.mean(-0.5 * (0.7 - z.sum(1) - u) ** 2 - 0.5 * math.log(2 * math.pi))
    z_part = v_statistic(z * np.array(kept), np.tile(PRIOR * np.array(kept), (5, 1)), widths[0])
    u_part = v_statistic(u[:, None], np.full((5, 1), 0.3), widths[1])
    a, b, c = mutation
    return float(-a * weight * likelihood + b * scales[0] * z_part + c * scales[1] * u_part)


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize(
    ("kernel", "mmd_scale", "how"),
    [
        (RBF, 1.0, {}),
        (RBF, 2.5, {"scales": (2.5, 2.5)}),
        (
            {"z": RBF, "u": RBFKernel(bandwidth=0.3)},
            {"u": 3.0, "z": 0.5},
            {"scales": (0.5, 3.0), "widths": (1.5, 0.3)},
        ),
        (lambda x, y: jnp.exp(-jnp.sum((x - y) ** 2) / 1.5), 1, {}),
    ],
    ids=["one", "scaled", "by name", "a function"],
)
def test_it_is_the_double_loop(x64: None, kernel: Any, mmd_scale: Any, how: Any, weight: float) -> None:
    got = float(evaluate(Trace_MMD(kernel, mmd_scale, 5), weight=weight).loss)
    np.testing.assert_allclose(got, by_hand(weight=weight, **how), rtol=1e-10)
    for i in range(3):
        mutation = tuple(1.02 if j == i else 1.0 for j in range(3))
        assert abs(got - by_hand(weight=weight, **how, mutation=mutation)) > 1e-4


def test_its_gradient_is_that_of_the_double_loop(x64: None) -> None:
    objective = Trace_MMD(RBF, 2.0, 5)
    got = jax.jit(jax.grad(lambda loc: evaluate(objective, loc).loss))(jnp.array([0.1, -0.2]))
    h = 1e-6
    for i, d in enumerate(np.eye(2) * h):
        up, down = (by_hand(np.array([0.1, -0.2]) + s * d, scales=(2.0, 2.0)) for s in (1, -1))
        np.testing.assert_allclose(got[i], (up - down) / (2 * h), rtol=1e-7)


def test_single_precision() -> None:
    got = evaluate(Trace_MMD(RBF, 1.0, 5)).loss
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, by_hand(), rtol=1e-5)


def test_masked_entries_of_a_latent_are_left_out(x64: None) -> None:
    got = evaluate(Trace_MMD(RBF, 1.0, 5), seen=np.array([True, False])).loss
    np.testing.assert_allclose(got, by_hand(kept=(True, False)), rtol=1e-10)


def test_its_expectation_in_closed_form(x64: None) -> None:
    """z ~ N(1, 0.6²), prior N(0, 1²): E of the V-statistic of K draws with exp(−d²/h)."""
    h, K, count = 1.5, 3, 8_000

    def prior() -> None:
        sample("z", dist.Normal(0.0, 1.0))

    def own() -> None:
        sample("z", dist.Normal(param("loc", 1.0), 0.6))

    def mean_kernel(distance: float, variance: float) -> float:
        return math.exp(-(distance**2) / (h + 2 * variance)) / math.sqrt(1 + 2 * variance / h)

    same = 2 / K + (1 - 1 / K) * (mean_kernel(0, 2 * 0.36) + mean_kernel(0, 2.0))
    want = same - 2 * mean_kernel(1.0, 1.36)
    objective = Trace_MMD(RBFKernel(bandwidth=h), 1.0, K)
    keys = jax.random.split(jax.random.key(5), count)
    found = jax.jit(jax.vmap(lambda k: objective.loss(k, {"loc": 1.0}, prior, own)))(keys)
    error = float(np.std(found)) / math.sqrt(count)
    assert abs(float(np.mean(found)) - want) < 4 * error
    assert error < 0.01


def test_elements_of_a_batch_plate_are_draws(x64: None) -> None:
    """K particles of n elements are K·n draws with it, K draws of a vector without it; masked elements are none."""
    kept = np.array([True, True, False, True])

    def local(seen: Any = True) -> None:
        with plate("i", 4), mask(mask=seen):
            sample("z", dist.Delta(np.array([0.4, -1.0]), event_dim=1))

    def own(seen: Any = True) -> None:
        with plate("i", 4), mask(mask=seen):
            sample("z", dist.Normal(param("loc", np.zeros((4, 2)), event_dim=1), 0.8).to_event(1))

    loc = np.arange(8.0).reshape(4, 2) / 8
    noise = np.random.default_rng(1).normal(size=(3, 8))
    z = loc + 0.8 * noise.reshape(3, 4, 2)
    draws = Draws(jnp.asarray(noise), jnp.zeros((3, 0)), jax.random.key(0))

    def loss(seen: Any, **options: Any) -> Any:
        objective = Trace_MMD(RBF, 1.0, 3, **options)
        pair = local, supply(own, {"loc": loc})
        return jax.jit(lambda: objective.from_draws(draws, *pair, (seen,), {}, {}).loss)()

    prior = np.array([0.4, -1.0])
    whole = v_statistic(z.reshape(3, 8), np.tile(prior, (3, 4)))
    np.testing.assert_allclose(loss(True), whole, rtol=1e-10)
    apart = v_statistic(z.reshape(12, 2), np.tile(prior, (12, 1)))
    np.testing.assert_allclose(loss(True, batch_plates=["i"]), apart, rtol=1e-10)
    some = v_statistic(z[:, kept].reshape(9, 2), np.tile(prior, (9, 1)))
    np.testing.assert_allclose(loss(kept, batch_plates="i"), some, rtol=1e-10)


def test_the_median_is_of_both_sets_and_no_part_of_the_derivative(x64: None) -> None:
    z = np.array([0.1, -0.2]) + 0.8 * NOISE[:, :2]

    def median(points: Any) -> float:
        squares = [np.sum((points[i] - points[j]) ** 2) for i in range(len(points)) for j in range(i)]
        return float(np.median(squares)) / math.log(len(points) + 1)

    u = 0.5 + 0.4 * NOISE[:, 2:]
    widths = (
        median(np.concatenate([z, np.tile(PRIOR, (5, 1))])),
        median(np.concatenate([u, np.full((5, 1), 0.3)])),
    )
    median_width = Trace_MMD(RBFKernel(), 1.0, 5)
    got = jax.jit(jax.value_and_grad(lambda x: evaluate(median_width, u_loc=x).loss))(0.5)
    np.testing.assert_allclose(got[0], by_hand(widths=widths), rtol=1e-10)
    h = 1e-6
    slope = (by_hand(u_loc=0.5 + h, widths=widths) - by_hand(u_loc=0.5 - h, widths=widths)) / (2 * h)
    np.testing.assert_allclose(got[1], slope, rtol=1e-7)


@pytest.mark.slow
def test_a_fit_of_a_prior_and_a_likelihood() -> None:
    """With a large scale the guide is pulled to the prior, without one to the data alone."""
    data = jnp.asarray([2.0, 3.0, 2.5])

    def normals(y: Any) -> None:
        z = sample("z", dist.Normal(0.0, 1.0))
        with plate("i", 3):
            sample("y", dist.Normal(z, 1.0), obs=y)

    found = []
    for mmd_scale in (0.0, 100.0):
        with jax.checking_leaks():
            objective = Trace_MMD(MixtureKernel([0.5, 0.5], [RBF, IMQKernel()]), mmd_scale, 16)
            svi = SVI(normals, AutoNormal(normals), optax.adam(0.05), objective)
            fits = svi.run(jax.random.key(0), 400, data, num_chains=2, progress_bar=False)
        found.append(float(fits.best().posterior.mean()["z"]))
    assert abs(found[0] - 2.5) < 0.1
    assert abs(found[1]) < 0.3
    assert np.isfinite(jax.jit(lambda key: svi.run(key, 5, data).losses)(jax.random.PRNGKey(3))).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Trace_MMD(RBFKernel), "write RBFKernel()."),
        (lambda: Trace_MMD(RBFKernel("vector")), "compares whole vectors"),
        (lambda: Trace_MMD({"z": GraphicalKernel()}), "compares whole vectors"),
        (lambda: Trace_MMD(RBF, -1.0), "mmd_scale must be a number of at least 0"),
        (lambda: Trace_MMD(RBF, num_particles=0), "num_particles must be an int"),
        (lambda: evaluate(Trace_MMD({"z": RBF}, 1.0, 5)), "kernel by name has none for ['u']"),
    ],
)
def test_bad_arguments(call: Any, text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        call()
    assert text in str(error.value)


def test_names_that_there_are_not() -> None:
    for objective in (
        Trace_MMD({"zz": RBF}, 1.0, 5),
        Trace_MMD(RBF, {"zz": 1.0}, 5),
        Trace_MMD(RBF, 1.0, 5, batch_plates=["i"]),
    ):
        with pytest.raises(UnknownNameError):
            evaluate(objective)


def test_what_has_no_pathwise_derivative_is_named() -> None:
    def discrete() -> None:
        sample("b", dist.Bernoulli(0.5))

    def rejected() -> None:
        sample("b", dist.Normal(0.0, 1.0).has_rsample_(False))

    for role, pair in (
        ("guide", (discrete, discrete)),
        ("guide", (lambda: sample("b", dist.Normal(0.0, 1.0)), rejected)),
        ("model", (rejected, lambda: sample("b", dist.Normal(param("q", 0.5), 1.0)))),
    ):
        with pytest.raises(ModelError) as error:
            Trace_MMD(RBF).loss(jax.random.key(0), {}, *pair)
        assert f"{role} site 'b': Trace_MMD needs draws with pathwise derivatives." in str(error.value)
