"""KL in closed form where it is exact, sampled terms elsewhere: always the expectation of Trace_ELBO."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import (
    Expectation,
    assert_unbiased,
    enumerated,
    gauss_hermite,
    over_minibatches,
)
from test_expected_gradients import auxiliary, mixed, nested_plates, other_order

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO, TraceMeanField_ELBO
from svijax.density import Dependence
from svijax.guides import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal, _packed
from svijax.handlers import mask, scale
from svijax.objectives import (
    ClosedFormEntropy,
    Enumerate,
    PathDerivative,
    ScoreFunction,
    _closed_kl,
    _trace_mean_field,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Bernoulli, Normal = dist.Bernoulli, dist.Normal

FIELD, SAMPLED = TraceMeanField_ELBO(), Trace_ELBO()
KEY = jax.random.key(0)


def assert_same(case: Expectation, params: Any, objective: Any = FIELD, sampled: Any = SAMPLED) -> Any:
    """E of loss and gradient as Trace_ELBO has them; returns both, and the standard deviations of the loss."""
    params = jax.tree.map(lambda x: jnp.asarray(x, float), params)
    ours, theirs = case.under(objective), case.under(sampled)

    def spread(which: Expectation) -> Any:
        def one(values: Any, noise: Any, weight: Any) -> Any:
            loss, _, raw = which.at(params, values, noise)
            return weight * jnp.exp(raw), loss

        weight, loss = jax.vmap(one)(*which._nodes())
        return jnp.sqrt(jnp.maximum(weight @ loss**2 - (weight @ loss) ** 2, 0.0))

    def both(p: Any) -> Any:
        got, want = (ours.loss(p), ours.of_derivative(p)), (theirs.loss(p), theirs.of_derivative(p))
        return got, want, (spread(ours), spread(theirs))

    got, want, spreads = jax.jit(both)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), got, want)
    return got, spreads


def closed(model: Any, guide: Any, *args: Any, **options: Any) -> tuple[str, ...]:
    return TraceMeanField_ELBO(**options).report(model, guide, *args).closed


def why(model: Any, guide: Any, name: str, *args: Any, **options: Any) -> str:
    return TraceMeanField_ELBO(**options).report(model, guide, *args).why_not[name]


# Where it is exact


def one_normal() -> None:
    sample("z", Normal(0.0, 1.0))


def normal_guide() -> None:
    sample("z", Normal(param("loc", 1.0), param("s", 2.0)))


def test_a_divergence_alone_has_no_variance() -> None:
    losses = jax.vmap(lambda k: FIELD.loss(k, {}, one_normal, normal_guide))(jax.random.split(KEY, 8))
    np.testing.assert_allclose(losses, 0.5 * (4 + 1 - 1) - np.log(2.0), rtol=1e-6)
    assert str(FIELD.report(one_normal, normal_guide)) == "z  closed form"


def vector_pair(batch: int = 2) -> tuple[Any, Any, Any]:
    """A global and a local latent in a subsampled plate, both closed, under a likelihood that reads them."""
    data = np.array([0.5, -1.0, 0.3, 2.0])

    def model() -> None:
        m = sample("m", Normal(0.3, 2.0))
        with plate("i", 4, batch):
            z = sample("z", Normal(m, 1.5))
            sample("x", Normal(z, 0.7), obs=svijax.subsample(data))

    def guide() -> None:
        sample("m", Normal(param("a", 0.0), param("b", 1.0)))
        with plate("i", 4, batch):
            sample("z", Normal(param("c", np.zeros(4), event_dim=0), param("d", 1.0)))

    return model, guide, gauss_hermite({"m": (), "z": (batch,)}, 3)


LOCATIONS = {"a": 0.4, "b": 0.8, "c": [0.1, 0.2, -0.3, 0.5], "d": 0.6}


@pytest.mark.parametrize(("batch", "factor"), [(2, 3.0)])
def test_it_is_scaled_once_under_subsampling(x64: None, batch: int, factor: float) -> None:
    model, guide, nodes = vector_pair(batch)
    pair = scale(model, factor), scale(guide, factor)
    assert closed(*pair) == ("m", "z")
    params = jax.tree.map(lambda x: jnp.asarray(x, float), LOCATIONS, is_leaf=lambda x: isinstance(x, list))
    got, want = (
        over_minibatches(Expectation(*pair, nodes, objective=o), params, "i", 4, batch)
        for o in (FIELD, Trace_ELBO())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, want)


@pytest.mark.parametrize("where", ["array", "tracer"])
def test_it_is_masked_once(x64: None, where: str) -> None:
    present = np.array([True, False, True])

    def model(seen: Any) -> None:
        with plate("i", 3), mask(mask=seen):
            sample("z", Normal(0.3, 2.0))

    def guide(seen: Any) -> None:
        with plate("i", 3), mask(mask=seen):
            sample("z", Normal(param("a", np.zeros(3)), param("b", 1.0)))

    args = (present,) if where == "array" else (jnp.array(present),)
    assert closed(model, guide, *args) == ("z",)
    case = Expectation(model, guide, gauss_hermite({"z": (3,)}, 3), *args)
    (_, gradient), (ours, theirs) = assert_same(case, {"a": [0.1, 5.0, -0.3], "b": 0.8})
    assert float(ours) < 1e-6 < 0.1 < float(theirs) and gradient["a"][1] == 0 != gradient["a"][0]


@pytest.mark.parametrize(
    "program",
    [
        nested_plates,
        lambda: mixed(False),
        pytest.param(auxiliary, marks=pytest.mark.slow),
        pytest.param(other_order, marks=pytest.mark.slow),
    ],
    ids=["nested", "mixed", "auxiliary", "other order"],
)
def test_expectations_are_those_of_sampled_terms(x64: None, program: Any) -> None:
    case = program()
    assert_same(case.expectation, case.params)


def test_second_derivatives(x64: None) -> None:
    case = other_order()
    assert_unbiased(case.expectation.under(FIELD), case.params, hessian=True)


@pytest.mark.parametrize("beta", [0.3])
def test_beta_weighs_it(x64: None, beta: float) -> None:
    case = mixed(False)
    assert_same(case.expectation, case.params, TraceMeanField_ELBO(beta=beta), Trace_ELBO(beta=beta))


def test_it_is_reported_as_log_q(x64: None) -> None:
    model, guide, _ = vector_pair()
    found = FIELD.evaluate(KEY, {}, model, guide)
    assert set(found.log_p) == {"m", "z", "x"} and set(found.log_q) == {"m", "z"}
    assert found.log_p["m"] == found.log_p["z"] == 0
    np.testing.assert_allclose(found.loss, sum(found.log_q.values()) - sum(found.log_p.values()), rtol=1e-12)
    want = dist.kl_divergence(Normal(0.0, 1.0), Normal(0.3, 2.0))
    np.testing.assert_allclose(found.log_q["m"], want, rtol=1e-12)


# Where it is not


def test_a_model_that_alone_is_scaled(x64: None) -> None:
    """Defect D14 of the peers."""
    pair = scale(one_normal, 0.5), normal_guide
    assert why(*pair, "z").startswith("guide and model do not have one scale")
    params = {"loc": 1.0, "s": 1.0}
    (loss, _), _ = assert_same(Expectation(*pair, gauss_hermite({"z": ()}, 5)), params)
    np.testing.assert_allclose(
        loss, -0.5 * (1 + np.log(2 * np.pi)) + 0.5 * (1 + 0.5 * np.log(2 * np.pi)), rtol=1e-10
    )


def test_a_model_that_alone_is_masked(x64: None) -> None:
    """Defect D14 of the peers."""

    def model() -> None:
        with plate("i", 2), mask(mask=np.array([True, False])):
            sample("z", Normal(0.0, 1.0))

    def guide() -> None:
        with plate("i", 2):
            sample("z", Normal(param("loc", 1.0), 1.0))

    assert why(model, guide, "z").startswith("guide and model do not have one mask")
    (loss, _), _ = assert_same(Expectation(model, guide, gauss_hermite({"z": (2,)}, 5)), {"loc": 1.0})
    np.testing.assert_allclose(loss, 0.5 - 0.5 * (1 + np.log(2 * np.pi)), rtol=1e-10)


def test_weights_that_cannot_be_compared_before_the_program_runs() -> None:
    def model(w: Any) -> None:
        with scale(scale=2.0 * w):
            sample("z", Normal(0.0, 1.0))

    assert why(model, model, "z", 0.5).startswith(
        "guide and model do not have one scale, or it cannot be told"
    )
    assert closed(lambda w: one_normal(), lambda w: one_normal(), 0.5) == ("z",)


def crossed(twin: bool = False) -> tuple[Any, Any]:
    """The guide draws b first and a from it; the model b from a."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.0))
        b = sample("b", Normal(0.7 * a, 1.0))
        sample("y", Normal(a + b, 1.0), obs=0.8)

    def guide() -> None:
        b = sample("b", Normal(param("u", 0.0), 0.9))
        sample("a", Normal(param("v", 0.0) - 0.5 * b, param("s", 1.0)))

    return model, guide


