"""Reports on gradients: variances against closed forms, biases that are there and none that are not, text, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO, gradient_report
from svijax.base import ArgumentError, ModelError, StateError, UnknownNameError
from svijax.diagnostics import GradientReport
from svijax.diagnostics._gradient_moments import _merged
from svijax.guides import AutoNormal
from svijax.objectives import (
    ClosedFormEntropy,
    Evaluation,
    LeaveOneOut,
    NoBaseline,
    PathDerivative,
    RunningMean,
    ScoreFunction,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Bernoulli, Normal = dist.Bernoulli, dist.Normal

PRIOR, LOGITS = 0.3, 0.4
Y = np.array([0.3, -0.2, 1.5, 2.0, 0.7])


def coin_model() -> None:
    sample("z", Bernoulli(PRIOR))


def coin_guide() -> None:
    sample("z", Bernoulli(logits=param("a", jnp.array(LOGITS))))


def exact_coin(key: Any, params: Any, model: Any, guide: Any) -> Any:
    """−ELBO of the coin, a sum over its two sides."""
    q = jax.nn.sigmoid(params["a"])
    return q * jnp.log(q / PRIOR) + (1 - q) * jnp.log((1 - q) / (1 - PRIOR))


def coin(objective: Any = None) -> tuple[SVI, Any]:
    svi = SVI(coin_model, coin_guide, 0.05, objective)
    return svi, svi.init(jax.random.key(0))


def normal_model(y: Any) -> None:
    mu = sample("mu", Normal(0.0, 1.0))
    with plate("data", y.shape[0]):
        sample("y", Normal(mu, 1.0), obs=y)


def normal_guide(y: Any) -> None:
    scale = param("scale", 0.7, constraint=dist.constraints.positive)
    sample("mu", Normal(param("loc", 0.5), scale))


def normal(objective: Any = None, loc: float = 0.5) -> tuple[SVI, Any]:
    svi = SVI(normal_model, normal_guide, 0.05, objective)
    return svi, svi.init(jax.random.key(0), Y, init_params={"loc": loc})


@dataclass(frozen=True)
class Stretched(Trace_ELBO):
    """Its gradient is 2 % too long, its value right."""

    def combine(self, particles: Any, mutable: Any) -> Evaluation:
        found = super().combine(particles, mutable)
        return replace(found, loss=found.loss + 0.02 * (found.loss - jax.lax.stop_gradient(found.loss)))


# Moments


@pytest.mark.parametrize(("count", "size"), [(10, 5), (11, 5), (3, 8), (2, 1)])
def test_moments_of_batches_are_those_of_all(x64: None, count: int, size: int) -> None:
    values = 1e3 + np.random.default_rng(0).normal(size=(count, 2, 3))
    padded = np.concatenate([values, np.full((size, 2, 3), np.nan)])
    moments: Any = (jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros((), int), jnp.zeros(()))
    for start in range(0, count, size):
        index = np.arange(start, start + size)
        moments = _merged(moments, jnp.asarray(padded[index]), index < count)
    mean, square, bad, n = moments
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(square, ((values - values.mean(0)) ** 2).sum(0), rtol=1e-9)
    assert (bad, n) == (0, count)


def test_a_gradient_that_is_not_finite_is_counted() -> None:
    values = jnp.array([[1.0, 2.0], [jnp.nan, 2.0], [1.0, jnp.inf], [1.0, jnp.nan]])
    start = jnp.zeros(2), jnp.zeros(2), jnp.zeros((), int), jnp.zeros(())
    assert int(_merged(start, values, jnp.array([True, True, True, False]))[2]) == 2


def test_score_of_a_coin(x64: None) -> None:
    """g(z) = f(z) d log q(z)/da takes two values, so mean and variance say the same frequency of heads."""
    q = 1 / (1 + np.exp(-LOGITS))
    gradient = {
        1: np.log(q / PRIOR) * (1 - q),
        0: np.log((1 - q) / (1 - PRIOR)) * -q,
    }
    svi, state = coin(Trace_ELBO(estimator=ScoreFunction(NoBaseline())))
    n = 4001
    report = gradient_report(svi, state, num_samples=n, batch_size=64)
    (found,) = report.estimators.values()
    a = found.params["a"]
    heads = (float(a.mean) - gradient[0]) / (gradient[1] - gradient[0])
    np.testing.assert_allclose(heads * n, round(heads * n), atol=1e-6)
    assert abs(heads - q) < 4 * np.sqrt(q * (1 - q) / n)
    variance = heads * (1 - heads) * (gradient[1] - gradient[0]) ** 2 * n / (n - 1)
    np.testing.assert_allclose(a.variance, variance, rtol=1e-9)
    np.testing.assert_allclose(a.error, np.sqrt(variance / n), rtol=1e-9)
    np.testing.assert_allclose(found.signal_to_noise, abs(a.mean) / np.sqrt(variance), rtol=1e-9)
    assert (
        found.loss_error > 0
        and abs(found.loss - float(exact_coin(0, {"a": LOGITS}, 0, 0))) < 5 * found.loss_error
    )


def test_paths_of_a_normal(x64: None) -> None:
    """dL/dm = (n + 1) z − Σ y at z = m + s e: mean (n + 1) m − Σ y, variance ((n + 1) s)²; of log s at s = 0.7."""
    svi, state = normal()
    n = 40_000
    found = gradient_report(svi, state, Y, num_samples=n, batch_size=1000).estimators["Trace_ELBO()"]
    m, s, slope = 0.5, 0.7, len(Y) + 1
    loc = found.params["loc"]
    assert abs(loc.mean - (slope * m - Y.sum())) < 4 * slope * s / np.sqrt(n)
    np.testing.assert_allclose(loc.variance, (slope * s) ** 2, rtol=5 * np.sqrt(2 / n))
    # d/du of −u + L(m + exp(u) e), u = log s: −1 + s e (slope (m + s e) − Σ y)
    points, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    values = -1 + s * points * (slope * (m + s * points) - Y.sum())
    mean, square = weights @ values, weights @ values**2
    scale = found.params["scale"]
    assert abs(scale.mean - mean) < 4 * np.sqrt((square - mean**2) / n)
    np.testing.assert_allclose(scale.variance, square - mean**2, rtol=0.12)
    np.testing.assert_allclose(found.total_variance, loc.variance + scale.variance)


# Bias


@pytest.mark.parametrize("twice", [False, True])
def test_a_score_that_is_two_per_cent_too_long_is_seen(monkeypatch: pytest.MonkeyPatch, twice: bool) -> None:
    if twice:
        wrong = lambda s: jnp.exp(1.02 * (s - jax.lax.stop_gradient(s)))  # noqa: E731
        monkeypatch.setattr("svijax.objectives._surrogate.magic", wrong)
    svijax.clear_caches()
    svi, state = coin(Trace_ELBO(num_particles=8))
    report = gradient_report(svi, state, num_samples=60_000, batch_size=2000, reference=exact_coin)
    svijax.clear_caches()
    (found,) = report.estimators.values()
    assert found.resolution < 0.02
    assert found.biased is twice
    assert ("biased" in found.verdict) is twice
    assert found.reference == "exact_coin"


def test_among_three_the_wrong_one_is_the_one_that_all_differ_from() -> None:
    svi, state = normal(loc=4.0)
    report = partial(gradient_report, svi, state, Y, num_samples=20_000, batch_size=2000)
    others = {"entropy": ClosedFormEntropy(), "wrong": Stretched(num_particles=4)}
    found = report(estimators=others).estimators
    assert list(found) == ["Trace_ELBO()", "entropy", "wrong"]
    assert [e.reference for e in found.values()][:2] == ["wrong", "wrong"]
    assert all(e.biased and "one of the two" in e.verdict for e in found.values())
    against = report(estimators=others, reference=PathDerivative())
    assert [e.biased for e in against.estimators.values()] == [False, False, True]
    entry, z = against["wrong"].worst
    assert entry == "loc" and f"biased: z = {z:.1f} at loc" in against["wrong"].verdict


@pytest.mark.slow
def test_right_estimators_are_not_called_biased() -> None:
    svi, state = normal(Trace_ELBO(num_particles=2))
    asked = [PathDerivative(), ClosedFormEntropy(), ScoreFunction(), {"mu": ScoreFunction(LeaveOneOut())}]
    for seed in range(5):
        key = jax.random.key(seed)
        report = gradient_report(svi, state, Y, num_samples=2000, estimators=asked, key=key)
        assert not any(e.biased for e in report.estimators.values()), report


def test_a_class_that_is_hardly_ever_drawn_is_no_bias() -> None:
    """Where the last class is never drawn all gradients of its element are nearly alike, and off by what was missed."""

    def model() -> None:
        sample("k", dist.Categorical(probs=jnp.array([0.4, 0.59, 0.01])))
        svijax.factor("far", 20.0)

    def guide() -> None:
        sample("k", dist.Categorical(logits=param("u", jnp.array([0.0, 0.0, -9.0]))))

    svi = SVI(model, guide, 0.05, Trace_ELBO(2, estimator=ScoreFunction(NoBaseline())))
    report = gradient_report(
        svi, svi.init(jax.random.key(0)), num_samples=1000, reference=ScoreFunction(LeaveOneOut())
    )
    (found,) = report.estimators.values()
    u = found.params["u"]
    assert found.worst[0] != "" and u.error[2] < 1e-3 * u.error[0] and abs(u.mean[2]) > 20 * u.error[2]
    assert not found.biased, report


def test_another_bound_is_not_compared() -> None:
    svi, state = normal(loc=4.0)
    report = gradient_report(svi, state, Y, estimators=[Trace_ELBO(beta=0.2), PathDerivative()])
    other = report["Trace_ELBO(beta=0.2)"]
    assert other.reference is None and other.params["loc"].z is None
    assert "no other estimator here has this loss" in other.verdict
    assert report["Trace_ELBO()"].reference == "PathDerivative()"


# What is measured


def test_minibatches_are_part_of_the_variance() -> None:
    def model(y: Any) -> None:
        mu = sample("mu", Normal(0.0, 1.0))
        with plate("data", y.shape[0], subsample_size=2):
            sample("y", Normal(mu, 1.0), obs=svijax.subsample(y, event_dim=0))

    def variance(model: Any) -> float:
        svi = SVI(model, normal_guide, 0.05, Trace_ELBO(num_particles=2))
        report = gradient_report(svi, svi.init(jax.random.key(0), Y), Y, num_samples=4000)
        return report["Trace_ELBO(num_particles=2)"].params["loc"].total_variance

    # The minibatch adds N² (1 − n/N) s² / n, s² of the data with N − 1.
    added = len(Y) ** 2 * (1 - 2 / len(Y)) * Y.var(ddof=1) / 2
    np.testing.assert_allclose(variance(model) - variance(normal_model), added, rtol=0.1)


@pytest.mark.slow
def test_a_baseline_that_remembers_is_settled() -> None:
    """At its mean E[f] it leaves Var[(f − E f) s], far below the plain one here, whoever owns the state."""

    def model() -> None:
        sample("z", Bernoulli(PRIOR))
        svijax.factor("far", 20.0)

    for objective in (None, Trace_ELBO(estimator=ScoreFunction(RunningMean(0.9)))):
        svi = SVI(model, coin_guide, 0.05, objective)
        asked = [ScoreFunction(RunningMean(0.9)), ScoreFunction(NoBaseline())]
        report = gradient_report(svi, svi.init(jax.random.key(0)), num_samples=2000, estimators=asked)
        plain, mean = report["ScoreFunction(NoBaseline())"], report["ScoreFunction(RunningMean())"]
        assert mean.total_variance < 0.02 * plain.total_variance
        assert not mean.biased and not plain.biased


def test_parameters_that_are_trees_and_those_of_the_model() -> None:
    def model(y: Any) -> None:
        scale = param("noise", 1.5, constraint=dist.constraints.positive)
        with plate("data", y.shape[0]):
            z = sample("z", Normal(0.0, 1.0))
            sample("y", Normal(z, scale), obs=y)

    def guide(y: Any) -> None:
        net = param("net", {"w": jnp.array(0.3), "b": [jnp.zeros(2)]})
        with plate("data", y.shape[0]):
            sample("z", Normal(net["w"] * y + net["b"][0].sum(), 0.5))

    svi = SVI(model, guide, 0.05)
    report = gradient_report(svi, svi.init(jax.random.key(0), Y), Y, num_samples=20)
    found = report["Trace_ELBO()"]
    assert set(found.params) == {"net['b'][0]", "net['w']", "noise"}
    assert found.params["net['b'][0]"].mean.shape == (2,)
    assert {s: set(names) for s, names in found.sites.items()} == {"z": {"net['b'][0]", "net['w']"}}
    variance, ratio = found.at_site("z")
    own = [found.params[n] for n in ("net['b'][0]", "net['w']")]
    np.testing.assert_allclose(variance, sum(g.total_variance for g in own))
    np.testing.assert_allclose(ratio, np.sqrt(sum((g.mean**2).sum() for g in own) / variance))


def test_sites_have_the_parameters_that_they_alone_read() -> None:
    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        b = sample("b", Normal(a, 1.0).expand([2]).to_event(1))
        sample("c", Bernoulli(logits=b.sum()))

    def guide() -> None:
        shared = param("shared", 0.3)
        a = sample("a", Normal(param("loc_a", 0.1), shared**2 + 0.1))
        sample("b", Normal(a * param("weight", 0.2), shared**2 + 0.2).expand([2]).to_event(1))
        sample("c", Bernoulli(logits=param("logit_c", 0.1)))

    svi = SVI(model, guide, 0.05)
    found = gradient_report(svi, svi.init(jax.random.key(0)), num_samples=10)["Trace_ELBO()"]
    assert found.sites == {"a": ("loc_a",), "b": ("weight",), "c": ("logit_c",)}


def test_sites_of_an_autoguide_that_packs_them() -> None:
    def model() -> None:
        sample("a", Normal(0.0, 1.0))
        sample("b", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))

    svi = SVI(model, AutoNormal(model), optax.adam(0.05))
    report = gradient_report(svi, svi.init(jax.random.key(0)), num_samples=10)
    assert {s: set(names) for s, names in report["Trace_ELBO()"].sites.items()} == {
        "a": {"a_auto_loc", "a_auto_scale"},
        "b": {"b_auto_loc", "b_auto_scale"},
    }


# Options


def test_one_program_for_each_estimator(count_compiles: Callable[[], Any]) -> None:
    svi, state = normal()
    key = jax.random.key(3)
    report = partial(gradient_report, svi, state, Y, key=key, batch_size=7)
    svijax.clear_caches()
    report(num_samples=20, estimators=[PathDerivative()])
    svijax.clear_caches()
    with count_compiles() as seen:
        report(num_samples=20, estimators=[PathDerivative()])
    assert seen.count <= 3  # two estimators, and which parameter belongs to which site
    with count_compiles() as seen:
        report(num_samples=50, estimators=[PathDerivative()])
    assert seen.count == 0


def test_keys_and_batches() -> None:
    svi, state = normal()
    one = gradient_report(svi, state, Y, num_samples=60, key=jax.random.key(1))["Trace_ELBO()"]
    again = gradient_report(svi, state, Y, num_samples=60, key=jax.random.PRNGKey(1), batch_size=11)[
        "Trace_ELBO()"
    ]
    other = gradient_report(svi, state, Y, num_samples=60, key=jax.random.key(2))["Trace_ELBO()"]
    np.testing.assert_allclose(one.params["loc"].mean, again.params["loc"].mean, rtol=1e-4)
    np.testing.assert_allclose(one.params["loc"].variance, again.params["loc"].variance, rtol=1e-4)
    assert one.params["loc"].mean != other.params["loc"].mean
    assert one.num_samples == 60 and one.seconds > 0


def test_labels() -> None:
    svi, state = normal()
    labels = lambda x: list(gradient_report(svi, state, Y, num_samples=2, estimators=x).estimators)  # noqa: E731
    assert labels([]) == ["Trace_ELBO()"]
    assert labels([Trace_ELBO(), PathDerivative()]) == ["Trace_ELBO()", "PathDerivative()"]
    assert labels({"mine": Trace_ELBO(), "other": PathDerivative()}) == ["mine", "other"]
    assert labels([PathDerivative(), PathDerivative()])[1:] == ["PathDerivative()", "PathDerivative() (2)"]
    assert (
        labels([{"mu": ScoreFunction(RunningMean(0.5))}])[1]
        == "{'mu': ScoreFunction(RunningMean(decay=0.5))}"
    )
    named = Trace_ELBO(2, estimator={"mu": PathDerivative()})
    assert labels([named])[1] == "Trace_ELBO(num_particles=2, estimator={'mu': PathDerivative()})"
    exact = lambda key, params, model, guide, y: 0.0 * params["loc"]  # noqa: E731
    assert labels({"Trace_ELBO()": exact}) == ["Trace_ELBO() of the fit", "Trace_ELBO()"]


def test_the_step_of_a_fit_counts() -> None:
    """A schedule of beta is read at the state's step."""
    svi, _ = normal(Trace_ELBO(beta=lambda step: jnp.where(step < 3, 0.0, 1.0)))
    fit = svi.run(jax.random.key(0), 5, Y, progress_bar=False)
    early = fit.state.having(step=jnp.zeros((), jnp.int32))
    (now,) = gradient_report(svi, fit.state, Y, num_samples=50).estimators.values()
    (before,) = gradient_report(svi, early, Y, num_samples=50).estimators.values()
    assert now.params["scale"].mean < before.params["scale"].mean - 0.5  # the entropy pulls it up by 1


