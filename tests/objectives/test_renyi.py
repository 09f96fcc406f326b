"""Bounds of weighed particles: value, gradient and second derivatives exactly those of K particles, slice by slice."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import Expectation, Nodes, enumerated, expected_derivative, gauss_hermite, product
from weighed import expected_bound

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, ModelError, UnknownNameError
from svijax.density import Antithetic
from svijax.guides import AutoDiagonalNormal, AutoNormal
from svijax.handlers import estimator, mask, scale, substitute
from svijax.objectives import (
    VIMCO,
    ClosedFormEntropy,
    DReG,
    ImportanceWeightedELBO,
    LeaveOneOut,
    NoBaseline,
    PathDerivative,
    RenyiELBO,
    RunningMean,
    ScoreFunction,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli


def at(**values: Any) -> Any:
    return {name: jnp.asarray(value, float) for name, value in values.items()}


def close(got: Any, want: Any, rtol: float = 1e-10) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, want)


def truth(case: Expectation, params: Any, alpha: float, count: int = 2, **slices: Any) -> Any:
    return jax.jit(jax.value_and_grad(lambda p: expected_bound(case, p, alpha, count, **slices)))(params)


# Programs


def ladder() -> Expectation:
    """Two normals, one on the other, around a coin whose odds hang on the first; scaled and masked."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.5))
        k = sample("k", Bernoulli(0.3 + 0.2 * jax.nn.sigmoid(a)))
        with plate("i", 2), mask(mask=np.array([True, False])):
            b = sample("b", Normal(0.5 * a + k, 0.8))
        with scale(scale=1.7):
            sample("y", Normal(b[0] * a, 1.0), obs=0.4)

    def guide() -> None:
        a = sample("a", Normal(param("m", 0.0), param("s", 1.0)))
        k = sample("k", Bernoulli(logits=param("u", 0.0) + a))
        with plate("i", 2), mask(mask=np.array([True, False])):
            sample("b", Normal(param("c", 0.0) * a + 0.3 * k, param("t", 1.0)))

    return Expectation(model, guide, product(enumerated({"k": ()}), gauss_hermite({"a": (), "b": (2,)}, 3)))


LADDER = {"m": 0.3, "s": 0.5, "u": 0.2, "c": 0.4, "t": 0.5}


def coins(stateful: bool = False) -> Expectation:
    """Two coins for each of two elements of a plate that holds everything."""

    def model() -> None:
        held = svijax.mutable("norm", {"mean": jnp.zeros(())}) if stateful else {}
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
            held["mean"] = a.mean() if stateful else 0.0
            c = sample("c", Bernoulli(0.2 + 0.25 * a))
            sample("y", Normal(a + 2 * c - held["mean"], 1.0), obs=np.array([1.2, -0.3]))

    def guide() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(logits=param("u", np.zeros(2))))
            sample("c", Bernoulli(jax.nn.sigmoid(param("v", 0.0) + a)))

    return Expectation(model, guide, enumerated({"a": (2,), "c": (2,)}))


COINS = {"u": [0.3, -0.4], "v": 0.2}


# The gradient is that of the bound


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, -1.0])
def test_value_and_gradient_of_a_mixed_guide(x64: None, alpha: float) -> None:
    case, params = ladder(), at(**LADDER)
    close(expected_derivative(RenyiELBO(alpha), case, params), truth(case, params, alpha))


@pytest.mark.parametrize("chosen", [ScoreFunction(NoBaseline()), {"k": ScoreFunction(VIMCO())}], ids=str)
def test_baselines_leave_the_expectation(x64: None, chosen: Any) -> None:
    case, params = ladder(), at(**LADDER)
    close(expected_derivative(RenyiELBO(0.5, estimator=chosen), case, params), truth(case, params, 0.5))


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_slices_of_a_plate(x64: None, alpha: float, stateful: bool) -> None:
    """Each element has its bound; where a state carries draws between elements, scores reach all of them."""
    case, params = coins(stateful), at(**COINS)
    close(expected_derivative(RenyiELBO(alpha), case, params), truth(case, params, alpha, keep=(-1,)))


