"""E[∇ of one evaluation] = ∇ E[loss], exactly, for every kind of guide; and the constants of known cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import (
    Expectation,
    Nodes,
    assert_unbiased,
    compare,
    enumerated,
    gauss_hermite,
    over_minibatches,
    product,
)

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from svijax.density import Draws
from svijax.distributions import constraints
from svijax.handlers import mask, scale, substitute, supply

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Bernoulli, Normal, Categorical = dist.Bernoulli, dist.Normal, dist.Categorical

pytestmark = pytest.mark.usefixtures("x64")

OBJECTIVES = (Trace_ELBO(), TraceGraph_ELBO(), TraceMeanField_ELBO())


@pytest.fixture(params=OBJECTIVES, ids=lambda o: type(o).__name__)
def each(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each objective in turn, as that of all expectations."""
    monkeypatch.setattr(Expectation, "objective", request.param)
    return request.param


every_objective = pytest.mark.usefixtures("each")


def score(fn: Any, twin: bool = True) -> Any:
    """The deliberately non-reparameterised twin."""
    return fn.has_rsample_(False) if twin else fn


# Cases with known constants


def bernoulli_pair(*priors: float) -> tuple[Any, Any]:
    def model() -> None:
        for i, p in enumerate(priors):
            sample(f"z{i}", Bernoulli(p))

    def guide() -> None:
        q = param("q", 0.5, constraint=constraints.unit_interval)
        for i in range(len(priors)):
            sample(f"z{i}", Bernoulli(q))

    return model, guide


@every_objective
@pytest.mark.parametrize(
    ("priors", "q", "loss", "gradient"),
    [
        ((0.25,), 0.5, 0.1438410362, 1.0986122887),
        ((0.2, 0.4), 0.75, 0.9531184878, 3.9889840466),
        ((0.1, 0.2, 0.3), 0.75, 2.3212861762, 7.7266536648),
    ],
)
@pytest.mark.parametrize("factor", [10.0])
def test_bernoullis(priors: Any, q: float, loss: float, gradient: float, factor: float) -> None:
    model, guide = bernoulli_pair(*priors)
    pair = scale(model, factor), scale(guide, factor)
    nodes = enumerated({f"z{i}": () for i in range(len(priors))})
    got = assert_unbiased(Expectation(*pair, nodes), {"q": jnp.array(q)})
    np.testing.assert_allclose(got[0], factor * loss, rtol=1e-9)
    np.testing.assert_allclose(got[1]["q"], factor * gradient, rtol=1e-9)


@every_objective
@pytest.mark.parametrize("twin", [False, True], ids=["pathwise", "score"])
def test_three_normals(twin: bool) -> None:
    def model() -> None:
        for i, loc in enumerate((0.25, 0.5, 1.0)):
            sample(f"z{i}", Normal(loc, 1.0))

    def guide() -> None:
        for i in range(3):
            sample(f"z{i}", score(Normal(param("q", 0.0), 1.0), twin))

    nodes = gauss_hermite({f"z{i}": () for i in range(3)}, 4)
    if twin:  # at q = 0 and scale 1 the noise is the draw
        nodes = as_draws(nodes, {f"z{i}": (0.0, 1.0) for i in range(3)})
    expectation = Expectation(model, guide, nodes)
    loss, got, _ = compare(expectation, {"q": jnp.array(0.0)})
    np.testing.assert_allclose(got["q"], -1.75, rtol=1e-9)
    if not twin:
        np.testing.assert_allclose(loss, 0.65625, rtol=1e-9)


def as_draws(nodes: Nodes, places: Any) -> Nodes:
    """Nodes of noise as values to put in, each draw weighing its node and not its density."""
    values = {n: loc + s * np.asarray(nodes.noise[n]) for n, (loc, s) in places.items()}
    rest = {n: e for n, e in nodes.noise.items() if n not in places}
    density = sum(
        np.sum(
            -0.5 * nodes.noise[n] ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi),
            tuple(range(1, nodes.noise[n].ndim)),
        )
        for n, (_, s) in places.items()
    )
    return Nodes(values, rest, nodes.weight / np.exp(density))