CROSSED = {"u": 0.3, "v": -0.2, "s": 0.8}


def test_a_prior_that_reads_what_the_guide_draws_from_the_site(x64: None) -> None:
    model, guide = crossed()
    assert why(model, guide, "b") == "its prior reads a, which the guide draws from it"
    assert closed(model, guide) == ("a",)
    _, (ours, theirs) = assert_same(Expectation(model, guide, gauss_hermite({"a": (), "b": ()}, 4)), CROSSED)
    assert ours < theirs


def test_programs_of_one_order_are_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a dependence pass")

    monkeypatch.setattr(_trace_mean_field, "dependence_of", refuse)
    FIELD.loss(KEY, {}, hierarchy, AutoNormal(hierarchy), Y)
    with pytest.raises(AssertionError, match="a dependence pass"):
        FIELD.loss(KEY, {}, *crossed())


@pytest.mark.parametrize(
    ("model", "guide", "name", "text"),
    [
        (
            lambda: sample("z", dist.HalfCauchy(1.0)),
            lambda: sample("z", dist.Gamma(1.0, 1.0)),
            "z",
            "KL(Gamma || HalfCauchy) is not known in closed form",
        ),
        (
            one_normal,
            lambda: (
                sample("z", Normal(0.0, 1.0)),
                sample("h", Normal(0.0, 1.0), infer={"is_auxiliary": True}),
            ),
            "h",
            "only the guide has it",
        ),
        (
            one_normal,
            lambda: sample("z", dist.Delta(0.3)),
            "z",
            "a point, given the draws that it is made of",
        ),
    ],
    ids=["no rule", "auxiliary", "point"],
)
def test_reasons(model: Any, guide: Any, name: str, text: str) -> None:
    report = FIELD.report(model, guide)
    assert report.why_not[name] == text
    assert f"{name}  sampled: {text}" in str(report)


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (PathDerivative(), "PathDerivative is set at 'z'"),
        (ClosedFormEntropy(), "ClosedFormEntropy is set at 'z'"),
        ({"z": ClosedFormEntropy()}, "ClosedFormEntropy is set at 'z'"),
        (ScoreFunction(), ""),
    ],
)
def test_an_estimator_that_is_asked_for_is_used(estimator: Any, text: str) -> None:
    assert why(one_normal, normal_guide, "z", estimator=estimator) == text


