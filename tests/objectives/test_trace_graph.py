"""Score terms of dependent costs only: no bias, less variance, and nothing at all for reparameterised guides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import Expectation, assert_unbiased, compare, enumerated, expected_derivative
from test_expected_gradients import auxiliary, local_then_global, mixed, nested_plates, other_order

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from svijax.density import Dependence
from svijax.guides import AutoNormal
from svijax.handlers import scale
from svijax.objectives import Trace_ELBO as Core
from svijax.objectives import _graph, _trace_elbo, _trace_graph

sample, plate, param, factor = svijax.sample, svijax.plate, svijax.param, svijax.factor
Bernoulli, Normal = dist.Bernoulli, dist.Normal

GRAPH = TraceGraph_ELBO()
KEY = jax.random.key(0)


def variance(expectation: Expectation, params: Mapping[str, Any], objective: Core) -> dict[str, Any]:
    """The variance of one gradient, over all nodes, by parameter."""
    case = expectation.under(objective)

    def one(values: Any, noise: Any, weight: Any) -> Any:
        raw = case.at(params, values, noise)[2]
        gradient = jax.grad(lambda p: case.at(p, values, noise)[0])(params)
        return weight * jnp.exp(raw), gradient

    weight, gradient = jax.jit(jax.vmap(one))(*case._nodes())
    moment = lambda x: jnp.tensordot(weight, x, 1)  # noqa: E731
    return {n: np.asarray(moment(g**2) - moment(g) ** 2) for n, g in gradient.items()}


def independent_sites(n: int) -> tuple[Any, Any]:
    def model() -> None:
        for i in range(n):
            z = sample(f"z{i}", Bernoulli(0.3))
            sample(f"y{i}", Normal(2.0 * z, 1.0), obs=0.7)

    def guide() -> None:
        for i in range(n):
            sample(f"z{i}", Bernoulli(logits=param(f"u{i}", 0.0)))

    return model, guide


# Cost and variance


def test_one_more_independent_site_adds_its_own_variance_and_no_more(x64: None) -> None:
    def found(n: int, objective: Core) -> Any:
        nodes = enumerated({f"z{i}": () for i in range(n)})
        expectation = Expectation(*independent_sites(n), nodes)
        return variance(expectation, {f"u{i}": jnp.array(0.3) for i in range(n)}, objective)

    alone = found(1, GRAPH)["u0"]
    for n in (2, 4):
        np.testing.assert_allclose(list(found(n, GRAPH).values()), alone, rtol=1e-10)
    by_order = found(4, Trace_ELBO())
    # Of the guide's order only the last site is free of the others; of the model's, the first.
    assert all(by_order[f"u{i}"] > 1.5 * alone for i in range(3))


def links_of(objective: Core, model: Any, guide: Any, params: Any) -> dict[Any, list[str]]:
    seen: dict[Any, list[str]] = {}
    plain = type(objective).links

    class watched(type(objective)):  # type: ignore[misc]
        def links(self, *args: Any) -> Any:
            found = plain(self, *args)
            seen.update(
                {k: [f"{x.score}{[p for p, _ in x.plates] or ''}" for x in v] for k, v in found.items()}
            )
            return found

    watched().loss(KEY, params, model, guide)
    return seen


def test_the_number_of_score_terms_grows_with_the_sites_and_not_with_their_square() -> None:
    for n in (2, 6):
        params = {f"u{i}": jnp.array(0.3) for i in range(n)}
        graph = links_of(GRAPH, *independent_sites(n), params)
        assert graph == {(role, f"{x}{i}"): [f"z{i}"] for i in range(n) for role, x in ("qz", "pz", "py")}
        by_order = links_of(Trace_ELBO(), *independent_sites(n), params)
        assert sum(map(len, by_order.values())) == 3 * n * (n + 1) // 2


def off_the_way() -> tuple[Any, Any]:
    """g lies between a and y in both programs, and on no way from one to the other."""

    def model() -> None:
        with plate("i", 3):
            a = sample("a", Bernoulli(0.3))
        sample("g", Bernoulli(0.4))
        with plate("i", 3):
            sample("y", Normal(3.0 * a, 1.0), obs=np.array([0.5, -1.0, 2.0]))

    def guide() -> None:
        with plate("i", 3):
            sample("a", Bernoulli(logits=param("u", np.zeros(3))))
        sample("g", Bernoulli(logits=param("v", 0.0)))

    return model, guide


def test_draws_that_lie_on_no_way_do_not_matter(x64: None) -> None:
    params = {"u": jnp.array([0.3, -0.2, 0.1]), "v": jnp.array(0.4)}
    assert links_of(GRAPH, *off_the_way(), params) == {
        ("q", "a"): ["a['i']"],
        ("q", "g"): ["g"],
        ("p", "a"): ["a['i']"],
        ("p", "g"): ["g"],
        ("p", "y"): ["a['i']"],
    }
    expectation = Expectation(*off_the_way(), enumerated({"a": (3,), "g": ()}))
    assert_unbiased(expectation.under(GRAPH), params)
    ours, theirs = (variance(expectation, params, o) for o in (GRAPH, Trace_ELBO()))
    assert np.all(ours["u"] < 0.6 * theirs["u"]) and ours["v"] < 0.5 * theirs["v"]


# Reparameterised guides


def schools(y: Any) -> None:
    mu = sample("mu", Normal(0.0, 5.0))
    tau = sample("tau", dist.HalfNormal(5.0))
    with plate("i", 8):
        theta = sample("theta", Normal(mu, tau))
        sample("y", Normal(theta, 10.0), obs=y)


def test_a_guide_without_scores_compiles_to_the_same_loop_and_is_not_traced_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a dependence pass")

    monkeypatch.setattr(_trace_graph, "dependence_of", refuse)
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12], np.float32)
    counts, losses = [], []
    for objective in (Trace_ELBO(), GRAPH):
        svi = SVI(schools, AutoNormal(schools), optax.adam(0.01), objective)
        state = svi.init(KEY, y)

        def steps(state: Any, svi: Any = svi) -> Any:
            return jax.lax.scan(lambda s, _: svi.update(s, y), state, length=10)

        counts.append(jax.jit(steps).lower(state).compile().as_text().count(" fusion("))
        losses.append(svi.run(KEY, 5, y, progress_bar=False).losses)
    assert counts[0] > 5 and abs(counts[1] - counts[0]) <= 0.05 * counts[0]
    np.testing.assert_array_equal(*losses)


# No bias: the programs of test_expected_gradients.py run under this objective too


def test_second_derivatives(x64: None) -> None:
    case = other_order()
    assert_unbiased(case.expectation.under(GRAPH), case.params, hessian=True)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [GRAPH, TraceMeanField_ELBO()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("program", [local_then_global, auxiliary, other_order], ids=lambda f: f.__name__)
def test_second_derivatives_of_all_programs(x64: None, program: Any, objective: Any) -> None:
    case = program()
    assert_unbiased(case.expectation.under(objective), case.params, hessian=True)


def test_two_particles_with_a_baseline(x64: None) -> None:
    case = other_order()
    loss, got = expected_derivative(TraceGraph_ELBO(2), case.expectation, case.params)
    want_loss, _, want = compare(case.expectation, case.params)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, want)


def test_single_precision_agrees() -> None:
    case = other_order()
    _, got, want = compare(case.expectation.under(GRAPH), case.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(got))


EACH = (Trace_ELBO(), GRAPH, TraceMeanField_ELBO())
each = pytest.mark.parametrize("objective", EACH, ids=lambda o: type(o).__name__)


@each
def test_scores_are_not_scaled(x64: None, objective: Any) -> None:
    """Defect D1 of the peers: scale(3) on both programs triples the gradient, and no more."""
    model, guide = independent_sites(2)
    nodes, params = enumerated({"z0": (), "z1": ()}), {"u0": jnp.array(0.3), "u1": jnp.array(-0.2)}
    _, once = assert_unbiased(Expectation(model, guide, nodes), params)
    pair = scale(model, 3.0), scale(guide, 3.0)
    _, got = assert_unbiased(Expectation(*pair, nodes, objective=objective), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 3 * b, rtol=1e-10), got, once)


@each
@pytest.mark.parametrize("discrete", [False, True], ids=["pathwise", "score"])
def test_a_factor_in_the_guide_has_its_gradient(objective: Any, discrete: bool) -> None:
    """Defect D2 of the peers: a factor is no random variable."""

    def guide() -> None:
        sample("z", Bernoulli(0.5) if discrete else Normal(0.0, 1.0))
        factor("f", 3.0 * param("a", 0.0))

    def model() -> None:
        sample("z", Bernoulli(0.3) if discrete else Normal(0.0, 1.0))

    got = jax.grad(lambda a: objective.loss(KEY, {"a": a}, model, guide))(jnp.array(0.7))
    np.testing.assert_allclose(got, 3.0, rtol=1e-6)


@each
def test_log_q_of_what_only_the_guide_has_is_a_cost(x64: None, objective: Any) -> None:
    """Defect D13 of the peers: −log q of auxiliary draws multiplies the scores of the draws that they depend on."""

    def model() -> None:
        sample("a", Bernoulli(0.3))

    def guide() -> None:
        a = sample("a", Bernoulli(logits=param("u", 0.0)))
        sample("h", Bernoulli(0.1 + 0.4 * a), infer={"is_auxiliary": True})

    nodes = enumerated({"a": (), "h": ()})
    u = jnp.array(0.3)
    _, got = assert_unbiased(Expectation(model, guide, nodes, objective=objective), {"u": u})

    def loss(u: Any) -> Any:
        q = jax.nn.sigmoid(u)
        entropy = [-sum(p * np.log(p) for p in (r, 1 - r)) for r in (0.1, 0.5)]
        kl = q * jnp.log(q / 0.3) + (1 - q) * jnp.log((1 - q) / 0.7)
        return kl - (1 - q) * entropy[0] - q * entropy[1]

    np.testing.assert_allclose(got["u"], jax.grad(loss)(u), rtol=1e-10)


# Inside JAX


@pytest.mark.parametrize("objective", EACH[1:], ids=lambda o: type(o).__name__)
def test_transformations_leave_the_gradient_as_it_is(objective: Any) -> None:
    model, guide = off_the_way()
    params = {"u": jnp.array([0.3, -0.2, 0.1]), "v": jnp.array(0.4)}

    def gradient(key: Any, **options: Any) -> Any:
        kind = type(objective)
        return jax.grad(lambda p: kind(3, **options).loss(key, p, model, guide))(params)

    want = jax.jit(gradient)(KEY)
    with jax.checking_leaks():
        stacked = jax.jit(jax.vmap(lambda key: gradient(key, remat=True)))(KEY[None])
    others = [jax.tree.map(lambda x: x[0], stacked)]
    if objective is GRAPH:
        others.append(jax.jit(lambda key: gradient(key, vectorize_particles=False))(jax.random.key_data(KEY)))
        others.append(jax.jit(lambda key: gradient(key, particle_batch=2))(KEY))
    for got in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)


# The tests of the tests


@pytest.mark.parametrize("program", [nested_plates, lambda: mixed(False)], ids=["nested plates", "mixed"])
def test_two_per_cent_more_score_is_seen(x64: None, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    plain = _trace_elbo.scores_of
    more = lambda *a: tuple(replace(s, log_q=1.02 * s.log_q) for s in plain(*a))  # noqa: E731
    monkeypatch.setattr(_trace_elbo, "scores_of", more)
    case = program()
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_unbiased(case.expectation.under(GRAPH), case.params, rtol=1e-3)


def edges() -> tuple[Any, Any]:
    """Programs in which each of EDGES is the only way of a dependence."""

    def model() -> None:
        a = sample("a", Bernoulli(0.3))
        b = sample("b", Bernoulli(0.4))
        sample("c", Bernoulli(0.2 + 0.5 * a))
        sample("y", Normal(2.0 * b, 1.0), obs=1.5)
        factor("f", 0.7 * a)

    def guide() -> None:
        a = sample("a", Bernoulli(logits=param("u", 0.0)))
        sample("b", Bernoulli(jax.nn.sigmoid(param("v", 0.0) + 2 * a)))
        c = sample("c", Bernoulli(logits=param("w", 0.0)))
        factor("g", 0.5 * c)

    return model, guide


EDGES = [
    ("guide", "distribution", "b", "a"),
    ("guide", "term", "a", "a"),
    ("guide", "term", "c", "c"),
    ("guide", "term", "g", "c"),
    ("model", "term", "a", "a"),
    ("model", "term", "c", "a"),
    ("model", "term", "c", "c"),
    ("model", "term", "y", "b"),
    ("model", "term", "f", "a"),
]
PARAMS = {"u": 0.3, "v": -0.4, "w": 0.6}


def without(graph: Dependence, side: str, part: str, name: str, parent: str) -> Dependence:
    from dataclasses import replace

    reads = getattr(graph, side)
    assert parent in getattr(reads[name], part)
    less = replace(reads[name], **{part: getattr(reads[name], part) - {parent}})
    return replace(graph, **{side: {**reads, name: less}})


@pytest.fixture(scope="module")
def whole() -> Any:
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.array, PARAMS)
        return assert_unbiased(
            Expectation(*edges(), enumerated(dict.fromkeys("abc", ())), objective=GRAPH), params
        )[1]


@pytest.mark.parametrize("edge", EDGES, ids=" ".join)
def test_an_edge_less_is_seen(x64: None, whole: Any, edge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _graph.dependence
    monkeypatch.setattr(_graph, "dependence", lambda *a: without(plain(*a), *edge))
    case = Expectation(*edges(), enumerated(dict.fromkeys("abc", ())), objective=GRAPH)
    got = jax.jit(case.of_derivative)(jax.tree.map(jnp.array, PARAMS))
    off = max(float(jnp.abs(got[n] - whole[n])) for n in whole)
    assert off > 1e-3


def test_a_plate_that_is_kept_apart_too_long_is_seen(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Dependence.upstream

    def careless(self: Any, reads: Any, plates: Any = None) -> Any:
        return {n: self.plates[n] for n in plain(self, reads, plates)}

    monkeypatch.setattr(Dependence, "upstream", careless)
    case = local_then_global()
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_unbiased(case.expectation.under(GRAPH), case.params)