@every_objective
@pytest.mark.parametrize(
    ("q1", "q2", "d1", "d2"),
    [
        (0.33, 0.55, 0.0, 0.0),
        (0.33, 0.27, 0.1618219367, -0.3799144873),
        (0.43, 0.55, 0.4263339058, 0.0),
        (0.43, 0.27, 0.5881558425, -0.4950400895),
    ],
)
def test_one_bernoulli_on_another(q1: float, q2: float, d1: float, d2: float) -> None:
    def model() -> None:
        y = sample("y", Bernoulli(0.33))
        sample("z", Bernoulli(0.55 * y + 0.10))

    def guide() -> None:
        y = sample("y", Bernoulli(param("q1", 0.5)))
        sample("z", Bernoulli(param("q2", 0.5) * y + 0.10))

    params = {"q1": jnp.array(q1), "q2": jnp.array(q2)}
    _, got = assert_unbiased(Expectation(model, guide, enumerated({"y": (), "z": ()})), params)
    np.testing.assert_allclose([got["q1"], got["q2"]], [d1, d2], atol=1e-9)


@every_objective
@pytest.mark.parametrize("twin", [False, True], ids=["pathwise", "score"])
def test_a_discrete_draw_below_a_continuous_one(twin: bool) -> None:
    q1, q2, q3 = 0.33, 0.44, 0.22

    def model() -> None:
        z = sample("z", Normal(param("q3", 0.0), 1.0))
        sample("y", Bernoulli(param("q4", 0.0) * jax.nn.sigmoid(z)))

    def guide() -> None:
        z = sample("z", score(Normal(param("q2", 0.0), 1.0), twin))
        sample("y", Bernoulli(param("q1", 0.0) * jax.nn.sigmoid(z)))

    noise = gauss_hermite({"z": ()}, 40)
    nodes = product(enumerated({"y": ()}), as_draws(noise, {"z": (q2, 1.0)}) if twin else noise)
    params = {"q1": jnp.array(q1), "q2": jnp.array(q2), "q3": jnp.array(q3), "q4": jnp.array((q1 + q2) / 2)}
    loss, got, _ = compare(Expectation(model, guide, nodes), params)
    want = [-0.1197937802, 0.2213469081, -0.22, 0.1139300752]
    np.testing.assert_allclose([got[f"q{i}"] for i in (1, 2, 3, 4)], want, atol=2e-9)
    np.testing.assert_allclose(loss, 0.0274372826, atol=1e-9)


@every_objective
def test_a_graph_that_is_no_tree() -> None:
    def model() -> None:
        a = sample("a", Bernoulli(0.33))
        b = sample("b", Bernoulli(0.25 * a + 0.50))
        c = sample("c", Bernoulli(0.25 * a + 0.10 * b + 0.50))
        sample("d", Bernoulli(0.03 * b + 0.04 * c + 0.32))

    def guide() -> None:
        for name in "abcd":
            sample(name, Bernoulli(param(f"q_{name}", 0.5)))

    params = {f"q_{n}": jnp.array(q) for n, q in zip("abcd", (0.33, 0.51, 0.37, 0.29), strict=True)}
    loss, got = assert_unbiased(Expectation(model, guide, enumerated(dict.fromkeys("abcd", ()))), params)
    np.testing.assert_allclose(loss, 0.2535733034, atol=1e-9)
    want = [0.5227335897, -0.1747934455, -1.1289954543, -0.275076059]
    np.testing.assert_allclose([got[f"q_{n}"] for n in "abcd"], want, atol=1e-9)


# Subsampling: minibatches are listed, each with the draws that it has.

DATA = np.array([-0.5, 2.0])


