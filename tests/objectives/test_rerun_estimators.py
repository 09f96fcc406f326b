"""DisARM, measure-valued derivatives and enumeration of one site: exact expectations, variances, what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import Expectation, enumerated
from exact_reruns import assert_exact, expected, given_uniforms, wanted
from test_expected_gradients import (
    PROGRAMS,
    bernoulli_pair,
    local_then_global,
    masked_pair,
    nested_plates,
    other_order,
)

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO, TraceGraph_ELBO
from svijax.handlers import scale
from svijax.objectives import DisARM, Enumerate, LeaveOneOut, MeasureValued, ScoreFunction

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli, Categorical = dist.Normal, dist.Bernoulli, dist.Categorical
__all__ = ["given_uniforms"]

pytestmark = pytest.mark.usefixtures("x64", "given_uniforms")

ESTIMATORS = [DisARM(), MeasureValued(), Enumerate()]
every_estimator = pytest.mark.parametrize("how", ESTIMATORS, ids=lambda e: type(e).__name__)
mostly_order = pytest.mark.parametrize(
    "kind", [Trace_ELBO, pytest.param(TraceGraph_ELBO, marks=pytest.mark.slow)], ids=["order", "graph"]
)
both_links = pytest.mark.parametrize("kind", [Trace_ELBO, TraceGraph_ELBO], ids=["order", "graph"])


def coins(how: Any, *names: str) -> tuple[str, ...]:
    return names if isinstance(how, DisARM) else ()


# Known constants


@every_estimator
@pytest.mark.parametrize(
    ("priors", "loss", "gradient"),
    [((0.2, 0.4), 0.9531184878, 3.9889840466), ((0.1, 0.2, 0.3), 2.3212861762, 7.7266536648)],
)
def test_bernoullis(how: Any, priors: Any, loss: float, gradient: float) -> None:
    model, guide = bernoulli_pair(*priors)
    names = [f"z{i}" for i in range(len(priors))]
    case = Expectation(scale(model, 10.0), scale(guide, 10.0), enumerated(dict.fromkeys(names, ())))
    got = expected(case, Trace_ELBO(estimator=how), {"q": jnp.array(0.75)}, coins(how, *names))
    np.testing.assert_allclose(got[0], 10 * loss, rtol=1e-9)
    np.testing.assert_allclose(got[1]["q"], 10 * gradient, rtol=1e-9)


@mostly_order
@pytest.mark.parametrize("at_y", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("at_z", [ScoreFunction(), *ESTIMATORS], ids=lambda e: type(e).__name__)
def test_one_bernoulli_on_another(kind: Any, at_y: Any, at_z: Any) -> None:
    def model() -> None:
        y = sample("y", Bernoulli(0.33))
        sample("z", Bernoulli(0.55 * y + 0.10))

    def guide() -> None:
        y = sample("y", Bernoulli(param("q1", 0.5)))
        sample("z", Bernoulli(param("q2", 0.5) * y + 0.10))

    case = Expectation(model, guide, enumerated({"y": (), "z": ()}))
    objective = kind(estimator={"y": at_y, "z": at_z})
    params = {"q1": jnp.array(0.43), "q2": jnp.array(0.27)}
    _, got, _ = expected(case, objective, params, coins(at_y, "y") + coins(at_z, "z"))
    np.testing.assert_allclose([got["q1"], got["q2"]], [0.5881558425, -0.4950400895], atol=1e-9)


def tangle() -> Expectation:
    def model() -> None:
        a = sample("a", Bernoulli(0.33))
        b = sample("b", Bernoulli(0.25 * a + 0.50))
        c = sample("c", Bernoulli(0.25 * a + 0.10 * b + 0.50))
        sample("d", Bernoulli(0.03 * b + 0.04 * c + 0.32))

    def guide() -> None:
        for name in "abcd":
            sample(name, Bernoulli(param(f"q_{name}", 0.5)))

    return Expectation(model, guide, enumerated(dict.fromkeys("abcd", ())))


@pytest.mark.parametrize(
    "hows",
    [
        [DisARM()] * 4,
        [MeasureValued()] * 4,
        [Enumerate()] * 4,
        [Enumerate(), DisARM(), ScoreFunction(), MeasureValued()],
        [ScoreFunction(), Enumerate(), DisARM(), Enumerate()],
        [DisARM(), ScoreFunction(), Enumerate(), ScoreFunction()],
    ],
    ids=lambda hows: "-".join(type(e).__name__ for e in hows),
)
def test_a_graph_that_is_no_tree(hows: Any) -> None:
    params = {f"q_{n}": jnp.array(q) for n, q in zip("abcd", (0.33, 0.51, 0.37, 0.29), strict=True)}
    objective = Trace_ELBO(estimator=dict(zip("abcd", hows, strict=True)))
    names = tuple(n for n, how in zip("abcd", hows, strict=True) if isinstance(how, DisARM))
    loss, got, _ = expected(tangle(), objective, params, names)
    np.testing.assert_allclose(loss, 0.2535733034, atol=1e-9)
    want = [0.5227335897, -0.1747934455, -1.1289954543, -0.275076059]
    np.testing.assert_allclose([got[f"q_{n}"] for n in "abcd"], want, atol=1e-9)


@pytest.mark.parametrize("how", [MeasureValued(), Enumerate()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(("batch", "factor"), [(2, 1.0), (1, 3.0)])
def test_categoricals_per_datum(how: Any, one_hot: bool, factor: float, batch: int) -> None:
    q, data = np.array([[0.4, 0.6], [0.5, 0.5]]), np.array([-0.5, 2.0])
    kind = dist.OneHotCategorical if one_hot else Categorical

    def model() -> None:
        with plate("data", 2, batch):
            z = sample("z", kind(probs=np.array([0.3, 0.7])))
            sample("x", Normal(z[..., 1] if one_hot else z, 1.0), obs=svijax.subsample(data))

    def guide() -> None:
        with plate("data", 2, batch):
            sample("z", kind(logits=param("logits", np.zeros((2, 2)), event_dim=1)))

    case = Expectation(scale(model, factor), scale(guide, factor), enumerated({"z": (batch,)}))
    loss, got = averaged(case, Trace_ELBO(estimator=how), {"logits": jnp.log(q)}, "data", 2, batch, one_hot)
    np.testing.assert_allclose(loss, factor * 3.9226361811, rtol=1e-9)
    want = np.array([[-0.13396014, 0.13396014], [0.58682447, -0.58682447]])
    np.testing.assert_allclose(got["logits"], factor * want, atol=1e-7)


def averaged(
    case: Expectation, objective: Any, params: Any, name: str, size: int, batch: int, one_hot: bool = False
) -> Any:
    """Means over all minibatches of the expected loss and gradient."""
    found = []
    for rows in itertools.combinations(range(size), batch):
        case.rows = {name: np.array(rows)}
        if one_hot:  # the cuts do not depend on the draws, which are no indices here
            tables = np.asarray(jax.nn.softmax(params["logits"]))[list(rows)]
            found.append(expected(case, objective, params, nodes=cuts_of(tables))[:2])
        else:
            names = ("z",) if isinstance(objective.estimator, DisARM) else ()
            found.append(expected(case, objective, params, names)[:2])
    return jax.tree.map(lambda *x: np.mean(x, axis=0), *found)


def cuts_of(tables: Any) -> Any:
    """Middles and lengths for independent draws with these probabilities, (elements, 2)."""
    middles = [(p[0] / 2, (1 + p[0]) / 2) for p in tables]
    draws = jnp.array(list(itertools.product(*middles)))
    return {"z": draws}, {}, jnp.array([np.prod(w) for w in itertools.product(*tables)])


@every_estimator
@mostly_order
@pytest.mark.parametrize(
    ("batch", "factor"), [(4, 1.0), pytest.param(2, 3.0, marks=pytest.mark.slow), (1, 1.0)]
)
def test_coins_under_subsampling(how: Any, kind: Any, factor: float, batch: int) -> None:
    data = np.array([0.3, -0.2, 1.5, 2.0])

    def model() -> None:
        with plate("data", 4, batch):
            z = sample("z", Bernoulli(0.4))
            sample("x", Normal(z, 1.0), obs=svijax.subsample(data))

    def guide() -> None:
        with plate("data", 4, batch):
            sample("z", Bernoulli(logits=param("logit", 0.0)))

    case = Expectation(scale(model, factor), scale(guide, factor), enumerated({"z": (batch,)}))
    loss, got = averaged(case, kind(estimator=how), {"logit": jnp.array(0.2)}, "data", 4, batch)
    np.testing.assert_allclose(loss, factor * 6.16838796, rtol=1e-8)
    np.testing.assert_allclose(got["logit"], factor * 0.20342408, rtol=1e-7)


@every_estimator
def test_draws_count_where_their_density_is_masked(how: Any) -> None:
    case = Expectation(*masked_pair(), enumerated({"z": ()}))
    _, got, _ = expected(case, Trace_ELBO(estimator=how), {"logit": jnp.array(0.2)}, coins(how, "z"))
    np.testing.assert_allclose(got["logit"], -0.37127486, rtol=1e-7)


# Shapes of programs

LARGE = {"auxiliary", "nested_plates", "local_then_global"}
SHAPES = [pytest.param(f, marks=[pytest.mark.slow] * (f.__name__ in LARGE), id=f.__name__) for f in PROGRAMS]


@mostly_order
@pytest.mark.parametrize("how", [MeasureValued(), DisARM()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("program", SHAPES)
def test_unbiased_at_the_first_site(how: Any, kind: Any, program: Any) -> None:
    case = program()
    name = next(iter(case.expectation.nodes.values))
    assert_exact(case.expectation, kind(estimator={name: how}), case.params, coins(how, name))


@both_links
@pytest.mark.parametrize(
    ("program", "names"),
    [
        (other_order, "ab"),
        pytest.param(nested_plates, "g", marks=pytest.mark.slow),
        pytest.param(local_then_global, "b", marks=pytest.mark.slow),
        pytest.param(local_then_global, "gb", marks=pytest.mark.slow),
    ],
)
def test_unbiased_where_it_sums(kind: Any, program: Any, names: str) -> None:
    case = program()
    assert_exact(case.expectation, kind(estimator=dict.fromkeys(names, Enumerate())), case.params)


@pytest.mark.parametrize("how", [Enumerate(), MeasureValued(), DisARM()], ids=lambda e: type(e).__name__)
def test_continuous_draws_around_it(how: Any) -> None:
    """Reparameterised draws before and after a coin, and data below both."""

    def model() -> None:
        x = sample("x", Normal(0.0, 1.0))
        z = sample("z", Bernoulli(0.3))
        w = sample("w", Normal(z + x, 1.0))
        sample("y", Normal(w * (1 + z), 1.0), obs=0.7)

    def guide() -> None:
        x = sample("x", Normal(param("m", 0.0), 0.8))
        z = sample("z", Bernoulli(logits=param("a", 0.0) + 0.4 * x))
        sample("w", Normal(param("n", 0.0) * z + x, param("s", 1.0)))

    params = {"m": jnp.array(0.3), "a": jnp.array(-0.2), "n": jnp.array(0.6), "s": jnp.array(0.7)}
    # At two nodes of the noise, exactly: E over the coin of the gradient at fixed noise is that of enumeration.
    for e in ([0.4, -1.1], [-0.9, 0.3]):
        noise = {"x": np.array([e[0]]), "w": np.array([e[1]])}
        nodes = enumerated({"z": ()})
        nodes = nodes._replace(noise={k: np.repeat(v, 2) for k, v in noise.items()})
        assert_exact(Expectation(model, guide, nodes), Trace_ELBO(estimator=how), params, coins(how, "z"))


@every_estimator
def test_wrappers_and_both_parameters(how: Any) -> None:
    """Coins by probability or logit, expanded by a plate, under to_event, masked."""

    def model() -> None:
        with plate("i", 2):
            z = sample("z", Bernoulli(0.3))
            u = sample("u", Bernoulli(np.full((2, 1), 0.4)).to_event(1).mask(np.array([True, False])))
            sample("y", Normal(z + 2 * u[:, 0], 1.0), obs=np.array([0.5, 1.2]))

    def guide() -> None:
        p = jax.nn.sigmoid(param("a", 0.0))
        with plate("i", 2):
            sample("z", Bernoulli(p))
            logits = param("b", np.zeros((2, 1)), event_dim=1)
            sample("u", Bernoulli(logits=logits).to_event(1))

    params = {"a": jnp.array(0.3), "b": jnp.array([[0.2], [-0.4]])}
    case = Expectation(model, guide, enumerated({"z": (2,), "u": (2, 1)}))
    for name in "zu":
        assert_exact(case, Trace_ELBO(estimator={name: how}), params, coins(how, name))


@pytest.mark.parametrize("how", [MeasureValued(), DisARM()], ids=lambda e: type(e).__name__)
def test_vectors_whose_costs_are_one_number(how: Any) -> None:
    case, params = vector(3)
    square = assert_exact(case, Trace_ELBO(estimator=how), params, coins(how, "z"))
    score = assert_exact(case, Trace_ELBO(), params)
    assert np.all(square["a"] < score["a"])


def vector(n: int) -> tuple[Expectation, Any]:
    """n coins in one event, read together."""
    slopes = np.array([1.0, -0.5, 2.0, 0.7])[:n]

    def model() -> None:
        z = sample("z", Bernoulli(np.full(n, 0.4)).to_event(1))
        sample("y", Normal((z * slopes).sum() * (1 + z[0]), 1.0), obs=1.3)

    def guide() -> None:
        sample("z", Bernoulli(logits=param("a", np.zeros(n))).to_event(1))

    return Expectation(model, guide, enumerated({"z": (n,)})), {"a": jnp.array([0.3, -0.6, 0.1, 0.5][:n])}


def test_plates_side_by_side_in_turns_and_at_once() -> None:
    """Elements along a plate change at once, those of the event inside it in turns."""

    def model() -> None:
        with plate("i", 2):
            z = sample("z", Categorical(np.full((2, 2, 3), 1 / 3)).to_event(1))
            sample("y", Normal(z[:, 0] * 1.0 - z[:, 1] ** 2, 1.0), obs=np.array([0.4, -1.0]))

    def guide() -> None:
        with plate("i", 2):
            sample("z", Categorical(logits=param("a", np.zeros((2, 2, 3)), event_dim=2)).to_event(1))

    a = jnp.array(np.random.default_rng(0).normal(size=(2, 2, 3)))
    case = Expectation(model, guide, enumerated({"z": (2, 2)}, 3))
    assert_exact(case, Trace_ELBO(estimator=MeasureValued()), {"a": a})


# What each is worth


def two_bits() -> tuple[Expectation, Any]:
    """f(z) = 0.3 z1 + 0.9 z2 + 0.5 z1 z2 and no densities that depend on the parameters but the guide's."""

    def model() -> None:
        z = sample("z", Bernoulli(np.full(2, 0.5)).to_event(1))
        svijax.factor("f", -(0.3 * z[0] + 0.9 * z[1] + 0.5 * z[0] * z[1]))

    def guide() -> None:
        sample("z", Bernoulli(logits=param("a", np.zeros(2))).to_event(1))

    return Expectation(model, guide, enumerated({"z": (2,)})), {"a": jnp.array([0.4, -0.7])}


