"""Stein forces against double loops, the mixture that is reported, points on known targets, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVGD, SVI, Predictive, SteinELBO, Trace_ELBO
from svijax.base import ArgumentError, ModelError, UnknownNameError
from svijax.density import Antithetic, Draws, bind, log_density, run_guide
from svijax.distributions import constraints
from svijax.guides import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoNormal,
    Particles,
    init_to_feasible,
    init_to_sample,
    init_to_uniform,
)
from svijax.handlers import mask, scale, substitute, supply
from svijax.objectives import (
    CyclicalAnnealing,
    GraphicalKernel,
    IMQKernel,
    LinearKernel,
    MixtureKernel,
    RBFKernel,
)
from svijax.transforms import biject_to

sample, plate, param = svijax.sample, svijax.plate, svijax.param

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(5, 3))
DRIFT = RNG.normal(size=(5, 3))
PARTS = {"a": slice(0, 1), "b": slice(1, 3)}


# Kernels


def steer_by_hand(kernels: Callable[[Any, Any], Any], points: Any, drift: Any) -> tuple[Any, Any]:
    """Pair by pair; ``kernels(x, y)`` is one number for each entry."""
    count, size = points.shape
    whole = lambda x, y: jnp.broadcast_to(kernels(x, y), (size,))  # noqa: E731
    values, slopes = jax.jit(whole), jax.jit(jax.jacfwd(whole))
    pull, push = np.zeros_like(points), np.zeros_like(points)
    for i in range(count):
        for j in range(count):
            pull[i] += np.asarray(values(points[j], points[i])) * drift[j] / count
            push[i] += np.diag(slopes(points[j], points[i])) / count
    return pull, push


def median(points: Any) -> float:
    squares = [np.sum((points[i] - points[j]) ** 2) for i in range(len(points)) for j in range(i)]
    return float(np.median(squares)) / math.log(len(points) + 1)


def rbf(h: Any) -> Any:
    return lambda x, y: jnp.exp(-jnp.sum((x - y) ** 2) / h)


def imq(x: Any, y: Any) -> Any:
    return (4.0 + jnp.sum((x - y) ** 2)) ** -0.3


H = median(POINTS)
EACH = np.array([median(POINTS[:, [d]]) for d in range(3)])
KERNELS = {
    "rbf": (RBFKernel(), rbf(H)),
    "rbf, width": (RBFKernel(bandwidth=0.7), rbf(0.7)),
    "rbf, factor": (RBFKernel(bandwidth_factor=lambda n: 2.0 / n), rbf(H * math.log(6) * 2 / 5)),
    "rbf, vector": (RBFKernel("vector"), lambda x, y: jnp.exp(-((x - y) ** 2) / EACH)),
    "imq": (IMQKernel(const=2.0, expon=-0.3), imq),
    "imq, vector": (IMQKernel("vector", 2.0, -0.3), lambda x, y: (4.0 + (x - y) ** 2) ** -0.3),
    "linear": (LinearKernel(), lambda x, y: jnp.sum(x * y) + 1),
    "mixture": (
        MixtureKernel([0.3, 1.2], [RBFKernel(), IMQKernel(const=2.0, expon=-0.3)]),
        lambda x, y: 0.3 * rbf(H)(x, y) + 1.2 * imq(x, y),
    ),
    "graphical": (
        GraphicalKernel({"a": IMQKernel(const=2.0, expon=-0.3)}),
        lambda x, y: jnp.stack(
            [imq(x[:1], y[:1]), *[rbf(median(POINTS[:, 1:]))(x[1:], y[1:])] * 2],
        ),
    ),
    "graphical, default": (GraphicalKernel(None, LinearKernel()), None),
}


@pytest.mark.parametrize("name", [name for name, (_, hand) in KERNELS.items() if hand is not None])
def test_kernels_by_a_double_loop(x64: None, name: str) -> None:
    kernel, by_hand = KERNELS[name]
    got = jax.jit(lambda x, v: kernel.steer(x, v, PARTS))(POINTS, DRIFT)
    want = steer_by_hand(by_hand, POINTS, DRIFT)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
        assert np.abs(1.02 * b - b).max() > 1e-4
    assert hash(kernel) == hash(replace(kernel))


def test_a_graphical_kernel_has_a_default(x64: None) -> None:
    got = KERNELS["graphical, default"][0].steer(POINTS, DRIFT, PARTS)
    for name, part in PARTS.items():
        size = part.stop - part.start
        want = LinearKernel().steer(POINTS[:, part], DRIFT[:, part], {name: slice(0, size)})
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a[:, part], b, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: RBFKernel("matrix"), "mode must be 'norm' or 'vector'"),
        (lambda: RBFKernel(bandwidth=0.0), "bandwidth must be positive"),
        (lambda: IMQKernel(const=0.0), "const must be positive"),
        (lambda: IMQKernel(expon=-1.0), "expon must be in (-1, 0)"),
        (lambda: MixtureKernel([1.0], [RBFKernel(), RBFKernel()]), "one positive weight for each kernel"),
        (lambda: MixtureKernel([-1.0], [RBFKernel()]), "one positive weight for each kernel"),
        (lambda: GraphicalKernel().on(POINTS), "no function of two whole vectors"),
        (lambda: SVGD(RBFKernel), "write RBFKernel()."),
        (lambda: SVGD("rbf"), "a kernel is needed"),
        (lambda: SteinELBO(loss_temperature=-1.0), "loss_temperature must be a number"),
        (lambda: SVGD(repulsion_temperature="x"), "repulsion_temperature must be a number"),
        (lambda: SteinELBO(fixed_draws=3), "takes no fixed_draws"),
        (lambda: SteinELBO(num_elbo_particles=0), "num_particles must be an int"),
        (lambda: CyclicalAnnealing(3, 5), "at least one step in each cycle"),
        (lambda: Particles(lambda: None, 0), "num_particles must be an int"),
        (lambda: Particles(AutoDelta), "Particles takes a guide"),
    ],
)
def test_bad_arguments(call: Any, text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        call()
    assert text in str(error.value)


# SVGD


def gaussian() -> None:
    a = sample("a", dist.Normal(1.5, 0.7))
    sample("b", dist.Normal(jnp.array([0.5, -1.0]) + 0.3 * a, 2.0).to_event(1))


def slope(a: Any, b: Any) -> Any:
    """∇ log p at one point."""
    rest = b - np.array([0.5, -1.0]) - 0.3 * a
    return np.array([-(a - 1.5) / 0.49 + 0.3 * rest.sum() / 4, *(-rest / 4)])


def free_gradient(svi: SVI, free: Any, *args: Any) -> Any:
    return jax.jit(jax.value_and_grad(lambda f: svi.loss(f, jax.random.key(0), *args)))(free)


@pytest.mark.parametrize(("pull", "push"), [(1.0, 1.0), (0.3, 1.0), (1.0, 2.5)])
def test_the_force_of_svgd_by_a_double_loop(x64: None, pull: float, push: float) -> None:
    svi = SVI(gaussian, Particles(AutoDelta(gaussian), 5), 0.1, SVGD(RBFKernel(), push, pull))
    free = {"a_auto_loc": POINTS[:, 0], "b_auto_loc": POINTS[:, 1:]}
    drift = np.array([slope(p[0], p[1:]) for p in POINTS])
    loss, got = free_gradient(svi, free)
    parts = steer_by_hand(rbf(H), POINTS, drift)
    found = -np.concatenate([got["a_auto_loc"][:, None], got["b_auto_loc"]], axis=1)
    np.testing.assert_allclose(found, pull * parts[0] + push * parts[1], rtol=1e-10)
    for a, b in ((1.02, 1.0), (1.0, 1.02)):
        assert np.abs(found - a * pull * parts[0] - b * push * parts[1]).max() > 1e-3
    # The loss is that of the points, not the size of the force.
    log_p = [
        float(dist.Normal(1.5, 0.7).log_prob(p[0]))
        + float(jnp.sum(dist.Normal(np.array([0.5, -1.0]) + 0.3 * p[0], 2.0).log_prob(p[1:])))
        for p in POINTS
    ]
    np.testing.assert_allclose(loss, -np.mean(log_p), rtol=1e-12)


def positive() -> None:
    s = sample("s", dist.Gamma(3.0, 2.0))
    sample("x", dist.Normal(0.0, s), obs=1.3)


def test_in_single_precision(x64: None) -> None:
    free = {"a_auto_loc": POINTS[:, 0], "b_auto_loc": POINTS[:, 1:]}
    svi = SVI(gaussian, Particles(AutoDelta(gaussian), 5), 0.1, SVGD())
    want = free_gradient(svi, free)
    jax.config.update("jax_enable_x64", False)
    got = free_gradient(svi, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), free))
    jax.config.update("jax_enable_x64", True)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("model", [gaussian, positive])
def test_one_point_is_autodelta_step_by_step(x64: None, model: Any) -> None:
    start = init_to_uniform(0.5)
    one = SVI(model, Particles(AutoDelta(model, init_loc_fn=start), 1), optax.adam(0.1), SVGD(jacobian=False))
    two = SVI(model, AutoDelta(model, init_loc_fn=start), optax.adam(0.1), Trace_ELBO())
    state = one.init(jax.random.key(1))
    same = {name: x[0] for name, x in state.params.items()}
    a = one.run(jax.random.key(0), 50, init_state=state, progress_bar=False)
    b = two.run(jax.random.key(0), 50, init_params=same, progress_bar=False)
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-12)
    for name, value in b.params.items():
        np.testing.assert_allclose(a.params[name][0], value, rtol=1e-12)
        assert np.abs(value - same[name]).max() > 0.1


def test_one_point_climbs_to_the_mode_of_the_space_it_moves_in(x64: None) -> None:
    """log s ~ N(0.3, 0.5²): at exp(0.3) with |det T'|, at exp(0.3 − 0.25) without."""

    def log_normal() -> None:
        sample("s", dist.LogNormal(0.3, 0.5))

    for jacobian, mode in ((True, 0.3), (False, 0.05)):
        svi = SVI(log_normal, Particles(AutoDelta(log_normal), 1), optax.adam(0.05), SVGD(jacobian=jacobian))
        fit = svi.run(jax.random.key(0), 500, progress_bar=False)
        np.testing.assert_allclose(np.log(fit.params["s_auto_loc"]), [mode], atol=1e-6)