@every_objective
@pytest.mark.parametrize("twin", [False, True], ids=["pathwise", "score"])
@pytest.mark.parametrize(("batch", "factor"), [(2, 1.0), (1, 2.0)])
def test_normals_under_subsampling(twin: bool, factor: float, batch: int) -> None:
    def model() -> None:
        with plate("data", 2, batch):
            z = sample("z", Normal(0.0, 1.0))
            sample("x", Normal(z, 1.0), obs=svijax.subsample(DATA))

    def guide() -> None:
        with plate("data", 2, batch):
            loc = param("loc", np.zeros(2), event_dim=0)
            s = param("s", 1.0)
            sample("z", score(Normal(loc, s), twin))

    nodes = gauss_hermite({"z": (batch,)}, 5)
    nodes = as_draws(nodes, {"z": (0.0, 1.0)}) if twin else nodes
    expectation = Expectation(scale(model, factor), scale(guide, factor), nodes)
    loss, got = over_minibatches(expectation, {"loc": jnp.zeros(2), "s": jnp.array(1.0)}, "data", 2, batch)
    np.testing.assert_allclose(loss, factor * 4.9628771, rtol=1e-8)
    np.testing.assert_allclose(got["loc"], [factor * 0.5, -factor * 2.0], atol=1e-10)
    np.testing.assert_allclose(got["s"], factor * 2.0, rtol=1e-10)


@every_objective
@pytest.mark.parametrize(("batch", "factor"), [(2, 1.0), (1, 3.0)])
def test_categoricals_per_datum(factor: float, batch: int) -> None:
    q = np.array([[0.4, 0.6], [0.5, 0.5]])

    def model() -> None:
        with plate("data", 2, batch):
            z = sample("z", Categorical(probs=np.array([0.3, 0.7])))
            sample("x", Normal(z, 1.0), obs=svijax.subsample(DATA))

    def guide() -> None:
        with plate("data", 2, batch):
            sample("z", Categorical(logits=param("logits", np.zeros((2, 2)), event_dim=1)))

    expectation = Expectation(scale(model, factor), scale(guide, factor), enumerated({"z": (batch,)}))
    loss, got = over_minibatches(expectation, {"logits": jnp.log(q)}, "data", 2, batch)
    np.testing.assert_allclose(loss, factor * 3.9226361811, rtol=1e-9)
    want = np.array([[-0.13396014, 0.13396014], [0.58682447, -0.58682447]])
    np.testing.assert_allclose(got["logits"], factor * want, atol=1e-7)


@every_objective
@pytest.mark.parametrize(("batch", "factor"), [(4, 1.0), (2, 3.0), (1, 1.0)])
def test_scores_are_not_scaled_by_the_plate(factor: float, batch: int) -> None:
    data = np.array([0.3, -0.2, 1.5, 2.0])

    def model() -> None:
        with plate("data", 4, batch):
            z = sample("z", Bernoulli(0.4))
            sample("x", Normal(z, 1.0), obs=svijax.subsample(data))

    def guide() -> None:
        with plate("data", 4, batch):
            sample("z", Bernoulli(logits=param("logit", 0.0)))

    expectation = Expectation(scale(model, factor), scale(guide, factor), enumerated({"z": (batch,)}))
    loss, got = over_minibatches(expectation, {"logit": jnp.array(0.2)}, "data", 4, batch)
    np.testing.assert_allclose(loss, factor * 6.16838796, rtol=1e-8)
    np.testing.assert_allclose(got["logit"], factor * 0.20342408, rtol=1e-7)


def masked_pair(seen: bool = False) -> tuple[Any, Any]:
    def model() -> None:
        with mask(mask=seen):
            z = sample("z", Bernoulli(0.4))
        sample("x", Normal(z, 1.0), obs=2.0)

    def guide() -> None:
        with mask(mask=seen):
            sample("z", Bernoulli(logits=param("logit", 0.0)))

    return model, guide


