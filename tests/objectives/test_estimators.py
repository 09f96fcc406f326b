"""Estimators of the gradient and baselines: each unbiased to the last digit, with the variance that it promises."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import (
    Expectation,
    enumerated,
    evaluate_at,
    expected_derivative,
    gauss_hermite,
    product,
)

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.base import ArgumentError, DerivativeError, ModelError, ShapeError, UnknownNameError
from svijax.guides import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from svijax.handlers import estimator, mask, scale
from svijax.objectives import (
    ClosedFormEntropy,
    Learned,
    LeaveOneOut,
    NoBaseline,
    PathDerivative,
    Pathwise,
    RunningMean,
    ScoreFunction,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
)

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli


def ladder(detached: bool = False) -> Expectation:
    """Two normals, one on the other, around a coin in a plate; scaled and masked."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.5))
        with plate("i", 2), mask(mask=np.array([True, False])):
            k = sample("k", Bernoulli(0.3))
            b = sample("b", Normal(0.5 * a + k, 0.8))
        with plate("i", 2), scale(scale=1.7):
            sample("y", Normal(b * a, 1.0), obs=np.array([0.4, -0.9]))

    def guide() -> None:
        fn = Normal(param("m", 0.0), param("s", 1.0))
        a = sample("a", fn.has_rsample_(False) if detached else fn)
        with plate("i", 2), mask(mask=np.array([True, False])):
            k = sample("k", Bernoulli(logits=param("u", np.zeros(2))))
            sample("b", Normal(param("c", 0.0) * a + 0.3 * k, param("t", 1.0)))

    return Expectation(model, guide, product(enumerated({"k": (2,)}), gauss_hermite({"a": (), "b": (2,)}, 5)))


PARAMS = {"m": 0.3, "s": 0.9, "u": [0.2, -0.5], "c": 0.4, "t": 0.7}


def at(values: Any) -> Any:
    return {name: jnp.array(value) for name, value in values.items()}


def truth(case: Expectation, params: Any) -> tuple[Any, Any]:
    return jax.jit(jax.value_and_grad(case.loss))(params)


def close(got: Any, want: Any, rtol: float = 1e-9) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, want)


UNBIASED = [
    {},
    {"estimator": PathDerivative()},
    {"estimator": ClosedFormEntropy()},
    {"estimator": {"a": PathDerivative(), "b": ClosedFormEntropy(), "k": ClosedFormEntropy()}},
    {"estimator": {"a": Pathwise(), "b": PathDerivative(), "k": ScoreFunction(NoBaseline())}},
    {"estimator": ScoreFunction()},
]


@pytest.mark.parametrize("options", UNBIASED, ids=str)
def test_every_estimator_is_unbiased(x64: None, options: Any) -> None:
    case, params = ladder(), at(PARAMS)
    close(expected_derivative(Trace_ELBO(**options), case, params), truth(case, params))