@pytest.mark.parametrize("coupling", [0.0, 0.5], ids=["independent", "chain"])
def test_sites_of_a_scan(x64: None, coupling: float) -> None:
    """The guide's steps read each other; the prior of independent steps has the closed form, that of a chain not."""
    y = np.array([0.5, -1.0])

    def model() -> None:
        def step(last: Any, y: Any) -> Any:
            prior = Bernoulli(0.2 + coupling * last) if coupling else Bernoulli(0.2)
            z = sample("z", prior)
            sample("y", Normal(2.0 * z, 1.0), obs=y)
            return z, None

        svijax.scan(step, 0, y)

    def guide() -> None:
        def step(last: Any, y: Any) -> Any:
            z = sample("z", Bernoulli(jax.nn.sigmoid(param("u", 0.0) + param("v", 0.0) * last)))
            return z, None

        svijax.scan(step, 0, y)

    assert closed(model, guide) == (() if coupling else ("z",))
    case, params = Expectation(model, guide, enumerated({"z": (2,)})), {"u": 0.3, "v": 0.8}
    assert_same(case, params)
    assert_same(case, params, svijax.TraceGraph_ELBO())


def test_a_sum_over_values_beside_it_leaves_no_variance(x64: None) -> None:
    case = other_order()
    objective = TraceMeanField_ELBO(estimator=Enumerate())
    assert objective.report(case.expectation.model, case.expectation.guide).closed == ("b",)
    model, guide = case.expectation.model, case.expectation.guide
    gradient = jax.grad(lambda p, key: objective.loss(key, p, model, guide))
    got = jax.jit(jax.vmap(gradient, (None, 0)))(case.params, jax.random.split(KEY, 5))
    want = jax.jit(jax.grad(case.expectation.loss))(case.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.full(5, b), rtol=1e-9, atol=1e-12), got, want)