@every_objective
def test_scores_are_not_masked() -> None:
    expectation = Expectation(*masked_pair(), enumerated({"z": ()}))
    _, got = assert_unbiased(expectation, {"logit": jnp.array(0.2)})
    np.testing.assert_allclose(got["logit"], -0.37127486, rtol=1e-7)


# Shapes of programs: always unbiased


class Program:
    """A pair of programs with the discrete latents of its guide, and parameters to differentiate at."""

    def __init__(self, model: Any, guide: Any, nodes: Nodes, **params: Any) -> None:
        self.expectation = Expectation(model, guide, nodes)
        self.params = {n: jnp.asarray(v, float) for n, v in params.items()}


def local_then_global() -> Program:
    """A global draw depends on all the local ones, and what comes after in the plate reads it."""

    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
        g = sample("g", Bernoulli(0.6))
        with plate("i", 2):
            sample("b", Bernoulli(0.2 + 0.3 * g + 0.2 * a))
            sample("y", Normal(a + 2 * g, 1.0), obs=np.array([0.5, -1.0]))

    def guide() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(logits=param("u", np.zeros(2))))
        g = sample("g", Bernoulli(jax.nn.sigmoid(param("v", 0.0) * (a[0] - 2 * a[1]) + 0.3)))
        with plate("i", 2):
            sample("b", Bernoulli(jax.nn.sigmoid(param("w", 0.0) + g - a)))

    return Program(model, guide, enumerated({"a": (2,), "g": (), "b": (2,)}), u=[0.3, -0.4], v=0.7, w=0.2)


def sibling_plates() -> Program:
    """Plates side by side of one size: the draws of one act on all elements of the other."""

    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
            sample("x", Normal(a, 1.0), obs=np.array([0.5, -1.0]))
        with plate("j", 2):
            b = sample("b", Bernoulli(0.2 + 0.5 * a[0] * a[1]))
            sample("y", Normal(b + a.sum(), 1.0), obs=np.array([1.5, 0.2]))

    def guide() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(logits=param("u", np.zeros(2))))
        with plate("j", 2):
            sample("b", Bernoulli(jax.nn.sigmoid(param("w", 0.0) + a[0] - 2 * a[1])))

    return Program(model, guide, enumerated({"a": (2,), "b": (2,)}), u=[0.3, -0.4], w=0.2)


def nested_plates() -> Program:
    """Row, column, cell and global draws; costs in all four places."""

    def model() -> None:
        g = sample("g", Bernoulli(0.3))
        with plate("i", 2, dim=-1):
            a = sample("a", Bernoulli(0.3 + 0.2 * g))
            with plate("j", 2, dim=-2):
                c = sample("c", Bernoulli(0.2 + 0.3 * a))
                sample("y", Normal(c + a + g, 1.0), obs=np.array([[0.1, 2.0], [-1.0, 0.7]]))
        svijax.factor("f", 0.3 * c.sum() * g)

    def guide() -> None:
        g = sample("g", Bernoulli(logits=param("t", 0.0)))
        with plate("i", 2, dim=-1):
            a = sample("a", Bernoulli(jax.nn.sigmoid(param("u", 0.0) * (1 + g))))
            with plate("j", 2, dim=-2):
                sample("c", Bernoulli(jax.nn.sigmoid(param("v", np.zeros((2, 1))) + a)))

    nodes = enumerated({"g": (), "a": (2,), "c": (2, 2)})
    return Program(model, guide, nodes, t=0.4, u=0.3, v=[[0.2], [-0.5]])


def one_plate_at_two_dims() -> Program:
    """A plate that the model enters at another dim than the guide's draw: element i is not axis −1 there."""

    def model() -> None:
        with plate("i", 2, dim=-1):
            a = sample("a", Bernoulli(0.3))
        with plate("j", 2, dim=-1), plate("i", 2, dim=-2):
            sample(
                "y", Normal(a[:, None] * np.array([1.0, 3.0]), 1.0), obs=np.array([[0.1, 2.0], [-1.0, 0.7]])
            )

    def guide() -> None:
        with plate("i", 2, dim=-1):
            sample("a", Bernoulli(logits=param("u", np.zeros(2))))

    return Program(model, guide, enumerated({"a": (2,)}), u=[0.3, -0.4])