def test_two_per_cent_more_entropy_is_seen(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from svijax.objectives import _trace_elbo

    plain = _trace_elbo.entropy_site
    monkeypatch.setattr(
        _trace_elbo, "entropy_site", lambda s: plain(s).having(log_prob=1.02 * plain(s).log_prob)
    )
    case, params = ladder(), at(PARAMS)
    with pytest.raises(AssertionError, match="Mismatched"):
        close(
            expected_derivative(Trace_ELBO(estimator=ClosedFormEntropy()), case, params),
            truth(case, params),
            1e-3,
        )


@pytest.mark.parametrize("estimators", [PathDerivative(), ClosedFormEntropy(), None], ids=str)
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_pathwise_sites(x64: None, estimators: Any, order: int) -> None:
    """With the parameters of log q held fixed only first derivatives are those of the bound."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.5))
        sample("y", Normal(a**2, 1.0), obs=0.4)

    def guide() -> None:
        sample("a", Normal(param("m", 0.0), param("s", 1.0)))

    case, params = Expectation(model, guide, gauss_hermite({"a": ()}, 8)), at({"m": 0.3, "s": 0.9})
    derivative = jax.grad if order == 1 else jax.hessian
    want = derivative(case.loss)(params)
    objective = Trace_ELBO(estimator=estimators)
    if order == 2 and isinstance(estimators, PathDerivative):
        with pytest.raises(DerivativeError, match="no second derivative"):
            expected_derivative(objective, case, params, derivative)
        return
    close(expected_derivative(objective, case, params, derivative)[1], want)


def coins(particles: int) -> Expectation:
    def model() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(0.3))
        c = sample("c", Bernoulli(0.2 + 0.25 * a.sum()))
        sample("y", Normal(a.sum() + 2 * c, 1.0), obs=1.2)

    def guide() -> None:
        with plate("i", 2):
            a = sample("a", Bernoulli(logits=param("u", np.zeros(2))))
        sample("c", Bernoulli(jax.nn.sigmoid(param("v", 0.0) + a[0])))

    return Expectation(model, guide, enumerated({"a": (2,), "c": ()}))


COINS = {"u": [0.3, -0.4], "v": 0.2}


@pytest.mark.parametrize(
    ("particles", "baseline"),
    [(1, NoBaseline()), (2, None), (2, LeaveOneOut()), (2, NoBaseline()), (1, RunningMean(0.5))],
    ids=str,
)
def test_baselines_leave_the_expectation(x64: None, particles: int, baseline: Any) -> None:
    case, params = coins(particles), at(COINS)
    objective = Trace_ELBO(particles, estimator=ScoreFunction(baseline))
    close(expected_derivative(objective, case, params), truth(case, params))


@pytest.mark.slow
def test_second_derivatives_with_leave_one_out(x64: None) -> None:
    case, params = coins(2), at(COINS)
    _, got = expected_derivative(Trace_ELBO(2), case, params, jax.hessian)
    close(got, jax.hessian(case.loss)(params))


def variance(objective: Any, case: Expectation, params: Any) -> Any:
    """Exact variances of the gradient, by parameter."""
    mean = expected_derivative(objective, case, params)[1]

    def squared(loss: Any) -> Any:
        return lambda p: jax.tree.map(jnp.square, jax.grad(loss)(p))

    square = expected_derivative(objective, case, params, squared)[1]
    return {n: np.sum(np.asarray(square[n] - mean[n] ** 2)) for n in mean}


def test_leave_one_out_lowers_the_variance_and_is_the_default(x64: None) -> None:
    case, params = coins(2), at(COINS)
    plain = variance(Trace_ELBO(2, estimator=ScoreFunction(NoBaseline())), case, params)
    default = variance(Trace_ELBO(2), case, params)
    named = variance(Trace_ELBO(2, estimator=ScoreFunction(LeaveOneOut())), case, params)
    # Not of each parameter: the other particle's c stands behind other draws of a.
    assert default["u"] < 0.8 * plain["u"] and sum(default.values()) < 0.9 * sum(plain.values()), (
        default,
        plain,
    )
    close(default, named)


def test_the_running_mean_is_the_mean_of_what_came_before() -> None:
    """b = Σ decay^s f_s / Σ decay^s over the steps so far, and the score is multiplied by f − b."""

    def model() -> None:
        z = sample("z", Bernoulli(0.3))
        sample("y", Normal(4.0 * z, 1.0), obs=1.2)

    def guide() -> None:
        sample("z", Bernoulli(logits=param("u", 0.0)))

    objective = Trace_ELBO(estimator=ScoreFunction(RunningMean(0.5)))
    u = jnp.array(0.3)

    def grad(z: int, mutable: Any) -> Any:
        def loss(u: Any) -> Any:
            found = evaluate_at(
                objective, model, guide, {"u": u}, [({"z": np.array(z)}, {})], mutable=mutable
            )
            return found.loss, found

        return jax.value_and_grad(loss, has_aux=True)(u)

    start = {"z_baseline": {"total": jnp.zeros(()), "weight": jnp.zeros(())}}
    (loss_1, first), grad_1 = grad(1, start)
    (loss_0, second), grad_0 = grad(0, first.mutable)
    third = grad(1, second.mutable)[1]
    score_1, score_0 = 1 - jax.nn.sigmoid(u), -jax.nn.sigmoid(u)
    np.testing.assert_allclose(grad_1, loss_1 * score_1, rtol=1e-5)
    np.testing.assert_allclose(grad_0, (loss_0 - loss_1) * score_0, rtol=1e-5)
    mean = (0.25 * loss_1 + 0.5 * loss_0) / 0.75
    np.testing.assert_allclose(third, (loss_1 - mean) * score_1, rtol=1e-5)


def test_the_running_mean_is_kept_through_a_fit() -> None:
    def model() -> None:
        with plate("i", 3):
            z = sample("z", Bernoulli(0.3))
            sample("y", Normal(4.0 * z, 1.0), obs=np.array([0.1, 1.2, 4.0]))

    def guide() -> None:
        with plate("i", 3):
            sample("z", Bernoulli(logits=param("u", np.zeros(3))))

    svi = SVI(model, guide, optax.sgd(1e-3), Trace_ELBO(estimator=ScoreFunction(RunningMean(0.9))))
    state = svi.init(jax.random.key(0))
    assert state.mutable["z_baseline"]["total"].shape == (3,) and state.mutable["z_baseline"]["weight"] == 0
    fit = svi.run(jax.random.key(0), 50, progress_bar=False)
    kept = fit.state.mutable["z_baseline"]
    np.testing.assert_allclose(kept["weight"], 1 - 0.9**50, rtol=1e-5)
    means = np.asarray(kept["total"] / kept["weight"])
    assert means[1] < means[0] and means[1] < means[2]
    chains = svi.run(jax.random.key(0), 5, num_chains=2, progress_bar=False)
    assert chains.state.mutable["z_baseline"]["total"].shape == (2, 3)


def test_a_learned_baseline_fits_the_costs_and_nothing_else() -> None:
    data = np.array([0.1, 1.2, 4.0], np.float32)

    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        with plate("i", 3):
            z = sample("z", Bernoulli(0.3))
            sample("y", Normal(4.0 * z + 0 * a, 1.0), obs=data)

    def guide(learn: bool = True) -> None:
        a = sample("a", Normal(param("m", 0.0), 1.0))
        w = param("w", np.zeros(2))
        net = Learned(lambda x, a: w[0] + w[1] * x + 0 * a, data, a)
        with plate("i", 3), estimator(estimator=ScoreFunction(net if learn else NoBaseline())):
            sample("z", Bernoulli(logits=param("u", np.zeros(3))))

    params = at({"m": 0.1, "w": [0.5, -0.2], "u": [0.1, 0.2, 0.3]})
    values, noise = {"z": np.array([1, 0, 1])}, {"a": jnp.array(0.7)}

    def loss(p: Any, learn: bool) -> Any:
        return evaluate_at(Trace_ELBO(), model, lambda: guide(learn), p, [(values, noise)]).loss

    value, got = jax.value_and_grad(loss)(params, True)
    plain_value, plain = jax.value_and_grad(loss)(params, False)
    np.testing.assert_allclose(value, plain_value, rtol=1e-6)
    z, q = values["z"], np.asarray(jax.nn.sigmoid(params["u"]))
    cost = Bernoulli(q).log_prob(z) - Bernoulli(0.3).log_prob(z) - Normal(4.0 * z, 1.0).log_prob(data)
    b = 0.5 - 0.2 * data
    np.testing.assert_allclose(got["u"], plain["u"] - b * (z - q), rtol=1e-5)
    np.testing.assert_allclose(got["w"], [np.sum(2 * (b - cost)), np.sum(2 * (b - cost) * data)], rtol=1e-5)
    np.testing.assert_allclose(got["m"], plain["m"], rtol=1e-6)


def test_a_score_in_the_place_of_a_path(x64: None) -> None:
    """Asked for by name, at a site that has a pathwise gradient: value and expectation stay, the estimator changes."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.5))
        sample("y", Normal(a, 1.0), obs=0.4)

    def guide() -> None:
        sample("a", Normal(param("m", 0.0), param("s", 1.0)))

    params = at({"m": 0.3, "s": 0.9})
    case = Expectation(model, guide, gauss_hermite({"a": ()}, 8))
    # Nodes of noise weigh as they do; the score is of the value that they make.
    _, noise, weights = case._nodes()

    def one(e: Any, chosen: Any) -> Any:
        loss = lambda p: evaluate_at(Trace_ELBO(estimator=chosen), model, guide, p, [({}, {"a": e})]).loss  # noqa: E731
        return jax.value_and_grad(loss)(params)

    path = [one(e, None) for e in noise["a"]]
    score = [one(e, {"a": ScoreFunction()}) for e in noise["a"]]
    for e, (value, gradient), (value_s, gradient_s) in zip(noise["a"], path, score, strict=True):
        np.testing.assert_allclose(value_s, value)
        d_log_q = np.array([e / 0.9, (e**2 - 1) / 0.9])
        np.testing.assert_allclose([gradient_s["m"], gradient_s["s"]], value * d_log_q, rtol=1e-9)
        assert abs(gradient["m"] - gradient_s["m"]) > 1e-3
    mean = lambda rows: sum(w * g["m"] for w, (_, g) in zip(weights, rows, strict=True))  # noqa: E731
    np.testing.assert_allclose(mean(path), mean(score), rtol=1e-9)


@pytest.mark.parametrize(
    "objective", [Trace_ELBO(), TraceGraph_ELBO(), TraceEnum_ELBO()], ids=lambda o: type(o).__name__
)
def test_what_a_distribution_masks_is_drawn_all_the_same(x64: None, objective: Any) -> None:
    """fn.mask(False) takes log p and log q of a latent out; the likelihood reads its draw, which has a score."""
    enumerates = isinstance(objective, TraceEnum_ELBO)
    infer = {"enumerate": "parallel"} if enumerates else None

    def model() -> None:
        a = sample("a", Bernoulli(0.3).mask(False))
        b = sample("b", Bernoulli(jnp.array([0.4, 0.4])).mask(np.array([True, False])).to_event(1))
        sample("y", Normal(a + b @ jnp.array([1.0, 2.0]), 1.0), obs=0.7)

    def guide() -> None:
        sample("a", Bernoulli(logits=param("u", 0.0)).mask(False), infer=infer)
        sample("b", Bernoulli(logits=param("v", np.zeros(2))).mask(np.array([True, False])).to_event(1))

    values = np.array(list(itertools.product([0, 1], repeat=2 if enumerates else 3)))

    def put(row: Any) -> Any:
        return {"b": row[-2:]} if enumerates else {"a": row[0], "b": row[1:]}

    def exact(p: Any) -> Any:
        total = 0.0
        for a, b0, b1 in itertools.product([0, 1], repeat=3):
            weight = jnp.prod(
                jnp.stack(
                    [
                        Bernoulli(logits=t).probs if x else 1 - Bernoulli(logits=t).probs
                        for x, t in ((a, p["u"]), (b0, p["v"][0]), (b1, p["v"][1]))
                    ]
                )
            )
            kl = Bernoulli(logits=p["v"][0]).log_prob(b0) - Bernoulli(0.4).log_prob(b0)
            total = total + weight * (kl - Normal(a + b0 + 2.0 * b1, 1.0).log_prob(0.7))
        return total

    def one(p: Any, row: Any) -> Any:
        return evaluate_at(objective, model, guide, p, [(put(row), {})]).loss

    params = at({"u": 0.5, "v": [0.2, -0.4]})
    logits = jnp.concatenate([params["u"][None], params["v"]])[-values.shape[1] :]
    weights = np.exp(np.asarray(Bernoulli(logits=logits).log_prob(values)).sum(1))
    rows = jax.jit(jax.vmap(jax.value_and_grad(one), (None, 0)))(params, values)
    got = jax.tree.map(lambda x: np.tensordot(weights, x, 1), rows)
    close(got, jax.value_and_grad(exact)(params))


# The path derivative: no variance at an exact guide


def regression(X: Any, y: Any) -> None:
    w = sample("w", Normal(0.0, 2.0).expand([X.shape[1]]).to_event(1))
    with plate("data", X.shape[0]):
        sample("y", Normal(X @ w, 0.5), obs=y)


def exact_regression(dtype: Any) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3)).astype(dtype)
    y = (X @ np.array([1.0, -2.0, 0.5]) + 0.5 * rng.normal(size=20)).astype(dtype)
    precision = X.T @ X / 0.25 + np.eye(3) / 4.0
    covariance = np.linalg.inv(precision)
    return X, y, covariance @ X.T @ y / 0.25, np.linalg.cholesky(covariance)


