"""Estimators that run the programs again, in whole objectives: particles, compilation, errors, fits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import Expectation, enumerated
from exact_reruns import expected, given_uniforms, wanted

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from svijax.base import DerivativeError, ModelError
from svijax.handlers import estimator
from svijax.objectives import (
    DisARM,
    Enumerate,
    MeasureValued,
    Rebar,
    Relax,
    RenyiELBO,
    TraceEnum_ELBO,
    _disarm,
    _enumerate,
    _measure_valued,
    _rebar,
    _rerun,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli
__all__ = ["given_uniforms"]

RERUNS = [DisARM(), MeasureValued(), Enumerate(), Rebar(0.5), Relax(jnp.tanh, temperature=0.5)]
every_rerun = pytest.mark.parametrize("how", RERUNS, ids=lambda e: type(e).__name__)
KEY = jax.random.key(0)
DATA = np.array([[0.3, 1.2], [-0.2, 0.1], [1.5, 2.0]])


WEIGHTS = np.array([[0.5, -1.0, 0.7, 1.1], [1.0, 0.4, -0.6, 0.2]])


def layer_model() -> None:
    """Four hidden units for each row of the data."""
    with plate("rows", len(DATA)):
        z = sample("z", Bernoulli(np.array([0.3, 0.5, 0.4, 0.6])).to_event(1))
        sample("x", Normal(1.0 * z @ WEIGHTS.T, 0.7).to_event(1), obs=DATA)


def layer_guide() -> None:
    with plate("rows", len(DATA)):
        sample("z", Bernoulli(logits=param("a", np.zeros((len(DATA), 4)), event_dim=1)).to_event(1))


def units_model() -> None:
    """The same units as four sites, so that each can be summed over."""
    with plate("rows", len(DATA)):
        z = [sample(f"z{i}", Bernoulli(p)) for i, p in enumerate((0.3, 0.5, 0.4, 0.6))]
        sample("x", Normal(jnp.stack(z, -1) * 1.0 @ WEIGHTS.T, 0.7).to_event(1), obs=DATA)


def units_guide() -> None:
    with plate("rows", len(DATA)):
        a = param("a", np.zeros((len(DATA), 4)), event_dim=1)
        for i in range(4):
            sample(f"z{i}", Bernoulli(logits=a[:, i]))


def exact_loss(a: Any) -> Any:
    """−ELBO of the layer, by all 16 states of a row."""
    states = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    log_q = Bernoulli(logits=a[:, None]).to_event(1).log_prob(states)
    log_p = Bernoulli(np.array([0.3, 0.5, 0.4, 0.6])).to_event(1).log_prob(states)
    log_p = log_p + Normal(states @ WEIGHTS.T, 0.7).to_event(1).log_prob(DATA[:, None])
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p))


def optimum() -> float:
    """The least −ELBO, from the same start."""
    optim = optax.adam(0.05)
    a = jnp.zeros((len(DATA), 4))

    def step(carry: Any, _: None) -> Any:
        a, state = carry
        updates, state = optim.update(jax.grad(exact_loss)(a), state, a)
        return (optax.apply_updates(a, updates), state), None

    (a, _), _ = jax.jit(lambda a: jax.lax.scan(step, (a, optim.init(a)), None, length=2000))(a)
    return float(exact_loss(a))


def relaxed_guide() -> None:
    """As ``layer_guide``, with a control that is learnt."""
    a = param("a", np.zeros((len(DATA), 4)), event_dim=1)
    w = param("w", np.zeros(4))
    with estimator(estimator=Relax(lambda z: (w * jnp.tanh(z)).sum(-1), temperature=0.5)), plate("rows", 3):
        sample("z", Bernoulli(logits=a).to_event(1))


@pytest.mark.parametrize(
    ("how", "model", "guide"),
    [
        (DisARM(), layer_model, layer_guide),
        (Enumerate(), units_model, units_guide),
        (None, layer_model, relaxed_guide),
        pytest.param(MeasureValued(), layer_model, layer_guide, marks=pytest.mark.slow),
        pytest.param(Rebar(0.5), layer_model, layer_guide, marks=pytest.mark.slow),
    ],
    ids=["DisARM", "Enumerate", "Relax", "MeasureValued", "Rebar"],
)
def test_a_layer_is_fitted(how: Any, model: Any, guide: Any) -> None:
    svi = SVI(model, guide, optax.adam(optax.cosine_decay_schedule(0.1, 800)), Trace_ELBO(2, estimator=how))
    result = svi.run(KEY, 800, progress_bar=False)
    assert float(exact_loss(result.params["a"])) < optimum() + 0.02
    if guide is relaxed_guide:
        assert np.all(result.params["w"] != 0)


# Compilation and particles


@every_rerun
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"num_particles": 3, "vectorize_particles": False}, marks=pytest.mark.slow),
        {"num_particles": 4, "particle_batch": 2, "remat": True},
    ],
    ids=["map", "chunks and remat"],
)
def test_particles_average(x64: None, how: Any, settings: Any) -> None:
    """Each particle's gradient is that of the same draws alone, however they are computed."""
    objective = Trace_ELBO(estimator={"z": how}, **settings)
    model, guide = mixed_model, mixed_guide
    params = {"a": jnp.array(0.3), "m": jnp.array(-0.2), "b": jnp.array(0.4)}
    plain = Trace_ELBO(settings["num_particles"], estimator={"z": how})
    gradient = lambda o: jax.jit(jax.value_and_grad(lambda p: o.loss(KEY, p, model, guide)))(params)  # noqa: E731
    got, want = gradient(objective), gradient(plain)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    other = jax.jit(jax.value_and_grad(lambda p: plain.loss(jax.random.key(1), p, model, guide)))(params)
    assert not np.allclose(other[1]["a"], want[1]["a"])