def test_slices_are_no_sums(x64: None) -> None:
    case, params = coins(), at(**COINS)
    joint, apart = (expected_bound(case, params, 0.0, 2, keep=k) for k in ((), (-1,)))
    assert apart < joint - 0.01


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_second_derivatives(x64: None, alpha: float) -> None:
    case, params = coins(), at(**COINS)
    _, got = expected_derivative(RenyiELBO(alpha), case, params, jax.hessian)
    want = jax.jit(jax.hessian(lambda p: expected_bound(case, p, alpha, 2, keep=(-1,))))(params)
    close(got, want)


def normals(twin: bool, degree: int) -> Expectation:
    """One normal latent, drawn by path or by score; the nodes of the twin are draws at (0.3, 0.8)."""

    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, param("noise", 1.0)), obs=0.7)

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), param("s", 1.0)).has_rsample_(not twin))

    nodes = gauss_hermite({"z": ()}, degree)
    if twin:
        e = nodes.noise["z"]
        density = np.exp(-0.5 * e**2) / (0.8 * np.sqrt(2 * np.pi))
        nodes = Nodes({"z": 0.3 + 0.8 * e}, {}, nodes.weight / density)
    return Expectation(model, guide, nodes)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 2.0])
def test_draws_without_path_have_the_gradient_of_those_with_one(x64: None, alpha: float) -> None:
    params = at(m=0.3, s=0.8, noise=1.0)
    path, twin = normals(False, 24), normals(True, 24)
    want = truth(path, params, alpha)
    close(expected_derivative(RenyiELBO(alpha), path, params), want)
    got = expected_derivative(RenyiELBO(alpha), twin, params)
    close(got, truth(twin, params, alpha))
    close(got, want, 1e-6)
    assert abs(got[1]["m"]) > 0.03 and abs(got[1]["s"]) > 0.03


