"""Values of the bound, its particles, its minibatches, its terms by site, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO
from svijax.base import ArgumentError, ModelError, UnknownNameError
from svijax.density import Draws, draw, noise_layout
from svijax.distributions import constraints
from svijax.guides import AutoNormal
from svijax.handlers import mask, scale, supply
from svijax.objectives import Objective

sample, plate, param = svijax.sample, svijax.plate, svijax.param
Normal, Bernoulli = dist.Normal, dist.Bernoulli

Y = np.array([0.3, -1.2, 0.8, 2.1, 0.4, -0.5, 1.7])


def normal_log_evidence(y: Any, prior_sd: float) -> float:
    """log ∫ N(mu; 0, prior_sd²) Π N(y; mu, 1) dmu."""
    n = len(y)
    covariance = np.eye(n) + prior_sd**2
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign == 1
    return float(-0.5 * (y @ np.linalg.solve(covariance, y) + log_det + n * np.log(2 * np.pi)))


def conjugate_model(y: Any) -> None:
    mu = sample("mu", Normal(0.0, 5.0))
    with plate("data", len(y)):
        sample("y", Normal(mu, 1.0), obs=y)


def exact_guide(y: Any) -> None:
    precision = len(y) + 1 / 25.0
    sample("mu", Normal(param("loc", y.sum() / precision), param("sd", precision**-0.5)))


def beta_bernoulli(y: Any) -> tuple[Any, Any, float]:
    def model() -> None:
        p = sample("p", dist.Beta(2.0, 3.0))
        with plate("data", len(y)):
            sample("y", Bernoulli(p), obs=y)

    a, b = 2.0 + y.sum(), 3.0 + len(y) - y.sum()

    def guide() -> None:
        sample("p", dist.Beta(a, b))

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    return model, guide, log_beta(a, b) - log_beta(2.0, 3.0)


def many(objective: Any, model: Any, guide: Any, *args: Any, count: int = 32) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda k: objective.loss(k, {}, model, guide, *args)))(keys))


# Zero variance: with the exact posterior as guide every draw gives the log evidence.


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("twin", [False, True], ids=["pathwise", "score"])
def test_an_exact_guide_has_no_variance(x64: None, particles: int, twin: bool) -> None:
    def guide(y: Any) -> None:
        precision = len(y) + 1 / 25.0
        q = Normal(y.sum() / precision, precision**-0.5)
        sample("mu", q.has_rsample_(False) if twin else q)

    losses = many(Trace_ELBO(particles), conjugate_model, guide, Y)
    np.testing.assert_allclose(losses, -normal_log_evidence(Y, 5.0), rtol=1e-13)


def test_exact_beta_and_categorical_guides_have_none_either(x64: None) -> None:
    model, guide, log_evidence = beta_bernoulli(np.array([1, 0, 1, 1, 0, 1]))
    np.testing.assert_allclose(many(Trace_ELBO(), model, guide), -log_evidence, rtol=1e-12)

    joint = np.log([0.2, 0.3, 0.5]) + np.log([0.7, 0.1, 0.4])
    logits = joint - np.log(np.exp(joint).sum())

    def mixture() -> None:
        k = sample("k", dist.Categorical(probs=np.array([0.2, 0.3, 0.5])))
        sample("x", Bernoulli(jnp.array([0.7, 0.1, 0.4])[k]), obs=1)

    losses = many(Trace_ELBO(), mixture, lambda: sample("k", dist.Categorical(logits=logits)))
    np.testing.assert_allclose(losses, -np.log(np.exp(joint).sum()), rtol=1e-13)


def test_no_variance_in_single_precision_to_its_rounding() -> None:
    losses = many(Trace_ELBO(), conjugate_model, exact_guide, Y.astype(np.float32))
    np.testing.assert_allclose(losses, -normal_log_evidence(Y, 5.0), rtol=2e-6)
    assert losses.dtype == np.float32


@pytest.mark.parametrize("batch", [2, 7, 100])
def test_a_local_plate_of_the_prior_costs_nothing_whatever_the_batch(x64: None, batch: int) -> None:
    def model(observe: bool = True) -> None:
        with plate("data", 100, batch):
            sample("z", Normal(0.0, 1.0))
            if observe:
                sample("x", Bernoulli(0.6), obs=np.ones(batch, int))

    losses = many(Trace_ELBO(), model, lambda: model(False), count=8)
    np.testing.assert_allclose(losses, -100 * math.log(0.6), rtol=1e-12)


def test_no_latents_at_all() -> None:
    def model() -> None:
        sample("x", Normal(param("loc", 0.0), 1.0), obs=1.0)

    loss, gradient = jax.value_and_grad(Trace_ELBO().loss, 1)(
        jax.random.key(0), {"loc": jnp.array(0.5)}, model, lambda: None
    )
    np.testing.assert_allclose(loss, 0.5 * 0.25 + 0.5 * math.log(2 * math.pi), rtol=1e-6)
    np.testing.assert_allclose(gradient["loc"], -0.5, rtol=1e-6)
    assert Trace_ELBO().loss(jax.random.key(0), {}, lambda: None, lambda: None) == 0


# Noise is data


@pytest.mark.slow
def test_the_expected_gradient_on_gauss_hermite_nodes(x64: None) -> None:
    """Through ``from_draws``, whose noise is an argument: ∇ E[loss] to rounding, and no key in sight."""
    layout = noise_layout(exact_guide, (Y,), {})
    assert layout.names == ("mu",) and layout.keyed == ()
    points, weights = np.polynomial.hermite_e.hermegauss(6)

    def loss(params: Any, e: Any) -> Any:
        draws = Draws(e.reshape(1, 1), jnp.zeros((1, 0)), jax.random.key(0))
        programs = supply(conjugate_model, params), supply(exact_guide, params)
        return Trace_ELBO().from_draws(draws, *programs, (Y,), {}, {}, layout).loss

    def exact(params: Any) -> Any:
        m, s = params["loc"], params["sd"]
        expected = 0.5 * jnp.sum((Y - m) ** 2 + s**2) + 0.5 * (m**2 + s**2) / 25.0 + jnp.log(5.0)
        return expected + 0.5 * len(Y) * jnp.log(2 * jnp.pi) - jnp.log(s) - 0.5

    params = {"loc": jnp.array(0.3), "sd": jnp.array(0.7)}
    for transform in (lambda f: f, jax.grad, jax.hessian):
        values = [jax.jit(transform(loss))(params, jnp.array(e)) for e in points]
        got = jax.tree.map(
            lambda *x: sum(w * v for w, v in zip(weights / weights.sum(), x, strict=True)), *values
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10),
            got,
            transform(exact)(params),
        )


def test_equal_draws_give_equal_losses_bit_for_bit() -> None:
    key, params = jax.random.key(3), {"loc": jnp.array(0.1), "sd": jnp.array(0.5)}
    objective = Trace_ELBO(4)
    layout = noise_layout(exact_guide, (Y,), {})
    programs = supply(conjugate_model, params), supply(exact_guide, params)
    loss = objective.from_draws(draw(key, layout, 4), *programs, (Y,), {}, {}).loss
    assert loss == objective.loss(key, params, conjugate_model, exact_guide, Y)
    raw = objective.loss(jax.random.PRNGKey(3), params, conjugate_model, exact_guide, Y)
    assert raw == objective.loss(jax.random.key(3), params, conjugate_model, exact_guide, Y)


# Particles


def keyed_guide(y: Any) -> None:
    q = Normal(param("loc", 0.0), param("sd", 1.0)).has_rsample_(False)
    sample("mu", q)


@pytest.mark.parametrize("guide", [exact_guide, keyed_guide], ids=["noise", "keys"])
def test_vmap_map_and_a_function_are_one_estimator(guide: Any) -> None:
    params = {"loc": jnp.array(0.2), "sd": jnp.array(0.6)}
    keys = jax.random.split(jax.random.key(1), 5)

    def value_and_grad(how: Any) -> Any:
        objective = Trace_ELBO(3, vectorize_particles=how)
        loss = lambda p, k: objective.loss(k, p, conjugate_model, guide, Y)  # noqa: E731
        return jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(params, keys)

    by_vmap = value_and_grad(True)
    for how in (False, lambda f: lambda xs: jax.lax.map(f, xs)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), value_and_grad(how), by_vmap
        )


def test_particles_are_the_mean_of_single_ones() -> None:
    params = {"loc": jnp.array(0.2), "sd": jnp.array(0.6)}
    layout = noise_layout(exact_guide, (Y,), {})
    draws = draw(jax.random.key(0), layout, 3)
    programs = supply(conjugate_model, params), supply(exact_guide, params)
    one = [
        Trace_ELBO().from_draws(
            Draws(draws.normal[i : i + 1], draws.uniform[:1], draws.key), *programs, (Y,), {}, {}
        )
        for i in range(3)
    ]
    all_three = Trace_ELBO(3).from_draws(draws, *programs, (Y,), {}, {})
    np.testing.assert_allclose(all_three.loss, np.mean([r.loss for r in one]), rtol=1e-6)
    np.testing.assert_allclose(all_three.log_q["mu"], np.mean([r.log_q["mu"] for r in one]), rtol=1e-6)
    assert len({float(r.loss) for r in one}) == 3


def test_all_particles_share_one_minibatch() -> None:
    rows: list[Any] = []

    def model() -> None:
        mu = sample("mu", Normal(0.0, 1.0))
        with plate("data", 1000, 3) as i:
            jax.debug.callback(lambda *x: rows.append(x), i, mu)
            sample("x", Normal(mu, 1.0), obs=jnp.zeros(3))

    def guide() -> None:
        sample("mu", Normal(0.0, 1.0))
        with plate("data", 1000, 3) as i:
            jax.debug.callback(lambda *x: rows.append(x), i, 0.0)

    Trace_ELBO(4, vectorize_particles=False).loss(jax.random.key(0), {}, model, guide)
    jax.effects_barrier()
    assert len({tuple(np.asarray(i).tolist()) for i, _ in rows}) == 1
    assert len({float(mu) for _, mu in rows}) == 5  # four draws, and the guide's constant


def test_mutable_state_is_the_first_particle_s_and_flows_from_guide_to_model() -> None:
    def guide() -> None:
        z = sample("z", Normal(0.0, 1.0))
        state = svijax.mutable("state", {"n": jnp.zeros(()), "z": jnp.zeros(())})
        state["n"] = state["n"] + 1
        state["z"] = z

    def model() -> None:
        sample("z", Normal(0.0, 1.0))
        state = svijax.mutable("state", {"n": jnp.zeros(()), "z": jnp.zeros(())})
        state["n"] = 10 * state["n"]

    layout = noise_layout(guide, (), {})
    draws = draw(jax.random.key(0), layout, 3)
    before = {"state": {"n": jnp.array(4.0), "z": jnp.array(0.0)}}
    after = Trace_ELBO(3).from_draws(draws, model, guide, (), {}, before).mutable["state"]
    assert after["n"] == 50 and after["z"] == draws.normal[0, 0]
    assert before["state"]["n"] == 4


# Terms by site


def test_terms_by_site_add_up() -> None:
    def model() -> None:
        with scale(scale=2.0):
            z = sample("z", Normal(0.0, 1.0))
        with plate("data", 6, 3), mask(mask=np.array([True, False, True])):
            k = sample("k", Bernoulli(0.3))
            sample("x", Normal(z + k, 1.0), obs=np.array([0.1, np.nan, 0.3]))
        svijax.factor("f", -0.5 * z)
        svijax.deterministic("d", z)

    def guide() -> None:
        z = sample("z", Normal(0.3, 0.5))
        with plate("data", 6, 3), mask(mask=np.array([True, False, True])):
            sample("k", Bernoulli(0.4))
        svijax.factor("g", 0.1 * z)

    found = Trace_ELBO(4).evaluate(jax.random.key(0), {}, model, guide)
    assert set(found.log_p) == {"z", "k", "x", "f"} and set(found.log_q) == {"z", "k", "g"}
    np.testing.assert_allclose(found.loss, sum(found.log_q.values()) - sum(found.log_p.values()), rtol=1e-6)
    one = Trace_ELBO().evaluate(jax.random.key(0), {}, model, guide)
    assert np.isfinite(found.loss) and jnp.shape(one.log_p["x"]) == ()
    np.testing.assert_allclose(one.log_p["f"], -0.5 * one.log_q["g"] / 0.1, rtol=1e-5)


# obs_mask: the bound stays a bound (D23)

SEEN = np.array([True, True, False, True])
PARTLY = np.array([1.0, 2.0, np.nan, 4.0])
LOG_EVIDENCE = -7.363


def missing_model() -> None:
    mu = sample("mu", Normal(0.0, 5.0))
    with plate("data", 4):
        sample("y", Normal(mu, 1.0), obs=PARTLY, obs_mask=SEEN)


def test_an_exact_guide_of_a_partly_observed_site_has_no_variance(x64: None) -> None:
    precision = 3 + 1 / 25.0
    np.testing.assert_allclose(precision**-0.5, 0.574, atol=5e-4)

    def guide() -> None:
        mu = sample("mu", Normal(7.0 / precision, precision**-0.5))
        with plate("data", 4):
            sample("y_unobserved", Normal(mu, 1.0))

    losses = many(Trace_ELBO(), missing_model, guide)
    np.testing.assert_allclose(losses, -normal_log_evidence(PARTLY[SEEN], 5.0), rtol=1e-12)
    np.testing.assert_allclose(losses, -LOG_EVIDENCE, atol=5e-4)


def user_guide() -> None:
    sample("mu", Normal(param("mu_auto_loc", 0.0), param("mu_auto_scale", 1.0)))
    with plate("data", 4):
        loc, sd = param("y_unobserved_auto_loc", np.zeros(4)), param("y_unobserved_auto_scale", np.ones(4))
        sample("y_unobserved", Normal(loc, sd))


@pytest.mark.parametrize("guide", [user_guide, AutoNormal(missing_model)], ids=["user", "AutoNormal"])
def test_the_loss_never_drops_below_minus_the_log_evidence(x64: None, guide: Any) -> None:
    def params(wide: Any) -> Any:
        return {
            "mu_auto_loc": jnp.array(2.3),
            "mu_auto_scale": jnp.array(0.5),
            "y_unobserved_auto_loc": jnp.array([0.0, 0.0, 2.3, 0.0]),
            "y_unobserved_auto_scale": jnp.where(SEEN, wide, 0.9),
        }

    objective, key = Trace_ELBO(2000), jax.random.key(0)

    @jax.jit
    def value_and_grad(p: Any) -> Any:
        return jax.value_and_grad(lambda p: objective.loss(key, p, missing_model, guide))(p)

    loss, gradient = value_and_grad(params(1.0))
    wide, _ = value_and_grad(params(1e6))
    assert loss == wide > -LOG_EVIDENCE
    for name in ("y_unobserved_auto_loc", "y_unobserved_auto_scale"):
        np.testing.assert_array_equal(gradient[name][SEEN], 0)
        assert np.isfinite(gradient[name]).all()


# A plain function


def test_grad_vmap_jit_and_leaks() -> None:
    params = {"loc": jnp.array(0.1), "sd": jnp.array(0.5)}
    loss = lambda p, k: Trace_ELBO(2).loss(k, p, conjugate_model, exact_guide, Y)  # noqa: E731
    keys = jax.random.split(jax.random.key(0), 3)
    with jax.checking_leaks():
        one = loss(params, keys[0])
        together, _ = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(params, keys)
        hessian = jax.jit(jax.hessian(loss))(params, keys[0])
    np.testing.assert_allclose(one, together[0], rtol=1e-5)
    # The expected loss is quadratic in loc, and so is each draw of it.
    np.testing.assert_allclose(hessian["loc"]["loc"], len(Y) + 1 / 25.0, rtol=1e-5)


def test_it_is_a_value() -> None:
    assert Trace_ELBO(3) == Trace_ELBO(num_particles=3) != Trace_ELBO(4)
    assert hash(Trace_ELBO(3)) == hash(Trace_ELBO(3)) and isinstance(Trace_ELBO(), Objective)


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "3"])
def test_particles_that_are_none(count: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        Trace_ELBO(count)
    assert str(caught.value) == (
        f"num_particles must be an int of at least 1.\n  got:      {count!r}\n  fix:      pass num_particles=1."
    )


def test_traced_particles() -> None:
    with pytest.raises(ArgumentError) as caught:
        jax.jit(lambda n: Trace_ELBO(n).num_particles)(3)
    assert str(caught.value) == (
        "num_particles must be known before the program is compiled.\n"
        "  got:      a traced value\n"
        "  fix:      pass num_particles as a Python int, outside the arguments that jit or vmap trace."
    )


def test_a_parameter_that_no_program_has() -> None:
    params = {"loc": 0.1, "ssd": 0.5}
    with pytest.raises(UnknownNameError) as caught:
        Trace_ELBO().loss(jax.random.key(0), params, conjugate_model, exact_guide, Y)
    assert str(caught.value) == "params: no site is named 'ssd'.\n  fix:      did you mean 'sd'?"


def test_a_pair_that_does_not_fit_is_an_error_here_too() -> None:
    with pytest.raises(ModelError, match="model site 'mu' is latent, and the guide has no site of that name"):
        Trace_ELBO().loss(jax.random.key(0), {}, conjugate_model, lambda y: None, Y)


def test_constraints_are_the_programs_business() -> None:
    """``params`` are constrained values: no bijection is applied to them."""

    def guide(y: Any) -> None:
        sample("mu", Normal(0.0, param("sd", 1.0, constraint=constraints.positive)))

    found = Trace_ELBO().evaluate(jax.random.key(0), {"sd": jnp.array(2.0)}, conjugate_model, guide, Y)
    noise = draw(jax.random.key(0), noise_layout(guide, (Y,), {}), 1).normal[0, 0]
    np.testing.assert_allclose(found.log_q["mu"], Normal(0.0, 2.0).log_prob(2.0 * noise), rtol=1e-5)