def mixed_model() -> None:
    x = sample("x", Normal(0.0, 1.0))
    z = sample("z", Bernoulli(0.3))
    t = sample("t", Bernoulli(0.2 + 0.5 * z))
    sample("y", Normal(x + z * (1 + t), 1.0), obs=0.7)


def mixed_guide() -> None:
    x = sample("x", Normal(param("m", 0.0), 0.8))
    z = sample("z", Bernoulli(logits=param("a", 0.0) + 0.4 * x))
    sample("t", Bernoulli(logits=param("b", 0.0) * z))


@every_rerun
@pytest.mark.parametrize(
    "kind",
    [
        Trace_ELBO,
        pytest.param(TraceGraph_ELBO, marks=pytest.mark.slow),
        pytest.param(TraceMeanField_ELBO, marks=pytest.mark.slow),
    ],
)
def test_raw_keys_leaks_and_single_precision(how: Any, kind: Any) -> None:
    objective = kind(2, estimator={"z": how})
    params = {"a": jnp.float32(0.3), "m": jnp.float32(-0.2), "b": jnp.float32(0.4)}
    gradient = jax.jit(jax.grad(lambda p, k: objective.loss(k, p, mixed_model, mixed_guide)))
    with jax.checking_leaks():
        a = gradient(params, jax.random.PRNGKey(3))
    b = gradient(params, jax.random.key(3))
    for name in params:
        assert a[name].dtype == np.float32
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6)