def multiply(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from svijax.objectives import _renyi, _weights

    if name == "scores":
        plain = _renyi.scores_of
        more = lambda *a: tuple(replace(s, log_q=1.02 * s.log_q) for s in plain(*a))  # noqa: E731
        monkeypatch.setattr(_renyi, "scores_of", more)
    elif name == "baseline":
        value = VIMCO.value
        wrong = lambda self, costs, *a: value(self, costs, *a) + 0.02 * costs  # noqa: E731
        monkeypatch.setattr(VIMCO, "value", wrong)
    else:
        of_model = lambda site: isinstance(site, svijax.effects.Sample) and site.name in ("y", "x")  # noqa: E731
        cost = _weights.Slices.cost
        monkeypatch.setattr(
            _weights.Slices, "cost", lambda self, s: (1.02 if of_model(s) else 1.0) * cost(self, s)
        )


@pytest.mark.parametrize("name", ["scores", "baseline", "likelihood"])
def test_two_per_cent_more_is_seen(x64: None, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    case, params = coins(), at(**COINS)
    want = truth(case, params, 0.0, keep=(-1,))
    multiply(monkeypatch, name)
    with pytest.raises(AssertionError, match="Mismatched"):
        close(expected_derivative(RenyiELBO(), case, params), want, 1e-4)


def test_single_precision_agrees(x64: None) -> None:
    want = truth(coins(), at(**COINS), 0.0, keep=(-1,))
    jax.config.update("jax_enable_x64", False)
    got = expected_derivative(RenyiELBO(), coins(), at(**COINS))
    close(got, want, 1e-5)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(got))


# VIMCO


def test_the_baseline_is_the_bound_without_the_own_weight(x64: None) -> None:
    log_w = np.array([[0.3, -1.0], [1.2, 0.4], [-0.7, 2.0]])
    got = VIMCO().value(jnp.array(log_w), None, None)
    for k, i in itertools.product(range(3), range(2)):
        others = np.delete(log_w[:, i], k)
        np.testing.assert_allclose(got[k, i], np.log(np.mean(np.exp([*others, others.mean()]))), rtol=1e-12)
    assert np.isfinite(VIMCO().value(jnp.array([0.5, -jnp.inf, -jnp.inf]), None, None)).all()


def variance(objective: Any, case: Expectation, params: Any) -> float:
    def squared(loss: Any) -> Any:
        return lambda p: jax.tree.map(jnp.square, jax.grad(loss)(p))

    mean = expected_derivative(objective, case, params)[1]
    square = expected_derivative(objective, case, params, squared)[1]
    return float(sum(jnp.sum(square[n] - mean[n] ** 2) for n in mean))


@pytest.mark.slow
def test_vimco_lowers_the_variance_and_is_the_default(x64: None) -> None:
    case, params = coins(), at(**COINS)
    plain, named, default = (
        variance(RenyiELBO(estimator=e), case, params)
        for e in (ScoreFunction(NoBaseline()), ScoreFunction(VIMCO()), None)
    )
    assert named < 0.7 * plain
    np.testing.assert_allclose(named, default, rtol=1e-10)


# Subsampling: the bound does not depend on the size of the minibatch

DATA = np.array([0.3, -0.2, 1.5, 2.0])
# Another array: JAX remembers in which precision it saw one first.
SINGLE = DATA.astype(np.float32)


def local(batch: int, rows: Any = None, factor: float = 1.0) -> Expectation:
    def model() -> None:
        with plate("data", 4, batch):
            z = sample("z", Bernoulli(0.4))
            sample("x", Normal(z, 1.0), obs=svijax.subsample(DATA))

    def guide() -> None:
        with plate("data", 4, batch):
            sample("z", Bernoulli(logits=param("u", np.zeros(4), event_dim=0)))

    placed = guide if rows is None else substitute(guide, {"data": np.array(rows)})
    return Expectation(scale(model, factor), scale(placed, factor), enumerated({"z": (batch,)}))


LOCAL = {"u": [0.2, -0.3, 0.5, 0.1]}


def by_hand(count: int, alpha: float) -> float:
    """Each datum's bound over all draws of its K coins."""
    total = 0.0
    for x, u in zip(DATA, LOCAL["u"], strict=True):
        q = 1 / (1 + np.exp(-u))
        normal = lambda z: np.exp(-0.5 * (x - z) ** 2) / np.sqrt(2 * np.pi)  # noqa: B023, E731
        w = np.array([0.6 * normal(0) / (1 - q), 0.4 * normal(1) / q])
        for draw in itertools.product((0, 1), repeat=count):
            chance = np.prod([q if z else 1 - q for z in draw])
            total -= chance * np.log(np.mean(w[list(draw)] ** (1 - alpha))) / (1 - alpha)
    return total


@pytest.mark.parametrize(
    ("batch", "count", "alpha"), [pytest.param(1, 5, 0.0, marks=pytest.mark.slow), (2, 2, 2.0)]
)
def test_the_bound_is_the_same_for_every_minibatch_size(
    x64: None, batch: int, count: int, alpha: float
) -> None:
    found = [
        expected_derivative(RenyiELBO(alpha, count), local(batch, rows), at(**LOCAL))
        for rows in itertools.combinations(range(4), batch)
    ]
    loss, gradient = jax.tree.map(lambda *x: np.mean(x, axis=0), *found)
    np.testing.assert_allclose(loss, by_hand(count, alpha), rtol=1e-12)

    def whole(u: Any) -> Any:
        LOCAL_AT = {"u": u}
        return sum(
            expected_bound(local(1, [i]), LOCAL_AT, alpha, count, keep=(-1,), scale=4.0) / 4 for i in range(4)
        )

    np.testing.assert_allclose(gradient["u"], jax.grad(whole)(at(**LOCAL)["u"]), rtol=1e-10)


@pytest.mark.slow
def test_five_particles_over_minibatches_of_normals() -> None:
    """IWAE with K = 5: 6.9324 for every batch, above −log p(x) = 6.657 (z-test)."""

    def pair(batch: int) -> tuple[Any, Any]:
        def model() -> None:
            with plate("data", 4, batch):
                z = sample("z", Normal(0.0, 1.0))
                sample("x", Normal(z, 1.0), obs=svijax.subsample(SINGLE))

        def guide() -> None:
            with plate("data", 4, batch):
                sample("z", Normal(0.0, 1.0))

        return model, guide

    for batch in (4, 2, 1):
        loss = lambda k: RenyiELBO(0.0, 5).loss(k, {}, *pair(batch))  # noqa: B023, E731
        found = np.asarray(jax.jit(jax.vmap(loss))(jax.random.split(jax.random.key(batch), 200_000)))
        # By quadrature, 21 nodes for each of the five draws.
        assert abs(found.mean() - 6.9324077) < 4 * found.std() / np.sqrt(len(found)) < 0.03


def test_a_hundred_elements_two_at_a_time() -> None:
    def program(batch: int, observed: bool) -> Any:
        def run() -> None:
            with plate("data", 100, batch):
                sample("z", Normal(0.0, 1.0))
                if observed:
                    sample("y", Bernoulli(0.6), obs=np.ones(batch, np.int32))

        return run

    for batch, alpha, count in ((2, 0.0, 2), (7, 2.0, 3)):
        pair = program(batch, True), program(batch, False)
        objective = RenyiELBO(alpha, count)
        loss = jax.jit(lambda k, o=objective, pair=pair: o.loss(k, {}, *pair))(jax.random.key(0))
        np.testing.assert_allclose(loss, 51.0825624, rtol=1e-6)


@pytest.mark.parametrize(
    ("n", "k", "order"), [(3, 5, (0, 1, 2)), (2, 3, (0, 1, 2)), (2, 3, (2, 0, 1)), (1, 1, (1, 2, 0))]
)
def test_three_plates_two_of_which_subsample(n: int, k: int, order: tuple[int, ...]) -> None:
    """Slices of shape (n, 4, k), their sum scaled by 3 · 5 / (n k): each is its own problem."""
    sizes, batches = (3, 4, 5), (n, 4, k)
    data = np.random.default_rng(0).normal(size=sizes).astype(np.float32)

    def program(observed: bool) -> Any:
        def run() -> None:
            plates = [plate(f"p{i}", sizes[i], batches[i], dim=i - 3) for i in range(3)]
            with plates[order[0]], plates[order[1]], plates[order[2]]:
                z = sample("z", Normal(0.0, 1.0))
                if observed:
                    sample("x", Normal(z, 1.0), obs=svijax.subsample(data))

        return run

    from svijax.handlers import seed, trace

    key = jax.random.key(1)
    loss = jax.jit(lambda k: RenyiELBO(0.5, 3).loss(k, {}, program(True), program(False)))(key)
    rows = trace(seed(program(False), rng_seed=key)).get_trace()
    rows = [np.asarray(rows[f"p{i}"].value) for i in range(3)]
    noise = svijax.density.draw(key, svijax.density.noise_layout(program(False), (), {}), 3).normal
    z = np.asarray(noise).reshape(3, n, 4, k)
    log_w = np.asarray(Normal(z, 1.0).log_prob(data[np.ix_(*rows)]))
    want = -(15 / (n * k)) * np.sum(np.log(np.mean(np.exp(0.5 * log_w), axis=0)) / 0.5)
    np.testing.assert_allclose(loss, want, rtol=2e-6)


def test_plates_inside_the_common_one_are_summed(x64: None) -> None:
    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
        with plate("i", 2, dim=-1), plate("j", 3, dim=-2):
            sample("y", Normal(a, 1.0), obs=np.arange(6.0).reshape(3, 2) / 4)

    def guide() -> None:
        with plate("i", 2):
            sample("a", Bernoulli(logits=param("u", np.zeros(2))))

    case, params = Expectation(model, guide, enumerated({"a": (2,)})), at(u=[0.3, -0.4])
    close(expected_derivative(RenyiELBO(0.5), case, params), truth(case, params, 0.5, keep=(-1,)))


def test_a_plate_that_does_not_hold_every_site() -> None:
    def pair(where: str) -> tuple[Any, Any]:
        def model() -> None:
            m = sample("m", Normal(0.0, 1.0)) if where == "model" else 0.0
            with plate("data", 4, 2):
                z = sample("z", Normal(m, 1.0))
                sample("x", Normal(z, 1.0), obs=svijax.subsample(SINGLE))

        def guide() -> None:
            if where == "model":
                sample("m", Normal(0.0, 1.0))
            else:
                svijax.factor("extra", param("f", 0.0))
            with plate("data", 4, 2):
                sample("z", Normal(0.0, 1.0))

        return model, guide

    for where, name in (("model", "model site 'm'"), ("guide", "guide site 'extra'")):
        svi = SVI(*pair(where), 1e-2, ImportanceWeightedELBO(3))
        with pytest.raises(ModelError) as error:
            svi.run(jax.random.key(0), 2, progress_bar=False)
        text = str(error.value)
        assert f"ImportanceWeightedELBO: plate 'data' subsamples, and {name} does not stand in it." in text
        assert "leave subsample_size of 'data' out, or use Trace_ELBO" in text


# Weights


def test_no_latents_gives_the_elbo() -> None:
    def model() -> None:
        with plate("data", 4):
            sample("x", Normal(param("m", 0.3), 1.0), obs=SINGLE)

    def guide() -> None:
        return None

    loss = lambda objective: jax.jit(  # noqa: E731
        jax.value_and_grad(lambda p: objective.loss(jax.random.key(0), p, model, guide))
    )(at(m=0.3))
    want = loss(Trace_ELBO())
    for alpha, count in itertools.product((0.0, 2.0), (1, 3)):
        close(loss(RenyiELBO(alpha, count)), want, 1e-6)


def test_one_particle_is_the_elbo(x64: None) -> None:
    case, params = ladder(), at(**LADDER)
    want = jax.jit(jax.value_and_grad(case.loss))(params)
    close(expected_derivative(ImportanceWeightedELBO(1), case, params), want)
    close(expected_derivative(RenyiELBO(0.5, 1), case, params), want)


def test_a_scale_is_part_of_the_weights(x64: None) -> None:
    case, params = local(4, factor=3.0), at(**LOCAL)
    got = expected_derivative(RenyiELBO(0.0, 1), case, params)
    close(got[0], 3 * by_hand(1, 0.0))
    one = local(1, [0], factor=3.0)
    want = truth(one, params, 0.0, keep=(-1,), scale=4.0)
    close(expected_derivative(RenyiELBO(), one, params), want)


def test_terms_by_site_are_means_over_particles() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, 1.0), obs=0.7)

    def guide() -> None:
        sample("z", Normal(param("m", 0.3), 0.8))

    key, params = jax.random.key(0), at(m=0.3)
    got = RenyiELBO(0.0, 4).evaluate(key, params, model, guide)
    want = Trace_ELBO(4).evaluate(key, params, model, guide)
    close((got.log_p, got.log_q), (want.log_p, want.log_q), 1e-6)
    assert got.loss < want.loss and set(got.log_p) == {"z", "x"} and set(got.log_q) == {"z"}


