"""REBAR and RELAX: expectations by quadrature over their noise, what is learnt of them, what they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import Expectation, enumerated, evaluate_at
from exact_reruns import by_uniform, given_uniforms, holding, pieces, wanted

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO, TraceGraph_ELBO
from svijax.base import ArgumentError, ModelError, ShapeError
from svijax.handlers import estimator
from svijax.objectives import Rebar, Relax

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli, OneHot = dist.Normal, dist.Bernoulli, dist.OneHotCategorical
__all__ = ["given_uniforms"]

pytestmark = pytest.mark.usefixtures("x64", "given_uniforms")

Params = Mapping[str, Any]


def quadrature(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, 1) for what is smooth inside and may bend without end at 0 and 1 (tanh-sinh)."""
    t = np.linspace(-3.0, 3.0, count)
    v = 0.5 * (1 + np.tanh(0.5 * np.pi * np.sinh(t)))
    w = 0.25 * np.pi * np.cosh(t) / np.cosh(0.5 * np.pi * np.sinh(t)) ** 2 * (t[1] - t[0])
    return v, w / w.sum()


def moments(
    case: Expectation, params: Params, size: int, count: int, objective: Any = None, cuts: Any = None
) -> Any:
    """(E[loss], E[gradient], E[its square]) over the draws and over ``size`` uniforms of the noise of ``z``."""
    return moments_at(case, [params], size, count, objective, cuts)[0]


def moments_at(
    case: Expectation, points: list[Params], size: int, count: int, objective: Any = None, cuts: Any = None
) -> list[Any]:
    """``moments`` at several parameters that give one set of cuts."""
    draws, _, weights = pieces(case, points[0]) if cuts is None else cuts
    v, w = quadrature(count)
    own = jnp.array(list(itertools.product(v, repeat=size)))
    own_weights = jnp.array([np.prod(x) for x in itertools.product(w, repeat=size)])
    objective = Trace_ELBO() if objective is None else objective

    def one(params: Params, draw: Params, uniforms: Any) -> Any:
        guide = by_uniform(case.guide, draw)

        def loss(p: Params) -> Any:
            return evaluate_at(objective, case.model, guide, p, [({}, {})]).loss

        with holding({"z": uniforms} if size else {}):
            return loss(params), jax.grad(loss)(params)

    def run(params: Params) -> Any:
        n, m = len(weights), len(own_weights)
        pairs = jax.tree.map(lambda x: jnp.repeat(x, m, axis=0), draws), jnp.tile(own, (n, 1))
        loss, found = jax.lax.map(lambda x: one(params, *x), pairs, batch_size=4096)
        mean = lambda x: jnp.tensordot(jnp.kron(weights, own_weights), x, 1)  # noqa: E731
        return mean(loss), jax.tree.map(mean, found), jax.tree.map(lambda x: mean(x**2), found)

    compiled = jax.jit(run)
    return [compiled(params) for params in points]


def coin(how: Any) -> tuple[Any, Any]:
    def model() -> None:
        z = sample("z", Bernoulli(0.4))
        sample("x", Normal(jnp.exp(1.0 * z), 1.0), obs=1.7)

    def guide() -> None:
        a = param("a", 0.0)
        with estimator(estimator=how()):
            sample("z", Bernoulli(logits=a))

    return model, guide


def relax() -> Any:
    w = param("w", 0.0)
    return Relax(lambda z: w * jnp.tanh(z) + 0.3 * z)


def relax_on_rebar() -> Any:
    w = param("w", 0.0)
    return Relax(lambda z, x: w * jnp.tanh(z * x), 1.5, temperature=param("t", 0.5))


HOWS: dict[str, Any] = {
    "rebar": lambda: Rebar(0.5),
    "rebar at another temperature": lambda: Rebar(0.8),
    "rebar of half the size": lambda: Rebar(0.5, scale=0.5),
    "rebar learnt": lambda: Rebar(param("t", 0.5), scale=param("s", 1.0)),
    "relax": relax,
    "relax on rebar": relax_on_rebar,
}
LEARNT = {"t": 0.6, "s": 0.9, "w": 0.4}


def params_of(how: str) -> dict[str, Any]:
    names = {"rebar learnt": "ts", "relax": "w", "relax on rebar": "tw"}.get(how, "")
    return {"a": jnp.array(0.3), **{name: jnp.array(LEARNT[name]) for name in names}}


@pytest.mark.parametrize("how", HOWS)
def test_one_coin(how: str) -> None:
    model, guide = coin(HOWS[how])
    params = params_of(how)
    case = Expectation(model, guide, enumerated({"z": ()}))
    loss, got, square = moments(case, params, 1, 61)
    want_loss, want = wanted(Expectation(*coin(lambda: None), case.nodes), {"a": params["a"]})
    np.testing.assert_allclose(loss, want_loss, rtol=1e-9)
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-8)
    _, plain, at_score = moments(Expectation(*coin(lambda: None), case.nodes), {"a": params["a"]}, 1, 3)
    np.testing.assert_allclose(plain["a"], want["a"], rtol=1e-12)
    if how != "relax":
        assert square["a"] < at_score["a"]


@pytest.mark.parametrize(
    "how", ["rebar learnt", "relax", pytest.param("relax on rebar", marks=pytest.mark.slow)]
)
def test_what_is_learnt_descends_on_the_variance(how: str) -> None:
    model, guide = coin(HOWS[how])
    params = params_of(how)
    case = Expectation(model, guide, enumerated({"z": ()}))
    names = sorted(params.keys() - {"a"})
    moved = [{**params, n: params[n] + step} for n in names for step in (1e-4, -1e-4)]
    (_, got, _), *ends = moments_at(case, [params, *moved], 1, 61)
    for i, name in enumerate(names):
        high, low = ends[2 * i][2]["a"], ends[2 * i + 1][2]["a"]
        np.testing.assert_allclose(got[name], (high - low) / 2e-4, rtol=1e-5)
        assert abs(float(got[name])) > 1e-4