def auxiliary() -> Program:
    """Variables that only the guide has, before and after what the model shares."""

    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
            sample("y", Normal(a, 1.0), obs=np.array([0.5, -1.0]))
        sample("z", Bernoulli(0.2 + 0.3 * a[0]))

    def guide() -> None:
        alone = {"is_auxiliary": True}
        h = sample("h", Bernoulli(logits=param("t", 0.0)), infer=alone)
        with plate("i", 2):
            k = sample("k", Bernoulli(jax.nn.sigmoid(param("s", 0.0) + h)), infer=alone)
            a = sample("a", Bernoulli(jax.nn.sigmoid(param("u", np.zeros(2)) + k - h)))
        sample("z", Bernoulli(jax.nn.sigmoid(0.3 - k[1] + a[0])))
        sample("l", Bernoulli(jax.nn.sigmoid(param("v", 0.0) * a[1])), infer=alone)

    nodes = enumerated({"h": (), "k": (2,), "a": (2,), "z": (), "l": ()})
    return Program(model, guide, nodes, t=0.4, s=0.2, u=[0.3, -0.4], v=0.6)


def factors_in_the_guide() -> Program:
    """A factor is no random variable: its own gradient counts, and draws before it are scored by it."""

    def model() -> None:
        a = sample("a", Bernoulli(0.3))
        sample("y", Normal(a, 1.0), obs=0.7)

    def guide() -> None:
        u = param("u", 0.0)
        a = sample("a", Bernoulli(logits=u))
        svijax.factor("f", 3 * u + 2 * a * u**2)

    return Program(model, guide, enumerated({"a": ()}), u=0.5)


def other_order() -> Program:
    """The model reads the latents in another order than the guide draws them."""

    def model() -> None:
        sample("x", Normal(param("loc", 0.0), 1.0), obs=0.4)
        b = sample("b", Bernoulli(0.6))
        sample("y", Normal(b, 1.0), obs=0.7)
        a = sample("a", Bernoulli(0.3 + 0.2 * b))
        sample("z", Normal(a - b, 1.0), obs=-0.3)

    def guide() -> None:
        a = sample("a", Bernoulli(logits=param("u", 0.0)))
        sample("b", Bernoulli(jax.nn.sigmoid(param("v", 0.0) + a)))

    return Program(model, guide, enumerated({"a": (), "b": ()}), u=0.5, v=-0.3, loc=0.2)


def batch_without_a_plate() -> Program:
    """Batch dims that no plate declares may depend on each other in every way."""

    def model() -> None:
        a = sample("a", Bernoulli(0.3).expand([2]))
        sample("y", Normal(a - a[::-1].mean(), 1.0), obs=np.array([0.5, -1.0]))

    def guide() -> None:
        sample("a", Bernoulli(logits=param("u", np.zeros(2))))

    return Program(model, guide, enumerated({"a": (2,)}), u=[0.3, -0.4])


def state_that_carries() -> Program:
    """A batch norm: through the state each element reads all the others."""

    def model() -> None:
        held = svijax.mutable("norm", {"mean": jnp.zeros(())})
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
            held["mean"] = a.mean()
            sample("y", Normal(a - held["mean"], 1.0), obs=np.array([0.5, -1.0]))

    def guide() -> None:
        with plate("i", 2):
            sample("a", Bernoulli(logits=param("u", np.zeros(2))))

    return Program(model, guide, enumerated({"a": (2,)}), u=[0.3, -0.4])


