"""The doubly reparameterised gradient: the expectation of the plain one, with less variance; and where it cannot be."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_expectations import Expectation, enumerated, expected_derivative, gauss_hermite, product
from weighed import expected_bound

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import DerivativeError, ModelError
from svijax.density import Antithetic
from svijax.handlers import estimator, mask, scale
from svijax.objectives import DReG, ImportanceWeightedELBO, NoBaseline, RenyiELBO, ScoreFunction

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli


def at(**values: Any) -> Any:
    return {name: jnp.asarray(value, float) for name, value in values.items()}


def close(got: Any, want: Any, rtol: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, want)


def truth(case: Expectation, params: Any, alpha: float, **slices: Any) -> Any:
    return jax.jit(jax.value_and_grad(lambda p: expected_bound(case, p, alpha, 2, **slices)))(params)


def one_normal() -> Expectation:
    """A parameter of its own for each program, and one that both read."""

    def model() -> None:
        z = sample("z", Normal(param("prior", 0.0), 1.0))
        sample("x", Normal(z, param("both", 1.0)), obs=0.7)

    def guide() -> None:
        sample("z", Normal(param("m", 0.0), 0.5 * param("both", 1.0) * param("s", 1.0)))

    return Expectation(model, guide, gauss_hermite({"z": ()}, 48))


ONE = {"m": 0.3, "s": 1.1, "both": 1.2, "prior": 0.1}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, -0.5])
def test_the_expectation_is_that_of_the_plain_gradient(x64: None, alpha: float) -> None:
    case, params = one_normal(), at(**ONE)
    got = expected_derivative(RenyiELBO(alpha, estimator=DReG()), case, params)
    close(got, truth(case, params, alpha), 1e-10)


def mixed() -> Expectation:
    """A coin between two normals, with a scale and a mask on the densities of some."""

    def model() -> None:
        a = sample("a", Normal(0.2, 1.0))
        k = sample("k", Bernoulli(0.3 + 0.2 * jax.nn.sigmoid(a)))
        with scale(scale=1.3):
            b = sample("b", Normal(0.3 * a + 0.5 * k, 0.8))
        sample("y", Normal(b + 0.3 * a, 1.5), obs=0.4)

    def guide() -> None:
        a = sample("a", Normal(param("m", 0.0), param("s", 1.0)))
        k = sample("k", Bernoulli(logits=param("u", 0.0) + a))
        with scale(scale=1.3):
            sample("b", Normal(param("c", 0.0) * a + 0.3 * k, param("t", 1.0)))

    return Expectation(model, guide, product(enumerated({"k": ()}), gauss_hermite({"a": (), "b": ()}, 8)))


MIXED = {"m": 0.2, "s": 0.9, "u": 0.2, "c": 0.3, "t": 0.7}


@pytest.mark.parametrize(
    ("alpha", "chosen"),
    [
        (0.0, DReG()),
        (0.5, {"a": DReG()}),
        (0.5, {"b": DReG(), "k": ScoreFunction(NoBaseline())}),
    ],
    ids=str,
)
def test_a_guide_with_draws_of_both_kinds(x64: None, alpha: float, chosen: Any) -> None:
    case, params = mixed(), at(**MIXED)
    got = expected_derivative(RenyiELBO(alpha, estimator=chosen), case, params)
    close(got, truth(case, params, alpha), 1e-5)


def plated() -> Expectation:
    """Slices of a plate; the density of one element is masked, and its draw is read all the same."""

    def model() -> None:
        with plate("i", 2), mask(mask=np.array([True, False])):
            a = sample("a", Normal(0.2, 1.0))
        with plate("i", 2):
            sample("y", Normal(a, 1.5), obs=np.array([0.4, -0.5]))

    def guide() -> None:
        with plate("i", 2), mask(mask=np.array([True, False])):
            sample("a", Normal(param("m", np.zeros(2)), param("s", 1.0)))

    return Expectation(model, guide, gauss_hermite({"a": (2,)}, 7))


@pytest.mark.parametrize("factor", [1.0, 1.02])
def test_slices_and_masks(x64: None, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """And two per cent more of what is added to the detached gradient is seen."""
    from svijax.objectives import _renyi

    plain = _renyi.correction
    monkeypatch.setattr(_renyi, "correction", lambda *a: factor * plain(*a))
    case, params = plated(), at(m=[0.2, -0.3], s=0.8)
    got = expected_derivative(RenyiELBO(estimator=DReG()), case, params)
    want = truth(case, params, 0.0, keep=(-1,))
    if factor == 1.0:
        close(got, want, 1e-6)
        return
    with pytest.raises(AssertionError, match="Mismatched"):
        close(got, want, 1e-4)


def test_slices_with_coins_after_the_normals(x64: None) -> None:
    """The odds of a coin hang on a draw before it: its score takes part, in the slice that it is in."""

    def model() -> None:
        with plate("i", 2):
            a = sample("a", Normal(0.2, 1.0))
            k = sample("k", Bernoulli(0.3 + 0.2 * jax.nn.sigmoid(a)))
            sample("y", Normal(a + 0.3 * k, 1.5), obs=np.array([0.4, -0.5]))

    def guide() -> None:
        with plate("i", 2):
            a = sample("a", Normal(param("m", np.zeros(2)), param("s", 1.0)))
            sample("k", Bernoulli(logits=param("u", 0.0) + a))

    nodes = product(enumerated({"k": (2,)}), gauss_hermite({"a": (2,)}, 8))
    case, params = Expectation(model, guide, nodes), at(m=[0.1, -0.1], s=0.9, u=0.2)
    got = expected_derivative(RenyiELBO(estimator=DReG()), case, params)
    close(got, truth(case, params, 0.0, keep=(-1,)), 2e-4)


def test_single_precision_agrees() -> None:
    case, params = one_normal(), at(**ONE)
    got = expected_derivative(RenyiELBO(estimator=DReG()), case, params)
    close(got, truth(case, params, 0.0), 2e-5)


# The formula, particle by particle


def toy() -> tuple[Any, Any]:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("x", Normal(z, 1.0), obs=2.0)

    def guide() -> None:
        sample("z", Normal(param("loc", 0.0), jnp.exp(param("log_scale", 0.0))))

    return model, guide


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_formula(x64: None, alpha: float) -> None:
    """Σ (α v + (1 − α) v²) (d log w/dz) (dz/dφ)."""
    key, params = jax.random.key(0), at(loc=0.3, log_scale=-0.2)
    noise = svijax.density.draw(key, svijax.density.noise_layout(toy()[1], (), {}), 5).normal[:, 0]
    objective = RenyiELBO(alpha, 5, estimator=DReG())
    got = jax.jit(jax.grad(lambda p: objective.loss(key, p, *toy())))(params)
    s = np.exp(-0.2)
    z = 0.3 + s * np.asarray(noise)
    log_w = -0.5 * z**2 - 0.5 * (2 - z) ** 2 + 0.5 * noise**2
    slope = -z + (2 - z) + (z - 0.3) / s**2
    v = jax.nn.softmax((1 - alpha) * log_w)
    row = (alpha * v + (1 - alpha) * v**2) * slope
    np.testing.assert_allclose(got["loc"], -np.sum(row), rtol=1e-10)
    np.testing.assert_allclose(got["log_scale"], -np.sum(row * s * noise), rtol=1e-10)


def gradients(chosen: Any, count: int) -> Any:
    params = at(loc=0.0, log_scale=0.0)
    grad = jax.grad(ImportanceWeightedELBO(8, estimator=chosen).loss, 1)
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(lambda k: grad(k, params, *toy())))(keys)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_the_variance_of_the_toy(count: int) -> None:
    """z ~ N(0, 1), x = 2 ~ N(z, 1), q = N(0, 1), K = 8: one mean, variances .643 → .0176, 1.241 → .0171."""
    plain, doubly = gradients(None, count), gradients(DReG(), count)
    for name, before, after in (("loc", 0.643, 0.0176), ("log_scale", 1.241, 0.0171)):
        rows = [np.asarray(g[name], float) for g in (plain, doubly)]
        spread = np.sqrt(sum(r.var() / count for r in rows))
        assert abs(rows[0].mean() - rows[1].mean()) < 4 * spread
        for row, want in zip(rows, (before, after), strict=True):
            square = (row - row.mean()) ** 2
            # The constants are given to three digits.
            assert abs(square.mean() - want) < 4 * square.std() / np.sqrt(count) + 0.004 * want
        assert rows[1].var() < rows[0].var() / 20


# Where it cannot be


def test_second_derivatives_are_an_error() -> None:
    loss = lambda p: ImportanceWeightedELBO(2, estimator=DReG()).loss(jax.random.key(0), p, *toy())  # noqa: E731
    params = at(loc=0.0, log_scale=0.0)
    jax.jit(lambda p: jax.jvp(loss, (p,), (p,)))(params)
    for second in (jax.hessian(loss), jax.jacfwd(jax.grad(loss))):
        with pytest.raises(DerivativeError, match="no second derivative"):
            jax.eval_shape(second, params)


def test_second_derivatives_across_the_programs_are_an_error() -> None:
    case = one_normal()
    loss = lambda p: ImportanceWeightedELBO(2, estimator=DReG()).loss(  # noqa: E731
        jax.random.key(0), p, case.model, case.guide
    )
    params = at(**ONE)

    def by_prior(prior: Any) -> Any:
        return jax.grad(lambda m: loss({**params, "prior": prior, "m": m}))(params["m"])

    with pytest.raises(DerivativeError, match="no second derivative"):
        jax.eval_shape(jax.grad(by_prior), params["prior"])


def refused(model: Any, guide: Any, objective: Any) -> str:
    with pytest.raises(ModelError) as error:
        SVI(model, guide, 1e-3, objective).run(jax.random.key(0), 2, progress_bar=False)
    return str(error.value)


def test_draws_that_it_cannot_be_used_at() -> None:
    def model() -> None:
        k = sample("k", Bernoulli(0.3))
        m = sample("m", Normal(0.0, 1.0))
        sample("x", Normal(k + m, 1.0), obs=2.0)

    def guide() -> None:
        sample("k", Bernoulli(param("q", 0.5)))
        sample("m", dist.Delta(param("point", 0.0)))

    text = refused(model, guide, RenyiELBO(estimator={"k": DReG()}))
    assert "guide site 'k': DReG cannot be used here." in text and "no pathwise derivative" in text
    text = refused(model, guide, RenyiELBO(estimator={"m": DReG()}))
    assert "a point has no density to differentiate" in text
    # For all sites it holds where it can.
    SVI(model, guide, 1e-3, RenyiELBO(estimator=DReG())).run(jax.random.key(0), 2, progress_bar=False)


def test_noise_that_it_cannot_be_used_with() -> None:
    text = refused(*toy(), RenyiELBO(0.0, 2, estimator=DReG(), noise=Antithetic()))
    assert "Antithetic makes its draws depend on those of other particles" in text
    text = refused(*toy(), RenyiELBO(0.0, estimator=DReG(), fixed_draws=4))
    assert "it is right over new draws" in text


def test_a_state_that_may_carry_draws_between_slices() -> None:
    def model() -> None:
        svijax.mutable("state", {"x": jnp.zeros(())})
        with plate("i", 2):
            z = sample("z", Normal(0.0, 1.0))
            sample("x", Normal(z, 1.0), obs=np.array([0.1, 0.2]))

    def guide() -> None:
        with plate("i", 2):
            sample("z", Normal(param("m", np.zeros(2)), 1.0))

    assert "mutable state" in refused(model, guide, RenyiELBO(estimator=DReG()))


def test_inside_scan_and_cond() -> None:
    def model() -> None:
        z = sample("z", Normal(0.0, 1.0))
        sample("w", Normal(0.0, 1.0))
        sample("x", Normal(z, 1.0), obs=2.0)

    def guide() -> None:
        def branch(scale: float) -> Any:
            return lambda _: sample("z", Normal(param("m", 0.0), scale))

        svijax.cond(param("p", 1.0) > 0, branch(1.0), branch(2.0))
        sample("w", Normal(param("n", 0.0), 1.0))

    assert "it is drawn inside svijax.cond" in refused(model, guide, RenyiELBO(estimator=DReG()))


def test_chosen_at_a_site() -> None:
    """By the handler, and not elsewhere."""

    def model() -> None:
        a = sample("a", Normal(0.0, 1.0))
        b = sample("b", Normal(0.0, 1.0))
        sample("x", Normal(a + b, 1.0), obs=2.0)

    def guide(handled: bool) -> Any:
        def run() -> None:
            with estimator(estimator=DReG() if handled else None):
                sample("a", Normal(param("m", 0.0), 1.0))
            sample("b", Normal(param("n", 0.0), 1.0))

        return run

    def grad(objective: Any, guide: Any) -> Any:
        loss = lambda p: objective.loss(jax.random.key(0), p, model, guide)  # noqa: E731
        return jax.jit(jax.grad(loss))(at(m=0.1, n=0.2))

    plain = grad(RenyiELBO(0.0, 3), guide(False))
    named = grad(RenyiELBO(0.0, 3, estimator={"a": DReG()}), guide(False))
    close(grad(RenyiELBO(0.0, 3), guide(True)), named, 1e-6)
    assert abs(named["m"] - plain["m"]) > 1e-3
    np.testing.assert_allclose(named["n"], plain["n"], rtol=1e-5)
