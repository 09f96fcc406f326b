"""Reweighted wake-sleep: two gradients in one loss, each exactly what it says."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import Expectation, enumerated, expected_derivative
from weighed import expected_bound

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import ArgumentError, DerivativeError, ModelError
from svijax.density import Draws, NoiseLayout
from svijax.guides import AutoNormal
from svijax.handlers import estimator, supply
from svijax.objectives import ImportanceWeightedELBO, PathDerivative, ReweightedWakeSleep, Run
from svijax.objectives._sleep import Sleep

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli

X = np.array([1.2, -0.3])


def at(**values: Any) -> Any:
    return {name: jnp.asarray(value, float) for name, value in values.items()}


def close(got: Any, want: Any, rtol: float = 1e-10) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, want)


def coins() -> Expectation:
    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(logits=param("prior", 0.0)))
            sample("x", Normal(a, param("noise", 1.0)), obs=X)

    def guide() -> None:
        with plate("i", 2):
            sample("a", Bernoulli(logits=param("u", np.zeros(2))))

    return Expectation(model, guide, enumerated({"a": (2,)}))


COINS = {"prior": -0.4, "noise": 1.1, "u": [0.3, -0.2]}


def wake_gradients(case: Expectation, params: Any) -> Any:
    """E of (−log (1/2) Σ w, its derivative in the model's parameters, −Σ v ∂ log q) over both particles, by hand."""
    u = np.asarray(params["u"])
    prior, noise = float(params["prior"]), float(params["noise"])
    q, p = 1 / (1 + np.exp(-u)), 1 / (1 + np.exp(-prior))
    loss, d_prior, d_noise, d_u = 0.0, 0.0, 0.0, np.zeros(2)
    for i in range(2):
        for z in itertools.product((0, 1), repeat=2):
            z = np.array(z)
            chance = np.prod(np.where(z, q[i], 1 - q[i]))
            lik = np.exp(-0.5 * ((X[i] - z) / noise) ** 2) / noise / np.sqrt(2 * np.pi)
            w = np.where(z, p / q[i], (1 - p) / (1 - q[i])) * lik
            v = w / w.sum()
            loss -= chance * np.log(w.mean())
            d_prior -= chance * np.sum(v * (z - p))
            d_noise -= chance * np.sum(v * ((X[i] - z) ** 2 / noise**3 - 1 / noise))
            d_u[i] -= chance * np.sum(v * (z - q[i]))
    return loss, {"prior": d_prior, "noise": d_noise, "u": d_u}


def test_the_wake_phase(x64: None) -> None:
    case, params = coins(), at(**COINS)
    got = expected_derivative(ReweightedWakeSleep(2), case, params)
    close(got, wake_gradients(case, params))
    bound = jax.jit(jax.value_and_grad(lambda p: expected_bound(case, p, 0.0, 2, keep=(-1,))))(params)
    close(got[0], bound[0])
    close([got[1][n] for n in ("prior", "noise")], [bound[1][n] for n in ("prior", "noise")])


@pytest.mark.parametrize("insomnia", [0.0, 0.3])
def test_insomnia_weighs_the_wake_gradient_of_the_guide(x64: None, insomnia: float) -> None:
    case, params = coins(), at(**COINS)
    full = wake_gradients(case, params)[1]

    class Awake(ReweightedWakeSleep):
        """Without the checks of the sleep phase."""

        def one(self, run: Run) -> Any:
            return ReweightedWakeSleep(2).one(run)

    got = expected_derivative(Awake(2, insomnia), case, params)[1]
    close(got["u"], insomnia * full["u"])
    close(got["prior"], full["prior"])


def test_a_model_without_parameters(x64: None) -> None:
    case, params = coins(), at(**COINS)
    loss, got = expected_derivative(ReweightedWakeSleep(2, model_has_params=False), case, params)
    want_loss, want = wake_gradients(case, params)
    close(loss, want_loss)
    close(got, {"prior": 0.0, "noise": 0.0, "u": want["u"]})


@pytest.mark.parametrize("what", ["model", "guide"])
def test_two_per_cent_more_is_seen(x64: None, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from svijax.objectives import _wake_sleep

    name = "log_mean_exp" if what == "model" else "normalised"
    plain = getattr(_wake_sleep, name)
    monkeypatch.setattr(_wake_sleep, name, lambda x: 1.02 * plain(x))
    case, params = coins(), at(**COINS)
    with pytest.raises(AssertionError, match="Mismatched"):
        close(expected_derivative(ReweightedWakeSleep(2), case, params), wake_gradients(case, params), 1e-3)


def test_a_parameter_of_both_programs_gets_both_gradients(x64: None) -> None:
    def model(shared: str) -> Any:
        def run() -> None:
            a = sample("a", Bernoulli(logits=param(shared, 0.0)))
            sample("x", Normal(a, 1.0), obs=0.7)

        return run

    def guide() -> None:
        sample("a", Bernoulli(logits=param("both", 0.0)))

    nodes = enumerated({"a": ()})
    both = expected_derivative(
        ReweightedWakeSleep(2), Expectation(model("both"), guide, nodes), at(both=0.3)
    )[1]
    apart = expected_derivative(
        ReweightedWakeSleep(2), Expectation(model("own"), guide, nodes), at(both=0.3, own=0.3)
    )[1]
    close(both["both"], apart["both"] + apart["own"])


# Sleep


def amortised(size: int | None = None) -> tuple[Any, Any]:
    """An encoder that reads what it is shown."""

    def model(observations: Any) -> None:
        with plate("i", 3, size):
            a = sample("a", Bernoulli(logits=param("prior", 0.0)))
            sample("x", Bernoulli(0.2 + 0.5 * a), obs=svijax.subsample(observations["x"]))

    def guide(observations: Any) -> None:
        with plate("i", 3, size) as rows:
            x = observations["x"][rows] if size else observations["x"]
            sample("a", Bernoulli(logits=param("c", 0.0) + param("w", 0.0) * x))

    return model, guide


AMORTISED = {"prior": -0.4, "c": 0.2, "w": 0.7}
OBSERVED = np.array([1, 0, 1], np.int32)


@pytest.mark.parametrize(("size", "factor"), [(None, 1.0), (2, 1.5)])
def test_the_sleep_phase(x64: None, size: int | None, factor: float) -> None:
    """−E_p(a, x)[∂ log q(a | x)], the model's draws enumerated; a minibatch stands for all rows."""
    model, guide = amortised(size)
    count = size or 3
    params = at(**AMORTISED)
    draws = np.array(list(itertools.product((0, 1), repeat=2 * count)))
    rows = np.arange(3)[-count:]

    def one(p: Any, draw: Any) -> Any:
        values = {"a": draw[:count], "x": draw[count:]} | ({"i": rows} if size else {})
        key = jax.random.key(0)
        kwargs = {"observations": {"x": OBSERVED}}
        nothing = NoiseLayout((), (), ())
        run = Run(supply(model, p), supply(guide, p), (), kwargs, {}, nothing, {}, key, key)
        with supply(data=values):
            return -sum(Sleep(1).one(run).log_q.values())

    def chance(draw: np.ndarray) -> float:
        a, x = draw[:count], draw[count:]
        p = 1 / (1 + np.exp(0.4))
        on = 0.2 + 0.5 * a
        return float(np.prod(np.where(a, p, 1 - p)) * np.prod(np.where(x, on, 1 - on)))

    value_and_grad = jax.jit(jax.value_and_grad(one))
    found = [value_and_grad(params, jnp.array(d)) for d in draws]
    weights = [chance(d) for d in draws]
    loss = sum(w * f[0] for w, f in zip(weights, found, strict=True))
    gradient = {n: sum(w * f[1][n] for w, f in zip(weights, found, strict=True)) for n in params}
    want = {"loss": 0.0, "c": 0.0, "w": 0.0}
    prior = 1 / (1 + np.exp(0.4))
    for a, x in itertools.product((0, 1), repeat=2):
        on = 0.2 + 0.5 * a
        p = (prior if a else 1 - prior) * (on if x else 1 - on)
        q = 1 / (1 + np.exp(-(0.2 + 0.7 * x)))
        want["loss"] -= factor * count * p * np.log(q if a else 1 - q)
        want["c"] -= factor * count * p * (a - q)
        want["w"] -= factor * count * p * (a - q) * x
    np.testing.assert_allclose([loss, gradient["c"], gradient["w"]], list(want.values()), rtol=1e-10)
    assert gradient["prior"] == 0


@pytest.mark.slow
def test_both_phases_add_up() -> None:
    """At one key: (1 − insomnia) of the sleep gradient comes on top of insomnia times the wake gradient."""
    model, guide = amortised()
    key, params = jax.random.key(0), at(**AMORTISED)

    def run(insomnia: float, **options: Any) -> Any:
        objective = ReweightedWakeSleep(4, insomnia, **options)
        loss = lambda p: objective.loss(key, p, model, guide, observations={"x": OBSERVED})  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(params)

    wake, sleep, half = run(1.0), run(0.0), run(0.25)
    np.testing.assert_allclose([sleep[0], half[0]], wake[0], rtol=1e-6)
    np.testing.assert_allclose([sleep[1]["prior"], half[1]["prior"]], wake[1]["prior"], rtol=1e-5)
    for name in ("c", "w"):
        np.testing.assert_allclose(half[1][name], 0.25 * wake[1][name] + 0.75 * sleep[1][name], rtol=1e-5)
        assert abs(wake[1][name] - sleep[1][name]) > 1e-3
    nothing, empty = NoiseLayout((), (), ()), jnp.zeros((4, 0))

    def dreams(p: Any) -> Any:
        pair, shown = (supply(model, p), supply(guide, p)), {"observations": {"x": OBSERVED}}
        return Sleep(4).from_draws(Draws(empty, empty, key), *pair, (), shown, {}, nothing).loss

    alone = jax.jit(jax.grad(dreams))(params)
    np.testing.assert_allclose([sleep[1][n] for n in ("c", "w")], [alone[n] for n in ("c", "w")], rtol=1e-5)
    more = run(0.0, num_sleep_particles=9)
    assert abs(more[1]["w"] - sleep[1]["w"]) > 1e-4
    for options in ({"vectorize_particles": False}, {"particle_batch": 2}, {"remat": True}):
        close(run(0.25, **options), half, 1e-5)


def test_sleep_teaches_an_encoder_the_posterior() -> None:
    model, guide = amortised(2)
    svi = SVI(model, guide, optax.adam(0.03), ReweightedWakeSleep(8, 0.0, False, num_sleep_particles=64))
    fit = svi.run(
        jax.random.key(0), 600, observations={"x": OBSERVED}, init_params={"prior": -0.4}, progress_bar=False
    )
    prior = 1 / (1 + np.exp(0.4))
    want = [np.log(prior / (1 - prior)) + np.log(p / q) for p, q in ((0.3, 0.8), (0.7, 0.2))]
    got = [float(fit.params["c"]), float(fit.params["c"] + fit.params["w"])]
    np.testing.assert_allclose(got, want, atol=0.15)
    np.testing.assert_allclose(fit.params["prior"], -0.4)


def test_waking_fits_model_and_guide() -> None:
    model, guide = amortised()
    data = (np.random.default_rng(0).uniform(size=3) < 0.5).astype(np.int32)
    svi = SVI(model, guide, optax.adam(0.05), ReweightedWakeSleep(16))
    state = svi.init(jax.random.key(0), observations={"x": data})
    loss = svi.evaluate(state, observations={"x": data})
    np.testing.assert_allclose(svi.update(state, observations={"x": data})[1], loss, rtol=1e-6)
    fit = svi.run(jax.random.key(0), 300, observations={"x": data}, num_chains=2, progress_bar=False)
    assert (fit.losses[:, -50:].mean(1) < fit.losses[:, :10].mean(1) + 0.05).all()


def test_an_autoguide_when_awake() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, 1.0), obs=2.0)

    svi = SVI(model, AutoNormal(model), optax.adam(0.05), ReweightedWakeSleep(32))
    fit = svi.run(jax.random.key(0), 600, progress_bar=False)
    np.testing.assert_allclose(fit.params["z_auto_loc"], 1.0, atol=0.1)
    np.testing.assert_allclose(fit.params["z_auto_scale"], np.sqrt(0.5), atol=0.1)
    bound = ImportanceWeightedELBO(32).loss(jax.random.key(1), fit.params, model, AutoNormal(model))
    np.testing.assert_allclose(bound, 0.5 * np.log(4 * np.pi) + 1.0, atol=0.02)