# Autoguides


def hierarchy(y: Any) -> None:
    m = sample("m", Normal(0.5, 2.0))
    s = sample("s", dist.HalfNormal(1.0))
    v = sample("v", Normal(m, 1.0).expand([2]).to_event(1))
    with plate("i", 2):
        z = sample("z", Normal(m, 1.5))
        sample("y", Normal(z + v.sum(), 0.5 + s), obs=y)


Y = np.array([0.3, -1.0])


@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal])
def test_normals_in_a_shared_vector_are_taken_apart(kind: Any) -> None:
    report = FIELD.report(hierarchy, kind(hierarchy), Y)
    assert report.closed == ("m", "v", "z")
    assert report.why_not["s"].startswith("KL(TransformedDistribution(Normal) || HalfNormal)")
    assert FIELD.report(hierarchy, AutoMultivariateNormal(hierarchy), Y).closed == ()


def small(y: Any) -> None:
    m = sample("m", Normal(0.5, 2.0))
    s = sample("s", dist.LogNormal(0.1, 0.4))
    sample("y", Normal(m, 1.0), obs=y)
    svijax.factor("f", 0.3 * jnp.log(s) * m)


def test_expectations_of_an_autoguide(x64: None) -> None:
    guide = AutoNormal(small)
    assert closed(small, guide, 0.7) == ("m",)
    params = {"m_auto_loc": 0.3, "m_auto_scale": 0.6, "s_auto_loc": -0.2, "s_auto_scale": 0.4}
    case = Expectation(small, guide, gauss_hermite({"_auto_latent": (2,)}, 4), 0.7)
    _, (ours, theirs) = assert_same(case, params)
    assert ours < theirs
    assert_unbiased(case.under(FIELD), jax.tree.map(jnp.array, params))