# Text


def test_the_text() -> None:
    svi, state = normal()
    report = gradient_report(svi, state, Y, num_samples=500, estimators=[PathDerivative()])
    assert isinstance(report, GradientReport)
    text = str(report)
    assert text == repr(report)
    lines = text.splitlines()
    assert lines[0] == "500 gradients of each estimator at step 0"
    assert re.split(r" {2,}", lines[2]) == [
        "estimator", "variance", "|mean|/sd", "loss", "±", "us", "variance x us", "worst z",
    ]  # fmt: skip
    row = next(line for line in lines if line.startswith("PathDerivative()"))
    assert f"{report['PathDerivative()'].total_variance:.3g}"[:3] in row
    assert "no bias seen" in text and "Below 0.045 |mean|/sd is noise." in text
    assert "mu: loc, scale" in lines or "mu: scale, loc" in lines
    assert sum(line.startswith("  PathDerivative()") for line in lines) == 3  # two parameters and a site
    assert max(map(len, lines)) <= 120


def test_many_parameters_are_cut_to_those_that_vary_most() -> None:
    def model() -> None:
        for i in range(6):
            sample(f"z{i}", Normal(0.0, 1.0))

    def guide() -> None:
        for i in range(6):
            sample(f"z{i}", Normal(param(f"loc{i}", 0.0), 0.1 + 0.2 * i))

    svi = SVI(model, guide, 0.05)
    report = gradient_report(svi, svi.init(jax.random.key(0)), num_samples=200)
    shown = [line.split()[0] for line in report.param_table(max_params=2).splitlines()]
    assert shown == ["parameter", shown[1], "loc4", "Trace_ELBO()", "loc5", "Trace_ELBO()", "..."]
    assert report.param_table(max_params=2).endswith("... 4 more parameters, which vary less")
    assert report.param_table(max_params=None) == report.param_table()
    assert "more" not in report.param_table()