@pytest.mark.parametrize(
    "how", [e for e in RERUNS if not isinstance(e, Enumerate)], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("twice", [jax.hessian, lambda f: jax.grad(lambda x: jax.grad(f)(x) ** 2)])
def test_second_derivatives_are_an_error(how: Any, twice: Any) -> None:
    loss = lambda a: Trace_ELBO(estimator={"z": how}).loss(  # noqa: E731
        KEY, {"a": a, "m": -0.2, "b": 0.4}, mixed_model, mixed_guide
    )
    with pytest.raises(DerivativeError) as caught:
        twice(loss)(0.3)
    assert str(caught.value) == (
        f"guide site 'z': {type(how).__name__} has no second derivatives.\n"
        "  expected: one differentiation of the loss in its parameters\n"
        "  got:      a derivative of its gradient\n"
        "  fix:      use ScoreFunction() or Enumerate() at this site, whose derivatives of every order are right."
    )


# What they refuse


def refused(how: Any, model: Any, guide: Any, objective: Any = None) -> str:
    loss = lambda k: (objective or Trace_ELBO(estimator={"z": how})).loss(k, {}, model, guide)  # noqa: E731
    with pytest.raises(ModelError) as caught:
        jax.eval_shape(loss, KEY)
    return str(caught.value)


def of(fn: Any) -> tuple[Any, Any]:
    return (lambda: sample("z", fn)), (lambda: sample("z", fn))


def test_families() -> None:
    poisson = of(dist.Poisson(2.0))
    assert refused(DisARM(), *poisson) == (
        "guide site 'z': DisARM cannot be used here.\n"
        "  got:      Poisson: it is a difference over coins, of Bernoulli(probs) or Bernoulli(logits)\n"
        "  fix:      leave the estimator out for the default, or choose another for this site."
    )
    assert "the values of Poisson cannot be listed" in refused(MeasureValued(), *poisson)
    assert "the values of Poisson cannot be listed" in refused(Enumerate(), *poisson)
    vector = of(Bernoulli(np.full(2, 0.3)).to_event(1))
    assert "its event has several elements, whose values combine" in refused(Enumerate(), *vector)


def test_elements_that_a_cost_adds_up() -> None:
    def model() -> None:
        with plate("i", 2):
            z = sample("z", Bernoulli(0.3))
        sample("y", Normal(z.sum(), 1.0), obs=0.4)

    def guide() -> None:
        with plate("i", 2):
            sample("z", Bernoulli(0.4))

    assert refused(Enumerate(), model, guide) == (
        "guide site 'z': Enumerate cannot be used here.\n"
        "  plates:   i (size 2, dim -1)\n"
        "  expected: in the log density of model site 'y', to each element of the (2,) draws its own part\n"
        "  got:      one number of several elements, so that all combinations of their values count\n"
        "  fix:      use DisARM() or MeasureValued() at this site."
    )


def test_a_scan_is_refused() -> None:
    def program(y: Any = None) -> None:
        def body(z: Any, _: Any) -> Any:
            z = sample("z", Bernoulli(0.3 + 0.4 * z))
            return 1.0 * z, None

        svijax.scan(body, jnp.zeros(()), None, length=3)

    for how in (DisARM(), MeasureValued(), Enumerate(), Rebar()):
        assert "it stands in a scan" in refused(how, program, program)


def test_objectives_that_weigh_particles() -> None:
    pair = of(Bernoulli(0.3))
    text = refused(None, *pair, objective=RenyiELBO(0.0, 2, estimator=DisARM()))
    assert "DisARM cannot be used here" in text and "means over particles" in text


def test_enumeration_of_the_whole_program() -> None:
    pair = of(Bernoulli(0.3))
    text = refused(None, *pair, objective=TraceEnum_ELBO(estimator={"z": DisARM()}))
    assert "TraceEnum_ELBO runs the programs once; mark the site to be enumerated" in text


@pytest.mark.slow
def test_for_all_sites_it_is_used_where_it_applies(x64: None) -> None:
    """A normal draw keeps its pathwise gradient, and a Poisson its score."""

    def model() -> None:
        n = sample("n", dist.Poisson(2.0))
        z = sample("z", Bernoulli(0.3))
        x = sample("x", Normal(z, 1.0))
        sample("y", Normal(x + n, 1.0), obs=0.4)

    def guide() -> None:
        sample("n", dist.Poisson(param("r", 1.0)))
        sample("z", Bernoulli(param("q", 0.5)))
        sample("x", Normal(param("m", 0.0), 1.0))

    params = {"r": jnp.array(1.3), "q": jnp.array(0.4), "m": jnp.array(0.2)}
    gradient = lambda e: jax.grad(lambda p: Trace_ELBO(estimator=e).loss(KEY, p, model, guide))(params)  # noqa: E731
    everywhere, there = gradient(DisARM()), gradient({"z": DisARM()})
    for name in params:
        np.testing.assert_allclose(everywhere[name], there[name], rtol=1e-12)
    assert not np.allclose(there["q"], gradient(None)["q"])


@pytest.mark.parametrize("how", [MeasureValued(), Enumerate()], ids=lambda e: type(e).__name__)
def test_values_that_are_never_drawn(x64: None, how: Any) -> None:
    """The prior has no mass at a value that the guide has none at either."""

    def model() -> None:
        z = sample("z", dist.Categorical(np.array([0.4, 0.6, 0.0])))
        sample("y", Normal(1.0 * z, 1.0), obs=0.4)

    def guide() -> None:
        a = param("a", np.zeros(2))
        sample("z", dist.Categorical(jnp.concatenate([jax.nn.softmax(a), jnp.zeros(1)])))

    def exact(a: Any) -> Any:
        log_q = jax.nn.log_softmax(a)
        log_p = jnp.log(jnp.array([0.4, 0.6])) + Normal(jnp.arange(2.0), 1.0).log_prob(0.4)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p))

    a = jnp.array([0.3, -0.2])
    got = jax.grad(lambda a: Trace_ELBO(estimator=how).loss(KEY, {"a": a}, model, guide))(a)
    np.testing.assert_allclose(got, jax.grad(exact)(a), rtol=1e-10)


# Each term counts


def case_of_two() -> tuple[Expectation, Any]:
    def model() -> None:
        y = sample("y", Bernoulli(0.33))
        z = sample("z", Bernoulli(0.55 * y + 0.10))
        sample("x", Normal(y + 2.0 * z, 1.0), obs=0.4)

    def guide() -> None:
        y = sample("y", Bernoulli(logits=param("a", 0.0)))
        sample("z", Bernoulli(logits=param("b", 0.0) * (1 + y)))

    params = {"a": jnp.array(0.43), "b": jnp.array(-0.27)}
    return Expectation(model, guide, enumerated({"y": (), "z": ()})), params


@pytest.mark.parametrize(
    ("how", "module", "name"),
    [
        (DisARM(), _disarm, "first_order"),
        (MeasureValued(), _measure_valued, "first_order"),
        (Rebar(), _rebar, "first_order"),
        (Enumerate(), _enumerate, "log_table"),
        (DisARM(), _rerun, "_without_own"),
    ],
    ids=["DisARM", "MeasureValued", "Rebar", "Enumerate", "own"],
)
def test_two_per_cent_more_is_seen(
    x64: None, given_uniforms: None, monkeypatch: pytest.MonkeyPatch, how: Any, module: Any, name: str
) -> None:
    case, params = case_of_two()
    coins = ("y",) if isinstance(how, DisARM) else ()
    true = getattr(module, name)
    more = (lambda *a: true(*a) + np.log(1.02)) if name == "log_table" else lambda *a: 1.02 * true(*a)
    monkeypatch.setattr(module, name, more)
    _, got, _ = expected(case, Trace_ELBO(estimator={"y": how}), params, coins)
    _, want = wanted(case, params)
    wrong = abs(got["a"] - want["a"])
    if name == "_without_own":  # of expectation 0: no bias whatever its size
        np.testing.assert_allclose(got["a"], want["a"], rtol=1e-9)
    else:
        assert wrong > 1e-3 * abs(want["a"]), wrong