def test_disarm_is_below_leave_one_out_with_two_samples() -> None:
    case, params = two_bits()
    _, want = wanted(case, params)
    square = assert_exact(case, Trace_ELBO(estimator=DisARM()), params, ("z",))
    ours = square["a"] - want["a"] ** 2
    theirs = variance_of_leave_one_out(case, params)
    assert np.all(ours < theirs), (ours, theirs)


def variance_of_leave_one_out(case: Expectation, params: Any) -> np.ndarray:
    """By all pairs of draws of two particles."""
    from exact_expectations import evaluate_at

    values = jnp.array(list(itertools.product((0, 1), repeat=2)))
    q = jax.nn.sigmoid(params["a"])
    weights = jnp.prod(jnp.where(values == 1, q, 1 - q), axis=1)
    objective = Trace_ELBO(2, estimator=ScoreFunction(LeaveOneOut()))

    def one(i: Any, j: Any) -> Any:
        points = [({"z": values[k]}, {}) for k in (i, j)]
        loss = lambda p: evaluate_at(objective, case.model, case.guide, p, points).loss  # noqa: E731
        return jax.grad(loss)(params)["a"]

    i, j = jnp.meshgrid(jnp.arange(4), jnp.arange(4))
    found = jax.jit(jax.vmap(one))(i.ravel(), j.ravel())
    weight = (weights[i] * weights[j]).ravel()
    return np.asarray(weight @ found**2 - (weight @ found) ** 2)