def test_the_state_is_that_of_the_wake_phase() -> None:
    model, guide = amortised()

    def counting(observations: Any) -> None:
        held = svijax.mutable("count", {"n": jnp.zeros(())})
        held["n"] = held["n"] + observations["x"].sum()
        model(observations)

    loss = ReweightedWakeSleep(2, 0.5)
    found = loss.evaluate(jax.random.key(0), at(**AMORTISED), counting, guide, observations={"x": OBSERVED})
    assert found.mutable["count"]["n"] == 2
    assert set(found.log_p) == {"a", "x"} and set(found.log_q) == {"a"}


# What cannot be


def refused(model: Any, guide: Any, objective: Any, **kwargs: Any) -> str:
    with pytest.raises(ModelError) as error:
        SVI(model, guide, 1e-3, objective).run(jax.random.key(0), 2, progress_bar=False, **kwargs)
    return str(error.value)


def test_guides_that_cannot_sleep() -> None:
    def model(observations: Any = None) -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, 1.0), obs=2.0)

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), 1.0))

    text = refused(model, guide, ReweightedWakeSleep(2, 0.5))
    assert "no observations" in text and "the observed sites ['x']" in text and "insomnia=1.0" in text
    named = lambda observations: guide()  # noqa: E731
    text = refused(model, named, ReweightedWakeSleep(2, 0.5), observations={"y": np.array(2.0)})
    assert "observations with ['y']" in text
    shown = {"observations": {"x": np.array(2.0)}}
    text = refused(model, AutoNormal(model), ReweightedWakeSleep(2, 0.5), **shown)
    assert "cannot sleep with this guide" in text and "a site that only the guide has" in text

    def point(observations: Any = None) -> None:
        sample("z", dist.Delta(param("m", 0.0)))

    assert "is a point, which ReweightedWakeSleep cannot fit" in refused(model, point, ReweightedWakeSleep(2))

    def flow(observations: Any = None) -> None:
        u = sample("u", Normal(0.0, 1.0), infer={"is_auxiliary": True})
        shift, rate = param("shift", 0.0), param("rate", 1.0)
        sample("z", dist.Delta(shift + rate * u, log_density=-jnp.log(rate)))

    text = refused(model, flow, ReweightedWakeSleep(2))
    assert "guide site 'z' is a point" in text and "dist.TransformedDistribution" in text