def state_from_guide_to_model() -> Program:
    """What the guide writes depends on its draw, and the model's first site reads it."""

    def model() -> None:
        held = svijax.mutable("state", {"x": jnp.zeros(())})
        sample("y", Normal(held["x"], 1.0), obs=0.5)
        sample("a", Bernoulli(0.3))

    def guide() -> None:
        held = svijax.mutable("state", {"x": jnp.zeros(())})
        held["x"] = 2.0 * sample("a", Bernoulli(logits=param("u", 0.0)))

    return Program(model, guide, enumerated({"a": ()}), u=0.3)


PROGRAMS = [
    local_then_global,
    sibling_plates,
    nested_plates,
    one_plate_at_two_dims,
    auxiliary,
    factors_in_the_guide,
    other_order,
    batch_without_a_plate,
    state_that_carries,
]
every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)


@every_objective
@every_program
def test_unbiased(program: Any) -> None:
    case = program()
    assert_unbiased(case.expectation, case.params)


@every_objective
def test_state_from_guide_to_model_is_unbiased() -> None:
    case = state_from_guide_to_model()

    def one(u: Any, a: Any) -> Any:
        guide = substitute(supply(case.expectation.guide, {"u": u}), {"a": a})
        nothing = Draws(jnp.zeros((1, 0)), jnp.zeros((1, 0)), jax.random.key(0))
        return Expectation.objective.from_draws(
            nothing, supply(case.expectation.model, {"u": u}), guide, (), {}, {}
        ).loss

    u = jnp.array(0.3)
    q = jax.nn.sigmoid(u)
    got = (1 - q) * jax.grad(one)(u, 0) + q * jax.grad(one)(u, 1)
    log_p = [Normal(2.0 * a, 1.0).log_prob(0.5) + Bernoulli(0.3).log_prob(a) for a in (0, 1)]

    def loss(u: Any) -> Any:
        q = jax.nn.sigmoid(u)
        return (1 - q) * (jnp.log1p(-q) - log_p[0]) + q * (jnp.log(q) - log_p[1])

    np.testing.assert_allclose(got, jax.grad(loss)(u), rtol=1e-10)


@pytest.mark.parametrize("program", [local_then_global, auxiliary, other_order], ids=lambda f: f.__name__)
def test_second_derivatives(program: Any) -> None:
    case = program()
    assert_unbiased(case.expectation, case.params, hessian=True)


# Pathwise and score terms in one guide


def mixed(twin: bool) -> Program:
    """Continuous above and below discrete draws, in a plate; the continuous ones by path or by score."""

    def model() -> None:
        m = sample("m", Normal(0.0, 2.0))
        with plate("i", 2):
            k = sample("k", Bernoulli(0.3))
            z = sample("z", Normal(k + m, 1.0))
            sample("y", Normal(z, 0.5), obs=np.array([0.5, -1.0]))

    def guide() -> None:
        sample("m", score(Normal(param("a", 0.0), 0.7), twin))
        with plate("i", 2):
            k = sample("k", Bernoulli(logits=param("u", np.zeros(2))))
            loc = param("b", 0.0) * k
            sample("z", score(Normal(loc, param("s", 1.0)), twin))

    if not twin:
        noise = gauss_hermite({"m": (), "z": (2,)}, 3)
        return Program(
            model, guide, product(enumerated({"k": (2,)}), noise), a=0.3, u=[0.2, -0.3], b=0.4, s=0.8
        )
    discrete = enumerated({"k": (2,)})
    parts = []
    for i, k in enumerate(discrete.values["k"]):
        nodes = gauss_hermite({"m": (), "z": (2,)}, 4)
        nodes = as_draws(nodes, {"m": (0.3, 0.7)})
        z = 0.4 * k + 0.8 * np.asarray(nodes.noise["z"])
        density = np.sum(-0.5 * nodes.noise["z"] ** 2 - np.log(0.8) - 0.5 * np.log(2 * np.pi), 1)
        values = {"m": nodes.values["m"], "z": z, "k": np.tile(discrete.values["k"][i], (len(z), 1))}
        parts.append(Nodes(values, {}, nodes.weight / np.exp(density)))
    values = {n: np.concatenate([p.values[n] for p in parts]) for n in ("m", "z", "k")}
    nodes = Nodes(values, {}, np.concatenate([p.weight for p in parts]))
    return Program(model, guide, nodes, a=0.3, u=[0.2, -0.3], b=0.4, s=0.8)