@pytest.mark.parametrize("kind", [Trace_ELBO, pytest.param(TraceGraph_ELBO, marks=pytest.mark.slow)])
@pytest.mark.parametrize("apart", [True, False])
def test_two_coins_and_what_follows_them(kind: Any, apart: bool) -> None:
    """In a plate or in one event; later draws depend on them, a discrete and a reparameterised one."""

    def model() -> None:
        if apart:
            with plate("i", 2):
                z = sample("z", Bernoulli(0.4))
                sample("x", Normal(z, 1.0), obs=np.array([0.4, 1.7]))
        else:
            z = sample("z", Bernoulli(np.full(2, 0.4)).to_event(1))
        sample("t", Bernoulli(0.2 + 0.3 * z[0]))
        if not apart:
            sample("y", Normal(z.sum() * (1 + z[1]), 1.0), obs=1.3)

    def guide() -> None:
        a = param("a", np.zeros(2))
        with estimator(estimator=Rebar(0.5)):
            if apart:
                with plate("i", 2):
                    z = sample("z", Bernoulli(logits=a))
            else:
                z = sample("z", Bernoulli(probs=jax.nn.sigmoid(a)).to_event(1))
        sample("t", Bernoulli(logits=param("b", 0.0) + z[0] - 0.4 * z[1]))

    params = {"a": jnp.array([0.3, -0.5]), "b": jnp.array(0.2)}
    case = Expectation(model, guide, enumerated({"z": (2,), "t": ()}))
    _, got, _ = moments(case, params, 2, 25, kind())
    _, want = wanted(case, params)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "how", [Rebar(0.5), Relax(lambda z: jnp.tanh(0.3 * z[0] - 0.2 * z[1]), temperature=0.7)]
)
def test_one_hot_vectors(how: Any) -> None:
    def model() -> None:
        z = sample("z", OneHot(probs=np.array([0.2, 0.5, 0.3])))
        sample("x", Normal(z @ np.array([0.3, 1.0, -2.0]), 1.0), obs=0.6)

    def guide() -> None:
        sample("z", OneHot(logits=param("a", np.zeros(3))))

    params = {"a": jnp.array([0.3, -0.5, 0.2])}
    case = Expectation(model, guide, enumerated({"z": (3,)}))
    p = np.asarray(jax.nn.softmax(params["a"]))
    edges = np.concatenate([[0.0], np.cumsum(p)])
    cuts = {"z": jnp.asarray((edges[1:] + edges[:-1]) / 2)}, {}, jnp.asarray(p)
    loss, got, _ = moments(case, params, 3, 23, Trace_ELBO(estimator=how), cuts)
    want_loss, want, _ = moments(case, params, 0, 2, Trace_ELBO(), cuts)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-9)
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-5, atol=1e-6)


# What they refuse


def pair(prior: Any, q: Any, use: Any = lambda z: z) -> tuple[Any, Any]:
    def model() -> None:
        z = sample("z", prior)
        sample("x", Normal(use(z), 1.0), obs=0.6)

    return model, lambda: sample("z", q)


THIRDS = np.full(3, 1 / 3)


@pytest.mark.parametrize(
    ("programs", "how", "words"),
    [
        (
            pair(dist.Categorical(THIRDS), dist.Categorical(THIRDS)),
            Rebar(),
            "a Categorical has one as OneHotCategorical",
        ),
        (
            pair(dist.BetaBinomial(1.0, 1.0, 1), Bernoulli(0.3)),
            Rebar(),
            "guide site 'z': its relaxed draws do not go through the programs.\n"
            "  expected: programs that are smooth in values of shape () between 0 and 1\n"
            "  got:      the model's BetaBinomial has no density there\n"
            "  fix:      use DisARM(), MeasureValued() or Enumerate(), or Relax with a control of your own.",
        ),
        (
            pair(Bernoulli(0.3), Bernoulli(0.3), lambda z: jnp.array([0.3, 0.5])[z]),
            Relax(jnp.tanh, temperature=0.5),
            "Indexer must have integer or boolean type",
        ),
    ],
)
def test_refusals(programs: Any, how: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        jax.eval_shape(lambda k: Trace_ELBO(estimator={"z": how}).loss(k, {}, *programs), jax.random.key(0))
    assert words in str(caught.value)


def test_a_control_of_its_own_needs_no_relaxed_programs() -> None:
    programs = pair(Bernoulli(0.3), Bernoulli(0.3), lambda z: jnp.array([0.3, 0.5])[z])
    assert np.isfinite(Trace_ELBO(estimator=Relax(jnp.tanh)).loss(jax.random.key(0), {}, *programs))


def test_a_control_of_another_shape() -> None:
    programs = pair(Bernoulli(0.3), Bernoulli(0.3))
    with pytest.raises(
        ShapeError, match=r"guide site 'z': its control has not the shape of its log density."
    ):
        jax.eval_shape(
            lambda k: Trace_ELBO(estimator=Relax(lambda z: jnp.stack([z, z]))).loss(k, {}, *programs),
            jax.random.key(0),
        )


@pytest.mark.parametrize("make", [lambda: Rebar(0.0), lambda: Relax(jnp.tanh, temperature=-1.0)])
def test_temperatures_are_above_zero(make: Any) -> None:
    with pytest.raises(ArgumentError, match="temperature must be above 0"):
        make()