def gradients(estimators: Any, dtype: Any) -> Any:
    X, y, mean, tril = exact_regression(dtype)
    guide = AutoMultivariateNormal(regression)
    params = {"auto_loc": jnp.asarray(mean), "auto_scale_tril": jnp.asarray(tril)}
    loss = lambda p, k: Trace_ELBO(estimator=estimators).loss(k, p, regression, guide, X, y)  # noqa: E731
    keys = jax.random.split(jax.random.key(0), 16)
    return jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, keys)


def test_sticking_the_landing_has_no_variance_at_the_posterior(x64: None) -> None:
    exact, plain = gradients(PathDerivative(), np.float64), gradients(None, np.float64)
    assert all(np.abs(g).max() < 1e-10 for g in exact.values())
    assert np.abs(plain["auto_loc"]).max() > 1.0


def test_sticking_the_landing_in_single_precision() -> None:
    exact, plain = gradients(PathDerivative(), np.float32), gradients(None, np.float32)
    assert all(np.abs(exact[n]).max() < 1e-3 * np.abs(plain[n]).max() for n in exact)


@pytest.mark.parametrize("guide", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
@pytest.mark.parametrize("chosen", [PathDerivative(), ClosedFormEntropy()], ids=str)
def test_for_every_autoguide(guide: Any, chosen: Any) -> None:
    def model() -> None:
        s = sample("s", dist.LogNormal(0.0, 0.5))
        m = sample("m", Normal(0.0, 1.0))
        sample("y", Normal(m, s), obs=np.array(0.7))

    svi = SVI(model, guide(model), optax.adam(3e-2), Trace_ELBO(8, estimator=chosen))
    plain = SVI(model, guide(model), optax.adam(3e-2), Trace_ELBO(8))
    fits = [s.run(jax.random.key(0), 1500, progress_bar=False) for s in (svi, plain)]
    assert not np.array_equal(fits[0].losses, fits[1].losses)
    tails = [float(np.mean(f.losses[-500:])) for f in fits]
    np.testing.assert_allclose(tails[0], tails[1], atol=0.02)


# What cannot be


def pair() -> tuple[Any, Any]:
    def model() -> None:
        sample("a", Normal(0.0, 1.0))
        sample("k", Bernoulli(0.3))
        sample("g", dist.Gamma(2.0, 1.0))

    def guide() -> None:
        sample("a", Normal(param("m", 0.0), 1.0))
        sample("k", Bernoulli(param("q", 0.5)))
        sample("g", dist.Gamma(param("c", 2.0), 1.0))

    return model, guide


def refused(chosen: Any, **options: Any) -> str:
    model, guide = pair()
    svi = SVI(model, guide, 1e-3, Trace_ELBO(estimator=chosen, **options))
    with pytest.raises(ModelError) as error:
        svi.run(jax.random.key(0), 10, progress_bar=False)
    return str(error.value)


def points_refused() -> str:
    def program() -> None:
        sample("a", Normal(param("m", 0.0), 1.0))

    objective = Trace_ELBO(fixed_draws=4, estimator=PathDerivative())
    with pytest.raises(ModelError) as error:
        objective.loss(jax.random.key(0), {}, program, program)
    return str(error.value)


def test_estimators_that_cannot_be_used() -> None:
    for chosen in (PathDerivative(), Pathwise()):
        text = refused({"k": chosen})
        assert f"guide site 'k': {type(chosen).__name__} cannot be used here." in text
        assert (
            "Bernoulli: its draws have no pathwise derivative" in text and "leave the estimator out" in text
        )
    assert "ScoreFunction cannot be used here" in refused({"k": ScoreFunction()}, fixed_draws=4)
    assert "Normal: with fixed_draws its gradient is not that of the loss" in points_refused()
    text = refused({"a": ScoreFunction()}, num_particles=2, noise=svijax.density.Antithetic())
    assert "Antithetic makes its draws depend on those of other particles" in text


def test_an_entropy_that_there_is_not() -> None:
    def model() -> None:
        sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    def guide() -> None:
        flow = dist.transforms.ExpTransform()
        base = dist.TransformedDistribution(Normal(0.0, 1.0), [flow, flow.inv])
        sample("x", base.expand([2]).to_event(1))

    with pytest.raises(ModelError, match="guide site 'x': ClosedFormEntropy cannot be used here"):
        Trace_ELBO(estimator={"x": ClosedFormEntropy()}).loss(jax.random.key(0), {}, model, guide)


def test_estimators_that_are_none() -> None:
    with pytest.raises(ArgumentError, match=r"write PathDerivative\(\)"):
        Trace_ELBO(estimator=PathDerivative)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="estimator must be an estimator, or a dictionary"):
        Trace_ELBO(estimator={"a": "score"})  # type: ignore[dict-item]
    model, guide = pair()
    with pytest.raises(UnknownNameError, match="'b'"):
        Trace_ELBO(estimator={"b": Pathwise()}).loss(jax.random.key(0), {}, model, guide)


def test_baselines_that_are_none() -> None:
    with pytest.raises(ArgumentError, match=r"decay must be in \[0, 1\)"):
        RunningMean(1.0)
    model, guide = pair()
    with pytest.raises(ArgumentError, match="LeaveOneOut compares particles"):
        Trace_ELBO(estimator=ScoreFunction(LeaveOneOut())).loss(jax.random.key(0), {}, model, guide)

    def wrong() -> None:
        with estimator(estimator=ScoreFunction(Learned(lambda: jnp.zeros(3)))):
            sample("k", Bernoulli(0.5))

    def only() -> None:
        sample("k", Bernoulli(0.5))

    with pytest.raises(ShapeError, match="guide site 'k': its learned baseline has not the shape"):
        Trace_ELBO().loss(jax.random.key(0), {}, only, wrong)


def test_objectives_with_estimators_are_values() -> None:
    one, two = (Trace_ELBO(2, estimator={"a": ScoreFunction(RunningMean())}) for _ in range(2))
    assert one == two and hash(one) == hash(two)
    assert one != Trace_ELBO(2, estimator={"a": ScoreFunction(NoBaseline())})