@every_objective
def test_mixed_guides_and_their_twins_have_one_gradient() -> None:
    path, twin = mixed(False), mixed(True)
    loss, want = assert_unbiased(path.expectation, path.params)
    loss_twin, got, _ = compare(twin.expectation, twin.params)
    np.testing.assert_allclose(loss_twin, loss, rtol=1e-9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, want)


# The tests of the tests: two per cent too much of either term is seen


def multiply_scores(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    from svijax.objectives import _trace_elbo

    plain = _trace_elbo.scores_of
    monkeypatch.setattr(
        _trace_elbo,
        "scores_of",
        lambda *a: tuple(replace(s, log_q=factor * s.log_q) for s in plain(*a)),
    )


@pytest.mark.parametrize("program", [nested_plates, lambda: mixed(False)], ids=["nested plates", "mixed"])
def test_two_per_cent_more_score_is_seen(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_scores(monkeypatch, 1.02)
    case = program()
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_unbiased(case.expectation, case.params, rtol=1e-3)


def test_two_per_cent_more_path_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from svijax.density import _run

    plain = _run.cut.post

    def post(self: Any, site: Any) -> Any:
        site = plain(self, site)
        if getattr(site, "latent", False) and site.fn.has_rsample:
            value = site.value + 0.02 * (site.value - jax.lax.stop_gradient(site.value))
            return site.having(value=value)
        return site

    case = mixed(False)
    want = assert_unbiased(case.expectation, case.params)[1]
    monkeypatch.setattr(_run.cut, "post", post)
    _, got, _ = compare(case.expectation, case.params)
    off = {n: np.max(np.abs(got[n] - want[n])) for n in want}
    assert off["a"] > 1e-2 * np.abs(want["a"]) and off["s"] > 1e-3 * np.abs(want["s"]) and off["b"] > 1e-3


def test_a_scaled_score_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply_scores(monkeypatch, 3.0)
    with pytest.raises(AssertionError):
        test_scores_are_not_scaled_by_the_plate(batch=1, factor=1.0)


def test_plates_that_are_kept_apart_too_long_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from svijax.objectives import _score
    from svijax.objectives._terms import Link

    def careless(scores: Any, guide_trace: Any, reach: int) -> Any:
        before = list(guide_trace)[: reach + 1]
        return [Link(s.name, s.plates) for s in scores if s.name in before]

    monkeypatch.setattr(_score, "_upstream", careless)
    case = local_then_global()
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_unbiased(case.expectation, case.params)


def test_scores_are_kept_apart_where_they_may_be() -> None:
    """The variance of the gradient of a plate's parameters does not grow with the other elements."""

    def gradient_sd(n: int) -> float:
        def model() -> None:
            with plate("i", n):
                a = sample("a", Bernoulli(0.3))
                sample("y", Normal(3.0 * a, 1.0), obs=np.ones(n))

        def guide() -> None:
            with plate("i", n):
                sample("a", Bernoulli(logits=param("u", np.zeros(n))))

        loss = lambda u, k: Trace_ELBO().loss(k, {"u": u}, model, guide)  # noqa: E731
        keys = jax.random.split(jax.random.key(0), 400)
        draws = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(jnp.zeros(n), keys)
        return float(draws[:, 0].std())

    np.testing.assert_allclose(gradient_sd(50), gradient_sd(1), rtol=0.15)


def test_single_precision_agrees() -> None:
    case = local_then_global()
    _, want = assert_unbiased(case.expectation, case.params)
    jax.config.update("jax_enable_x64", False)
    case = local_then_global()
    _, got, _ = compare(case.expectation, case.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(got))