# An autoguide's shared vector


def test_latents_of_a_shared_vector_are_weighed_apart() -> None:
    def model() -> None:
        with plate("data", 4):
            s = sample("s", dist.LogNormal(0.0, 0.5))
            w = sample("w", Normal(0.0, 1.0).expand([2]).to_event(1))
            sample("x", Normal(w.sum(-1), s), obs=SINGLE)

    def guide() -> None:
        with plate("data", 4):
            s = param("s_auto_scale", np.full(4, 0.3), constraint=dist.constraints.positive)
            sample("s", dist.LogNormal(param("s_auto_loc", np.zeros(4)), s))
            t = param("w_auto_scale", np.full((4, 2), 0.3), constraint=dist.constraints.positive)
            sample("w", Normal(param("w_auto_loc", np.zeros((4, 2))), t).to_event(1))

    params = at(
        s_auto_loc=[0.1, 0.2, -0.3, 0.0], s_auto_scale=[0.3, 0.4, 0.5, 0.6],
        w_auto_loc=np.arange(8).reshape(4, 2) / 10, w_auto_scale=np.full((4, 2), 0.4),
    )  # fmt: skip
    for chosen in (None, DReG()):
        losses = [
            jax.jit(
                jax.value_and_grad(
                    lambda p, g=g, c=chosen: RenyiELBO(0.5, 3, estimator=c).loss(
                        jax.random.key(0), p, model, g
                    )
                )
            )(params)
            for g in (AutoNormal(model), guide)
        ]
        close(losses[0], losses[1], 2e-4)