def test_other_refusals() -> None:
    model, guide = amortised()
    shown = {"observations": {"x": OBSERVED}}
    text = refused(model, estimator(guide, estimator=PathDerivative()), ReweightedWakeSleep(2), **shown)
    assert "ReweightedWakeSleep has a gradient of its own" in text

    def outside(observations: Any) -> None:
        m = sample("m", Normal(0.0, 1.0))
        with plate("i", 3, 2):
            sample("x", Normal(m, 1.0), obs=svijax.subsample(observations["x"]))

    def global_guide(observations: Any) -> None:
        sample("m", Normal(param("l", 0.0), 1.0))

    text = refused(outside, global_guide, ReweightedWakeSleep(2), observations={"x": np.zeros(3)})
    assert "ReweightedWakeSleep: plate 'i' subsamples" in text
    for insomnia in (1.5, -0.1, True, float("nan")):
        with pytest.raises(ArgumentError, match="insomnia must be a number from 0 to 1"):
            ReweightedWakeSleep(2, insomnia)
    with pytest.raises(ArgumentError, match="num_sleep_particles must be an int"):
        ReweightedWakeSleep(2, 0.5, True, 0)
    for insomnia in (1.0, 0.5):
        loss = lambda p, i=insomnia: ReweightedWakeSleep(2, i).loss(  # noqa: E731
            jax.random.key(0), p, model, guide, **shown
        )
        with pytest.raises(DerivativeError, match="no second derivative"):
            jax.eval_shape(jax.hessian(loss), at(**AMORTISED))