def test_a_sum_over_values_leaves_no_variance() -> None:
    model, guide = bernoulli_pair(0.2)
    keys = jax.random.split(jax.random.key(0), 8)
    loss = lambda q, k: Trace_ELBO(estimator=Enumerate()).loss(k, {"q": q}, model, guide)  # noqa: E731
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(jnp.array(0.75), keys)
    np.testing.assert_allclose(values, values[0], rtol=1e-13)
    np.testing.assert_allclose(values[0], 0.75 * np.log(0.75 / 0.2) + 0.25 * np.log(0.25 / 0.8), rtol=1e-12)
    np.testing.assert_allclose(slopes, np.log(0.75 / 0.25) - np.log(0.2 / 0.8), rtol=1e-12)


@both_links
@pytest.mark.parametrize(
    "hows", [{"y": Enumerate()}, {"y": Enumerate(), "z": Enumerate()}], ids=["one", "both"]
)
def test_second_derivatives_of_a_sum(kind: Any, hows: Any) -> None:
    def model() -> None:
        y = sample("y", Bernoulli(0.33))
        z = sample("z", Bernoulli(0.55 * y + 0.10))
        sample("x", Normal(y + 2 * z, 1.0), obs=0.4)

    def guide() -> None:
        y = sample("y", Bernoulli(logits=param("a", 0.0)))
        sample("z", Bernoulli(logits=param("b", 0.0) * (1 + y) + 0.10 * param("a", 0.0)))

    case = Expectation(model, guide, enumerated({"y": (), "z": ()}))
    params = {"a": jnp.array(0.43), "b": jnp.array(-0.27)}
    _, got, _ = expected(case, kind(estimator=hows), params, derivative=jax.hessian)
    _, want = wanted(case, params, jax.hessian)
    np.testing.assert_allclose(jax.tree.leaves(got), jax.tree.leaves(want), rtol=1e-9, atol=1e-9)