@pytest.mark.parametrize(("family", "chosen"), [(AutoNormal, DReG()), (AutoDiagonalNormal, None)], ids=str)
def test_autoguides_fit(family: Any, chosen: Any) -> None:
    def model() -> None:
        s = sample("s", dist.LogNormal(0.0, 0.5))
        with plate("data", 4):
            z = sample("z", Normal(0.0, 1.0))
            sample("x", Normal(z, s), obs=SINGLE)

    svi = SVI(model, family(model), optax.adam(0.05), ImportanceWeightedELBO(4, estimator=chosen))
    fit = svi.run(jax.random.key(0), 600, progress_bar=False)
    assert np.mean(fit.losses[-100:]) < np.mean(fit.losses[:20]) - 0.3


# The end of it: the bound tightens towards the evidence


@pytest.mark.slow
def test_more_particles_tighten_the_bound() -> None:
    y = np.array([0.3, -1.2, 0.8, 2.1, 0.4], np.float32)
    covariance = np.eye(5) + 4.0
    log_det = np.linalg.slogdet(covariance)[1]
    evidence = -0.5 * (y @ np.linalg.solve(covariance, y) + log_det + 5 * np.log(2 * np.pi))

    def model(y: Any) -> None:
        m = sample("m", Normal(0.0, 2.0))
        t = sample("t", Normal(0.0, 1.0))
        with plate("data", 5):
            sample("y", Normal(m + 0 * t, 1.0), obs=y)

    def guide(y: Any) -> None:
        m = sample("m", Normal(param("loc", 0.0), 1.0))
        sample("t", Normal(param("slope", 0.0) * m, 1.5))

    bounds = []
    for count in (1, 5, 50):
        svi = SVI(model, guide, optax.adam(0.05), ImportanceWeightedELBO(count))
        fit = svi.run(jax.random.key(0), 300, y, progress_bar=False)
        mean, error = svi.estimate(fit.state, y, num_particles=4000)
        bounds.append(-mean)
        assert -mean < evidence + 4 * error
    assert bounds[0] < bounds[1] - 0.2 < bounds[2] - 0.25 and evidence - bounds[2] < 0.05
    assert evidence - bounds[1] < 0.3 * (evidence - bounds[0])