@pytest.mark.slow
def test_many_points_lie_like_draws(x64: None) -> None:
    """Two latents, one positive: means right, spread within a tenth."""

    def target() -> None:
        sample("a", dist.Normal(1.5, 0.7))
        sample("s", dist.LogNormal(-0.4, 0.5))

    guide = Particles(AutoDelta(target, init_loc_fn=init_to_uniform()), 60)
    fit = SVI(target, guide, optax.adam(0.05), SVGD()).run(jax.random.key(0), 1_500, progress_bar=False)
    a, u = fit.params["a_auto_loc"], np.log(fit.params["s_auto_loc"])
    np.testing.assert_allclose([a.mean(), u.mean()], [1.5, -0.4], atol=0.02)
    np.testing.assert_allclose([a.std() / 0.7, u.std() / 0.5], [1.0, 1.0], atol=0.1)
    # Without repulsion all of them fall into the mode.
    alone = SVI(target, guide, optax.adam(0.05), SVGD(repulsion_temperature=0.0))
    fit = alone.run(jax.random.key(0), 1_500, progress_bar=False)
    assert np.asarray(fit.params["a_auto_loc"]).std() < 0.05


def test_minibatches_and_local_points(x64: None) -> None:
    """The mean of the loss and its force over all minibatches is that of all rows."""
    data = np.array([0.3, -1.0, 2.0])

    def local(rows: Any) -> None:
        m = sample("m", dist.Normal(0.0, 1.0))
        with plate("i", 3, len(rows)) as i:
            z = sample("z", dist.Normal(m, 1.0))
            sample("x", dist.Normal(z, 0.5), obs=data[i])

    free = {"m_auto_loc": POINTS[:, 0], "z_auto_loc": POINTS[:, [0, 1, 2]]}

    def at(rows: Any) -> Any:
        put_in = substitute(local, {"i": np.array(rows)})
        svi = SVI(put_in, Particles(AutoDelta(put_in), 5), 0.1, SVGD())
        return free_gradient(svi, free, np.zeros(len(rows)))

    parts = [at(rows) for rows in ((0, 1), (0, 2), (1, 2))]
    got = jax.tree.map(lambda *x: np.mean(x, axis=0), *parts)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(at((0, 1, 2))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


# Mixtures of guides


def two_normals(data: float = 1.3) -> None:
    mu = sample("mu", dist.Normal(0.0, 2.0))
    sample("x", dist.Normal(mu + param("shift", 0.2), 0.5), obs=data)


def normal_guide(data: float = 1.3) -> None:
    loc = param("loc", lambda key: jax.random.normal(key))
    sd = param("sd", lambda key: 0.5 + jax.random.uniform(key), constraint=constraints.positive)
    sample("mu", dist.Normal(loc + param("common", 0.1), sd))


LOC, SD = np.array([0.5, 1.1, -0.4]), np.array([0.3, 0.8, 0.6])


def normal(x: Any, loc: Any, sd: Any) -> Any:
    return jnp.exp(-0.5 * ((x - loc) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


def mixture_loss(
    loc: Any, sd: Any, noise: Any, shift: Any = 0.2, common: Any = 0.1, fixed: Any = None
) -> Any:
    """−1/K Σ_i E[log p − log 1/K Σ_j q_j], the mean over the noise (draws, K) of each guide."""
    z = loc + common + sd * noise
    log_p = jnp.log(normal(z, 0.0, 2.0)) + jnp.log(normal(1.3, z + shift, 0.5))
    mix_loc, mix_sd, mix_common = (loc, sd, common) if fixed is None else fixed
    q = jnp.mean(normal(z[..., None], mix_loc + mix_common, mix_sd), axis=-1)
    return jnp.mean(jnp.log(q) - log_p)


def at_known_noise(objective: Any, model: Any, guide: Any, free: Any, noise: Any) -> Any:
    draws = Draws(jnp.asarray(noise)[:, None], jnp.zeros((len(noise), 0)), jax.random.key(0))

    def loss(f: Any) -> Any:
        return objective.from_draws(draws, bind(model, f), bind(guide, f), (), {}, {}).loss

    return jax.jit(jax.value_and_grad(loss))(free)


def mixture_free(loc: Any = LOC, sd: Any = SD) -> Any:
    return {
        "loc": jnp.asarray(loc),
        "sd": biject_to(constraints.positive).inv(jnp.asarray(sd)),
        "common": jnp.array(0.1),
        "shift": jnp.array(0.2),
    }


GUIDE = Particles(normal_guide, 3, shared=["common"])


def line() -> tuple[Any, Any]:
    """Points and weights of the trapezoidal rule for a standard normal: log q is no polynomial."""
    nodes = np.linspace(-9.0, 9.0, 301)
    density = np.exp(-0.5 * nodes**2)
    return nodes, density / density.sum()


def test_the_mixture_elbo_and_its_force_by_hand(x64: None) -> None:
    """Antithetic noise is shared by the guides, so that every draw is known."""
    noise = np.array([0.7, -0.2])
    objective = SteinELBO(RBFKernel(bandwidth=2.0), 4, 1.5, 0.8, noise=Antithetic())
    loss, got = at_known_noise(objective, two_normals, GUIDE, mixture_free(), noise)
    all_noise = np.concatenate([noise, -noise])[:, None] * np.ones(3)
    np.testing.assert_allclose(loss, mixture_loss(LOC, SD, all_noise), rtol=1e-10)

    fixed = (LOC, SD, 0.1)
    each = jax.grad(
        lambda loc, log_sd: 3 * mixture_loss(loc, jnp.exp(log_sd), all_noise, fixed=fixed), (0, 1)
    )
    drift = -np.stack(each(LOC, np.log(SD)), axis=1)
    pull, push = steer_by_hand(rbf(2.0), np.stack([LOC, np.log(SD)], axis=1), drift)
    found = -np.stack([got["loc"], got["sd"]], axis=1)
    np.testing.assert_allclose(found, 0.8 * pull + 1.5 * push, rtol=1e-10)
    for a, b in ((1.02, 1.0), (1.0, 1.02)):
        assert np.abs(found - 0.8 * a * pull - 1.5 * b * push).max() > 1e-4

    # What all guides share, and the model's, follow the gradient of the loss.
    rest = jax.grad(lambda shift, common: mixture_loss(LOC, SD, all_noise, shift, common, fixed), (0, 1))
    np.testing.assert_allclose([got["shift"], got["common"]], rest(0.2, 0.1), rtol=1e-10)


def test_without_smoothing_the_force_is_the_gradient_of_the_mixture_elbo(x64: None) -> None:
    """Exactly in expectation, the noise integrated over, with a kernel that sees no neighbours."""
    nodes, share = line()
    objective = SteinELBO(RBFKernel(bandwidth=1e-4), 2, noise=Antithetic())

    def one(node: Any) -> Any:
        return at_known_noise(objective, two_normals, GUIDE, mixture_free(), node[None])[1]

    found = jax.vmap(one)(jnp.asarray(nodes))
    found = jax.tree.map(lambda x: np.tensordot(share, x, 1), found)

    def exact(loc: Any, log_sd: Any, shift: Any, common: Any) -> Any:
        terms = jax.vmap(lambda e: mixture_loss(loc, jnp.exp(log_sd), e * jnp.ones(3), shift, common))
        return jnp.sum(share * terms(jnp.asarray(nodes)))

    want = jax.grad(exact, (0, 1, 2, 3))(LOC, np.log(SD), 0.2, 0.1)
    for name, value in zip(("loc", "sd", "shift", "common"), want, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-10)


def test_a_positive_parameter_at_two_is_scored_at_two(x64: None) -> None:
    """Constraints are applied once: the mixture at scales of 2.0 is one of scales of 2.0, not of exp(2.0)."""
    noise = np.array([0.4])
    sd = np.array([2.0, 2.0, 1.0])
    objective = SteinELBO(num_elbo_particles=2, noise=Antithetic())
    loss, _ = at_known_noise(objective, two_normals, GUIDE, mixture_free(sd=sd), noise)
    all_noise = np.array([0.4, -0.4])[:, None] * np.ones(3)
    np.testing.assert_allclose(loss, mixture_loss(LOC, sd, all_noise), rtol=1e-12)
    assert abs(loss - mixture_loss(LOC, np.exp(sd), all_noise)) > 0.1
    # The same at constrained parameters, and as the state has them.
    params = {"loc": LOC, "sd": sd, "common": 0.1, "shift": 0.2}
    state = SVI(two_normals, GUIDE, 0.1, objective).init(jax.random.key(0), init_params=params)
    np.testing.assert_allclose(state.params["sd"], sd, rtol=1e-15)
    plain = SteinELBO(num_elbo_particles=3)
    svi = SVI(two_normals, GUIDE, 0.1, plain)
    same = jax.jit(lambda key: (plain.loss(key, params, two_normals, GUIDE), svi.loss(state.free, key)))
    np.testing.assert_allclose(*same(jax.random.key(7)), rtol=1e-12)


def test_each_guide_has_draws_of_its_own(x64: None) -> None:
    """The loss of three equal guides has a third of the variance of that of one."""
    variances = []
    for count in (1, 3):
        guide = replace(GUIDE, num_particles=count)
        params = {"loc": np.full(count, 0.5), "sd": np.full(count, 0.6), "common": 0.1, "shift": 0.2}
        loss = lambda k: SteinELBO(num_elbo_particles=1).loss(k, params, two_normals, guide)  # noqa: B023, E731
        variances.append(np.var(jax.jit(jax.vmap(loss))(jax.random.split(jax.random.key(0), 800))))
    assert 0.25 < variances[1] / variances[0] < 0.45


def test_how_draws_are_run_makes_no_difference(x64: None) -> None:
    noise = np.array([0.7, -0.2])
    found = [
        at_known_noise(
            SteinELBO(num_elbo_particles=4, noise=Antithetic(), **options),
            two_normals,
            GUIDE,
            mixture_free(),
            noise,
        )
        for options in ({}, {"vectorize_particles": False}, {"particle_batch": 2}, {"remat": True})
    ]
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), other, found[0])


def test_temperatures_may_follow_the_step(x64: None) -> None:
    annealing = CyclicalAnnealing(100, num_cycles=4, transition_speed=2.0)
    steps = np.array([0, 4, 24, 25, 74, 75, 80, 99])
    want = [(1 / 25) ** 2, (5 / 25) ** 2, 1.0, (1 / 25) ** 2, 1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose([float(annealing(s)) for s in steps], want, rtol=1e-6)

    def steps_of(objective: Any) -> Any:
        svi = SVI(
            gaussian,
            Particles(AutoDelta(gaussian, init_loc_fn=init_to_uniform()), 4),
            optax.sgd(0.1),
            objective,
        )
        state = svi.init(jax.random.key(0)).having(step=jnp.asarray(4, jnp.int32))
        after, _ = svi.update(state)
        return after.free["a_auto_loc"] - state.free["a_auto_loc"]

    for name in ("loss_temperature", "repulsion_temperature"):
        np.testing.assert_allclose(
            steps_of(SVGD(**{name: annealing})), steps_of(SVGD(**{name: 0.04})), rtol=1e-10
        )


# Programs, states and posteriors


def regression(x: Any, y: Any = None) -> None:
    w = sample("w", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    s = sample("s", dist.HalfNormal(1.0))
    with plate("i", x.shape[0]):
        sample("y", dist.Normal(x @ w, s), obs=y)


X = np.random.default_rng(2).normal(size=(12, 2)).astype(np.float32)
Y = (X @ np.array([1.0, -0.5]) + 0.3 * np.random.default_rng(3).normal(size=12)).astype(np.float32)


@pytest.mark.parametrize(
    ("guide", "objective"),
    [
        (AutoDelta(regression), SVGD(MixtureKernel([0.5, 0.5], [RBFKernel(), IMQKernel()]))),
        (AutoNormal(regression), SteinELBO(GraphicalKernel(), 2)),
        pytest.param(
            AutoDiagonalNormal(regression),
            SteinELBO(RBFKernel("vector"), 2, vectorize_particles=False),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["points", "normals", "one vector"],
)
def test_fits_continue_and_predict(guide: Any, objective: Any) -> None:
    mixture = Particles(guide, 4)
    with jax.checking_leaks():
        svi = SVI(regression, mixture, optax.adam(0.05), objective)
        fit = svi.run(jax.random.key(0), 300, X, Y, progress_bar=False)
    assert fit.losses[-20:].mean() < fit.losses[:20].mean()
    half = svi.run(jax.random.key(0), 100, X, Y, progress_bar=False)
    rest = SVI(regression, mixture, optax.adam(0.05), objective).run(
        jax.random.key(9), 200, X, Y, init_state=half.state, progress_bar=False
    )
    for name, value in fit.params.items():
        assert value.shape[0] == 4
        np.testing.assert_array_equal(rest.params[name], value)

    table = fit.posterior.mean(2_000)
    np.testing.assert_allclose(table["w"], [1.0, -0.5], atol=0.35)
    assert np.isfinite(fit.posterior.elbo(200)[0])
    named = mixture.named_particles(fit.params, X, Y)
    assert {name: value.shape for name, value in named.items()} == {"w": (4, 2), "s": (4,)}
    predict = Predictive(regression, guide=mixture, params=fit.params, num_samples=6)
    assert predict(jax.random.key(1), X, Y)["y"].shape == (6, 12)


def test_points_are_the_posterior_draws() -> None:
    guide = Particles(AutoDelta(regression), 4)
    fit = SVI(regression, guide, 0.05, SVGD()).run(jax.random.key(0), 50, X, Y, progress_bar=False)
    named = guide.named_particles(fit.params, X, Y)
    np.testing.assert_array_equal(named["s"], fit.params["s_auto_loc"])
    draws = fit.posterior.sample(300)
    assert {float(s) for s in draws["s"]} == {float(s) for s in named["s"]}
    # Where the data are left out their site is no latent of the points.
    predict = Predictive(regression, guide=guide, params=fit.params, num_samples=6)
    assert predict(jax.random.key(1), X[:3])["y"].shape == (6, 3)


@pytest.mark.slow
def test_chains_and_other_keys() -> None:
    svi = SVI(regression, Particles(AutoDelta(regression), 4), 0.05, SVGD())
    fits = svi.run(jax.random.key(0), 20, X, Y, num_chains=2, progress_bar=False)
    alone = svi.run(jax.random.split(jax.random.key(0), 2)[1], 20, X, Y, progress_bar=False)
    np.testing.assert_allclose(fits.losses[1], alone.losses, rtol=1e-4)
    raw = jax.jit(lambda key: svi.run(key, 20, X, Y).losses)(jax.random.PRNGKey(0))
    assert np.isfinite(raw).all()


def test_particles_start_from_keys_of_their_own() -> None:
    guide = Particles(AutoNormal(regression, init_loc_fn=init_to_sample()), 4)
    params = SVI(regression, guide, 0.1, SteinELBO()).init(jax.random.key(0), X, Y).params
    assert len({float(x) for x in params["s_auto_loc"]}) == 4
    np.testing.assert_allclose(params["s_auto_scale"], np.full(4, 0.1), rtol=1e-5)


def test_a_draw_of_the_particles_has_the_density_of_the_mixture(x64: None) -> None:
    """For any objective: log q of both sites and the factor is that of the mixture, whatever particle was drawn."""
    params = {"loc": LOC, "sd": SD, "common": 0.1, "shift": 0.2}
    for index in range(3):
        sites = run_guide(supply(GUIDE, params), (), {}, key=jax.random.key(3), values={"_particle": index})
        log_q = sum(log_density(sites).values())
        z = sites["mu"].value
        np.testing.assert_allclose(log_q, np.log(np.mean(normal(z, LOC + 0.1, SD))), rtol=1e-12)
        tempered = run_guide(
            scale(supply(GUIDE, params), 3.0), (), {}, key=jax.random.key(3), values={"_particle": index}
        )
        np.testing.assert_allclose(sum(log_density(tempered).values()), 3 * log_q, rtol=1e-12)
    # And of points no density at all: the loss of one of them.
    points = Particles(AutoDelta(gaussian), 5)
    at = {"a_auto_loc": POINTS[:, 0], "b_auto_loc": POINTS[:, 1:]}
    sites = run_guide(supply(points, at), (), {}, key=jax.random.key(0))
    np.testing.assert_allclose(sum(log_density(sites).values()), 0.0, atol=1e-14)


def test_trace_elbo_fits_the_mixture_too(x64: None) -> None:
    """E over the choice of the particle and its noise of Trace_ELBO's gradient is that of the mixture's ELBO."""
    nodes, share = line()

    def one(node: Any, index: Any) -> Any:
        given = supply(GUIDE, {"_particle": index})
        return at_known_noise(Trace_ELBO(), two_normals, given, mixture_free(), node[None])[1]

    grids = jnp.repeat(jnp.asarray(nodes), 3), jnp.tile(jnp.arange(3), len(nodes))
    found = jax.tree.map(lambda x: np.tensordot(np.repeat(share, 3) / 3, x, 1), jax.vmap(one)(*grids))

    def exact(loc: Any, log_sd: Any) -> Any:
        terms = jax.vmap(lambda e: mixture_loss(loc, jnp.exp(log_sd), e * jnp.ones(3)))
        return jnp.sum(share * terms(jnp.asarray(nodes)))

    want = jax.grad(exact, (0, 1))(LOC, np.log(SD))
    np.testing.assert_allclose(found["loc"], want[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["sd"], want[1], rtol=1e-6, atol=1e-8)


def test_mutable_state_is_kept() -> None:
    def counting() -> None:
        state = svijax.mutable("count", {"value": jnp.zeros(())})
        state["value"] = state["value"] + 1
        sample("a", dist.Normal(1.5, 0.7))

    fit = SVI(counting, Particles(AutoDelta(counting), 3), 0.1, SVGD()).run(
        jax.random.key(0), 7, progress_bar=False
    )
    assert float(fit.state.mutable["count"]["value"]) == 7.0


# What is refused


def start(model: Any, guide: Any, objective: Any, **options: Any) -> Any:
    svi = SVI(model, guide, 0.1, objective)
    return svi.update(svi.init(jax.random.key(0), **options))


def test_a_guide_without_particles_is_named() -> None:
    with pytest.raises(ModelError) as error:
        start(gaussian, AutoDelta(gaussian), SVGD())
    assert "SVGD moves particles, and the guide has none." in str(error.value)
    assert "write svijax.guides.Particles(guide, 10)." in str(error.value)


def test_points_that_are_drawn_are_named() -> None:
    with pytest.raises(ModelError) as error:
        start(gaussian, Particles(AutoNormal(gaussian), 3), SVGD())
    assert "guide site '_auto_latent': SVGD moves points, and this site is drawn." in str(error.value)


def test_draws_without_pathwise_derivative_are_named() -> None:
    def own(data: float = 1.3) -> None:
        loc = param("loc", lambda key: jax.random.normal(key))
        sample("mu", dist.Normal(loc, 1.0).has_rsample_(False))

    with pytest.raises(ModelError) as error:
        start(two_normals, Particles(own, 3), SteinELBO())
    assert "guide site 'mu': SteinELBO needs draws with pathwise derivatives." in str(error.value)


@pytest.mark.parametrize(
    "guide",
    [
        AutoDelta(gaussian, init_loc_fn=init_to_feasible()),
        AutoNormal(gaussian, init_loc_fn=init_to_uniform(0.0)),
        lambda: [
            sample("a", dist.Normal(param("x", 0.0), 1.0)),
            sample("b", dist.Normal(param("y", np.zeros(2)), 1.0).to_event(1)),
        ],
    ],
    ids=["points", "normals", "by hand"],
)
def test_particles_that_start_in_one_place_are_an_error(guide: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        start(gaussian, Particles(guide, 3), SteinELBO())
    assert "all particles start in one place, and would stay together for ever." in str(error.value)


def test_but_not_for_one_or_if_a_parameter_starts_at_random() -> None:
    guide = Particles(AutoDelta(gaussian, init_loc_fn=init_to_feasible()), 1)
    start(gaussian, guide, SVGD())

    def partly() -> None:
        sample("a", dist.Normal(param("x", 0.0), param("sd", lambda key: 0.5 + jax.random.uniform(key))))
        sample("b", dist.Normal(param("y", np.zeros(2)), 1.0).to_event(1))

    start(gaussian, Particles(partly, 3), SteinELBO(num_elbo_particles=1))


def test_names_and_counts_are_checked() -> None:
    with pytest.raises(UnknownNameError) as unknown:
        start(two_normals, Particles(normal_guide, 3, shared=["comon"]), SteinELBO())
    assert "did you mean 'common'?" in str(unknown.value)
    with pytest.raises(UnknownNameError):
        start(gaussian, Particles(AutoDelta(gaussian), 3), SVGD(GraphicalKernel({"a": RBFKernel()})))
    with pytest.raises(ModelError) as error:
        start(two_normals, GUIDE, SteinELBO(), init_params={"loc": np.zeros(4)})
    assert "guide param 'loc' needs one value for each of 3 particles." in str(error.value)


def test_a_model_may_not_read_a_particle() -> None:
    def own(data: float = 1.3) -> None:
        loc = param("shift", lambda key: jax.random.normal(key))
        sample("mu", dist.Normal(loc, 1.0))

    def reads(data: float = 1.3) -> None:
        mu = sample("mu", dist.Normal(0.0, 2.0))
        sample("x", dist.Normal(mu + jnp.sum(param("shift")), 0.5), obs=data)

    with pytest.raises(ModelError) as error:
        start(reads, Particles(own, 3), SteinELBO())
    assert "model param 'shift' is one of the guide's" in str(error.value)
    start(reads, Particles(normal_like, 3, shared=lambda name: name == "shift"), SteinELBO())


def normal_like(data: float = 1.3) -> None:
    loc = param("loc", lambda key: jax.random.normal(key))
    sample("mu", dist.Normal(loc + param("shift", 0.3), 1.0))


def test_a_mixture_over_a_subsample_is_an_error() -> None:
    def local() -> None:
        with plate("i", 4, 2):
            sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError) as error:
        start(local, Particles(AutoNormal(local), 3), SteinELBO())
    assert "guide site 'z' is scaled" in str(error.value)
    assert "i (size 4, subsample 2, dim -1)" in str(error.value)
    start(local, Particles(AutoDelta(local), 3), SVGD())


def test_masked_points_with_a_constraint_are_an_error() -> None:
    def masked() -> None:
        with plate("i", 2), mask(mask=np.array([True, False])):
            sample("s", dist.LogNormal(0.0, 1.0))

    with pytest.raises(ModelError) as error:
        start(masked, Particles(AutoDelta(masked), 3), SVGD())
    assert "guide site 's' is masked" in str(error.value)
    start(masked, Particles(AutoDelta(masked), 3), SVGD(jacobian=False))