def test_local_latents_of_an_autoguide(x64: None) -> None:
    def model(y: Any) -> None:
        with plate("i", 4, 2):
            z = sample("z", Normal(0.5, 1.5))
            sample("y", Normal(z, 1.0), obs=svijax.subsample(y))

    y = np.array([0.3, -1.0, 2.0, 0.4])
    guide = AutoNormal(model)
    assert closed(model, guide, y) == ("z",)
    params = {"z_auto_loc": jnp.array([0.3, 0.1, -0.4, 0.8]), "z_auto_scale": jnp.full(4, 0.6)}
    case = Expectation(model, guide, gauss_hermite({"z": (2,)}, 3), y)
    got, want = (over_minibatches(case.under(o), params, "i", 4, 2) for o in (FIELD, Trace_ELBO()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, want)


def test_sampled_terms_do_not_make_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a law was made")

    monkeypatch.setattr(_packed, "TransformedDistribution", refuse)
    with pytest.raises(AssertionError, match="a law was made"):
        FIELD.loss(KEY, {}, small, AutoNormal(small), 0.7)
    for objective in (Trace_ELBO(), svijax.TraceGraph_ELBO()):
        objective.loss(KEY, {}, small, AutoNormal(small), 0.7)


@pytest.mark.parametrize("kind", [AutoNormal, AutoDelta])
def test_the_jacobian_of_a_point_is_counted(x64: None, kind: Any) -> None:
    """Defect D7 of the peers: KL(Delta(v, ld) ‖ p) = ld − log p(v)."""

    def model() -> None:
        s = sample("s", dist.LogNormal(0.3, 0.5))
        sample("y", Normal(0.0, s), obs=np.array(1.3))

    guide = kind(model)
    state = SVI(model, guide, optax.adam(0.1), FIELD).init(KEY)
    params = {
        n: jnp.asarray(v) + 0.1 for n, v in SVI(model, guide, optax.adam(0.1)).get_params(state).items()
    }
    got, want = (
        jax.jit(jax.value_and_grad(lambda p: o.loss(KEY, p, model, guide)))(params)  # noqa: B023
        for o in (FIELD, Trace_ELBO())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)
    if kind is AutoNormal:
        (loss, _), _ = assert_same(
            Expectation(model, guide, gauss_hermite({"_auto_latent": (1,)}, 9)), params
        )
        z, w = np.polynomial.hermite_e.hermegauss(9)
        x = float(params["s_auto_loc"]) + float(params["s_auto_scale"]) * z
        log_q = -0.5 * z**2 - np.log(float(params["s_auto_scale"])) - 0.5 * np.log(2 * np.pi) - x
        log_p = dist.LogNormal(0.3, 0.5).log_prob(np.exp(x)) + Normal(0.0, np.exp(x)).log_prob(1.3)
        np.testing.assert_allclose(loss, w @ np.asarray(log_q - log_p) / w.sum(), rtol=1e-10)


def test_a_fit_reaches_the_posterior() -> None:
    y = np.array([0.3, -1.2, 0.8, 2.1, 0.4], np.float32)

    def model() -> None:
        m = sample("m", Normal(0.0, 2.0))
        with plate("i", 5):
            sample("y", Normal(m, 1.0), obs=y)

    svi = SVI(model, AutoNormal(model), optax.adam(0.05), TraceMeanField_ELBO(10))
    fit = svi.run(KEY, 600, progress_bar=False)
    precision = 5 + 1 / 4
    np.testing.assert_allclose(fit.params["m_auto_loc"], y.sum() / precision, atol=0.12)
    np.testing.assert_allclose(fit.params["m_auto_scale"], precision**-0.5, rtol=0.12)


def test_state_is_passed_on() -> None:
    def model() -> None:
        held = svijax.mutable("count", {"n": jnp.zeros(())})
        held["n"] = held["n"] + 1
        sample("z", Normal(0.0, 1.0))

    found = FIELD.evaluate(KEY, {}, model, normal_guide)
    assert found.mutable["count"]["n"] == 1
    assert closed(model, normal_guide) == ("z",)


# The tests of the tests


def test_two_per_cent_more_divergence_is_seen(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _closed_kl.kl_divergence
    monkeypatch.setattr(_closed_kl, "kl_divergence", lambda p, q: 1.02 * plain(p, q))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        test_a_prior_that_reads_what_the_guide_draws_from_the_site(None)


def test_a_divergence_against_a_prior_that_reads_the_site_is_seen(
    x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dependence, "descendants", lambda self, name: frozenset())
    model, guide = crossed()
    assert closed(model, guide) == ("b", "a")
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_same(Expectation(model, guide, gauss_hermite({"a": (), "b": ()}, 4)), CROSSED)


def test_a_divergence_without_the_scores_of_its_parents_is_seen(
    x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        a = sample("a", Bernoulli(0.3))
        sample("b", Bernoulli(0.2 + 0.5 * a))

    def guide() -> None:
        a = sample("a", Bernoulli(logits=param("u", 0.0)))
        sample("b", Bernoulli(jax.nn.sigmoid(param("v", 0.0) + a)))

    case = Expectation(model, guide, enumerated({"a": (), "b": ()}), objective=FIELD)
    params = {"u": jnp.array(0.3), "v": jnp.array(-0.2)}
    assert_unbiased(case, params)
    monkeypatch.setattr(_trace_mean_field, "_read_by_kl", lambda found, name: frozenset())
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_unbiased(case, params)


def test_entries_that_are_left_in_the_vector_are_seen(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_closed_kl, "_without_slices", lambda site, slices: site)
    params = {"m_auto_loc": 0.3, "m_auto_scale": 0.6, "s_auto_loc": -0.2, "s_auto_scale": 0.4}
    case = Expectation(small, AutoNormal(small), gauss_hermite({"_auto_latent": (2,)}, 4), 0.7)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_same(case, params)