# Options of all objectives


def options_pair() -> tuple[Any, Any]:
    def model() -> None:
        held = svijax.mutable("count", {"x": jnp.zeros(())})
        z = sample("z", Normal(0.0, 1.0))
        k = sample("k", Bernoulli(0.3))
        held["x"] = held["x"] + z
        sample("x", Normal(z + k, 1.0), obs=0.7)

    def guide() -> None:
        z = sample("z", Normal(param("m", 0.3), param("s", 0.8)))
        sample("k", Bernoulli(logits=param("u", 0.1) + z))

    return model, guide


@pytest.mark.slow
def test_memory_options_change_nothing() -> None:
    params = at(m=0.3, s=0.8, u=0.1)

    def run(**options: Any) -> Any:
        objective = RenyiELBO(0.5, 4, estimator=DReG(), **options)

        def loss(p: Any) -> Any:
            found = objective.evaluate(jax.random.key(0), p, *options_pair())
            return found.loss, found

        def both(p: Any) -> Any:
            return jax.value_and_grad(loss, has_aux=True)(p)

        return jax.jit(both)(params)

    want = run()
    for options in ({"vectorize_particles": False}, {"particle_batch": 2}, {"remat": True}):
        close(run(**options), want, 2e-5)


@pytest.mark.slow
def test_nothing_leaks() -> None:
    objective = RenyiELBO(0.5, 2, estimator=DReG())
    loss = lambda p: objective.loss(jax.random.key(0), p, *options_pair())  # noqa: E731
    with jax.checking_leaks():
        jax.jit(jax.grad(loss))(at(m=0.3, s=0.8, u=0.1))


@pytest.mark.slow
def test_in_fits_and_chains() -> None:
    objective = RenyiELBO(0.5, 3, estimator={"z": DReG()})
    assert hash(objective) == hash(RenyiELBO(0.5, 3, estimator={"z": DReG()}))
    assert replace(ImportanceWeightedELBO(2), num_particles=4) == ImportanceWeightedELBO(4)
    svi = SVI(*options_pair(), optax.adam(1e-2), objective)
    state = svi.init(jax.random.key(0))
    loss = svi.evaluate(state)
    state, first = svi.update(state)
    np.testing.assert_allclose(first, loss, rtol=1e-6)
    chains = svi.run(jax.random.key(0), 20, num_chains=2, progress_bar=False)
    alone = svi.run(jax.random.split(jax.random.key(0), 2)[1], 20, progress_bar=False)
    np.testing.assert_allclose(chains.losses[1], alone.losses, rtol=2e-4)
    assert chains.state.mutable["count"]["x"].shape == (2,)