def test_numbers_without_the_text() -> None:
    svi, state = normal()
    report = gradient_report(svi, state, Y, num_samples=20, reference=ClosedFormEntropy())
    found = report.to_dict()["Trace_ELBO()"]
    assert set(found["params"]) == {"loc", "scale"} and set(found["sites"]) == {"mu"}
    assert found["reference"] == "ClosedFormEntropy()" and found["worst_z"] == report["Trace_ELBO()"].worst[1]
    assert found["variance"] == report["Trace_ELBO()"].total_variance


def test_a_gradient_that_is_not_finite_is_said() -> None:
    def model(y: Any) -> None:
        z = sample("mu", Normal(0.0, 1.0))
        svijax.factor("far", jnp.where(z > 0.5, jnp.nan, z))

    svi = SVI(model, normal_guide, 0.05)
    state = SVI(normal_model, normal_guide, 0.05).init(jax.random.key(0), Y)
    found = gradient_report(svi, state, Y, num_samples=100)["Trace_ELBO()"]
    assert 20 < found.num_nonfinite < 80
    assert found.verdict == f"{found.num_nonfinite} of 100 gradients are not finite"


def test_a_deterministic_gradient() -> None:
    svi, state = coin(exact_coin)
    report = gradient_report(svi, state, num_samples=20, estimators={"twice": lambda *a: exact_coin(*a)})
    found = report["exact_coin"]
    assert found.total_variance == 0 and found.signal_to_noise == np.inf
    assert found.reference == "twice" and not found.biased and found.worst[1] == 0