def test_the_state_is_that_of_the_first_particle() -> None:
    key = jax.random.key(0)
    found = RenyiELBO(0.0, 3).evaluate(key, at(m=0.3, s=0.8, u=0.1), *options_pair())
    noise = svijax.density.draw(key, svijax.density.noise_layout(options_pair()[1], (), {}), 3).normal
    np.testing.assert_allclose(found.mutable["count"]["x"], 0.3 + 0.8 * noise[0, 0], rtol=1e-6)


def test_fixed_draws_and_antithetic_noise() -> None:
    case, params = normals(False, 3), at(m=0.3, s=0.8, noise=1.0)
    fixed = RenyiELBO(0.0, fixed_draws=6)
    losses = [fixed.loss(jax.random.key(i), params, case.model, case.guide) for i in (0, 1)]
    assert losses[0] == losses[1]
    plain, mirrored = (RenyiELBO(0.0, 4, noise=n) for n in (svijax.density.PlainNoise(), Antithetic()))
    keys = jax.random.split(jax.random.key(0), 2000)
    spread = [
        np.std(
            jax.jit(jax.vmap(lambda k, o=o: jax.grad(o.loss, 1)(k, params, case.model, case.guide)["m"]))(
                keys
            )
        )
        for o in (plain, mirrored)
    ]
    assert spread[1] < 0.8 * spread[0]


# What cannot be


def test_alpha_of_one_and_other_nonsense() -> None:
    with pytest.raises(ArgumentError, match="use Trace_ELBO, which is the bound as alpha goes to 1"):
        RenyiELBO(1.0)
    for alpha in (True, "a", float("nan"), None):
        with pytest.raises(ArgumentError, match="alpha must be a number other than 1"):
            RenyiELBO(alpha)
    with pytest.raises(ArgumentError, match="num_particles must be an int"):
        RenyiELBO(0.0, 0)


def refused(objective: Any, wrap: Any = lambda guide: guide) -> str:
    model, guide = options_pair()
    svi = SVI(model, wrap(guide), 1e-3, objective)
    with pytest.raises(ModelError) as error:
        svi.run(jax.random.key(0), 2, progress_bar=False)
    return str(error.value)


def test_estimators_that_weighed_particles_cannot_use() -> None:
    text = refused(RenyiELBO(estimator={"z": PathDerivative()}))
    assert "guide site 'z': PathDerivative cannot be used here." in text
    assert "the score that it leaves out has an expectation; use DReG()" in text
    assert "made for objectives that are means" in refused(RenyiELBO(estimator=ClosedFormEntropy()))
    for baseline in (RunningMean(), LeaveOneOut()):
        text = refused(RenyiELBO(estimator=ScoreFunction(baseline)))
        assert f"{type(baseline).__name__} compares the costs of single particles" in text
    text = refused(RenyiELBO(), lambda guide: estimator(guide, estimator=PathDerivative()))
    assert "guide site 'z': PathDerivative cannot be used here." in text
    with pytest.raises(UnknownNameError):
        RenyiELBO(estimator={"zz": DReG()}).loss(jax.random.key(0), at(m=0.3, s=0.8, u=0.1), *options_pair())


def test_estimators_that_means_over_particles_cannot_use() -> None:
    for chosen in (DReG(), {"z": DReG()}, ScoreFunction(VIMCO())):
        assert "made for bounds that weigh particles" in refused(Trace_ELBO(2, estimator=chosen))
    with pytest.raises(ArgumentError, match="VIMCO compares particles"):
        VIMCO().value(jnp.zeros(1), None, None)


def test_scores_need_draws_that_are_new_and_independent() -> None:
    assert "fixed_draws" in refused_at_once(RenyiELBO(0.0, fixed_draws=4))
    text = refused(RenyiELBO(0.0, 2, noise=Antithetic(), estimator={"z": ScoreFunction()}))
    assert "Antithetic makes its draws depend on those of other particles" in text


def refused_at_once(objective: Any) -> str:
    with pytest.raises(ArgumentError) as error:
        objective.loss(jax.random.key(0), at(m=0.3, s=0.8, u=0.1), *options_pair())
    return str(error.value)