# Errors


def refused(error: type[Exception], *parts: str, **options: Any) -> None:
    svi, state = normal()
    with pytest.raises(error) as caught:
        gradient_report(svi, state, Y, **{"num_samples": 4, **options})
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_estimators_that_are_none() -> None:
    refused(ArgumentError, "must be a list", "estimators=[PathDerivative()]", estimators=PathDerivative())
    refused(ArgumentError, "must be a list", "str", estimators="PathDerivative")
    refused(ArgumentError, "estimators[0] is neither", "write PathDerivative().", estimators=[PathDerivative])
    refused(ArgumentError, "estimators['a'] is neither", "got:      3", estimators={"a": 3})
    refused(ArgumentError, "reference is neither", "write Trace_ELBO().", reference=Trace_ELBO)


def test_counts_that_are_none() -> None:
    refused(ArgumentError, "num_samples must be an int of at least 1", num_samples=0)
    refused(ArgumentError, "one gradient has no variance", num_samples=1)
    refused(ArgumentError, "batch_size must be an int", batch_size=2.5)


def test_estimators_that_cannot_be_used_here() -> None:
    refused(UnknownNameError, "'nu'", estimators=[{"nu": PathDerivative()}])
    refused(
        ArgumentError, "LeaveOneOut compares particles", estimators=[{"mu": ScoreFunction(LeaveOneOut())}]
    )
    svi, state = coin()
    with pytest.raises(ModelError, match="guide site 'z': PathDerivative cannot be used here"):
        gradient_report(svi, state, estimators=[{"z": PathDerivative()}])
    svi, state = coin(exact_coin)
    with pytest.raises(
        ArgumentError, match=r"estimators\[0\] is an estimator, and the objective .* takes none"
    ):
        gradient_report(svi, state, estimators=[ScoreFunction()])


def test_what_is_no_fit() -> None:
    svi, state = normal()
    with pytest.raises(ArgumentError, match="first argument must be an SVI"):
        gradient_report(state, svi, Y)
    with pytest.raises(StateError, match="another SVI"):
        gradient_report(svi, coin()[1], Y)
    chains = svi.run(jax.random.key(0), 2, Y, num_chains=2, progress_bar=False)
    with pytest.raises(StateError, match="2 chains"):
        gradient_report(svi, chains.state, Y)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_inside_a_traced_program(transform: Any) -> None:
    svi, state = normal()
    with pytest.raises(ArgumentError, match="inside jit or vmap there is none"):
        transform(lambda y: gradient_report(svi, state, y))(np.stack([Y, Y]))
