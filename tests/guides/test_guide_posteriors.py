"""Autoguides against posteriors known in closed form, and what they report of themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, ModelError, UnknownNameError
from svijax.distributions import constraints
from svijax.guides import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_feasible,
    init_to_mean,
    init_to_median,
    init_to_sample,
    init_to_uniform,
    init_to_value,
)

Y = np.array([0.3, -0.2, 1.5, 2.0, 0.7], np.float32)
NORMALS = [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal]
ALL = [AutoDelta, *NORMALS]
DECAY = optax.adam(optax.exponential_decay(0.05, 400, 0.5))

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 3)).astype(np.float32) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 2]], np.float32)
T = (X @ np.array([1.0, -2.0, 0.5], np.float32) + 0.5 * rng.normal(size=30)).astype(np.float32)


def mean_model(y):
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


def regression(x, t):
    w = svijax.sample("w", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    with svijax.plate("data", x.shape[0]):
        svijax.sample("t", dist.Normal(x @ w, 0.5), obs=t)


def mixed_model(y=None):
    """Latents of every kind of support."""
    svijax.sample("real", dist.Normal(1.0, 2.0))
    svijax.sample("positive", dist.Gamma(3.0, 2.0))
    svijax.sample("unit", dist.Beta(2.0, 5.0))
    svijax.sample("simplex", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    svijax.sample("vector", dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.5], [0.5, 2.0]])))
    with svijax.plate("p", 4):
        svijax.sample("plated", dist.HalfNormal(1.0))
        with svijax.plate("q", 2):
            svijax.sample("nested", dist.Uniform(-1.0, 3.0))


def fit(model, guide, steps, *args, optim=DECAY, key=0, **options):
    svi = svijax.SVI(model, guide, optim)
    return svi.run(jax.random.key(key), steps, *args, progress_bar=False, **options)


@pytest.mark.parametrize("family", NORMALS)
def test_a_normal_mean(family):
    guide = family(mean_model)
    found = fit(mean_model, guide, 3000, Y)
    draws = guide.sample_posterior(jax.random.key(1), found.params, Y, sample_shape=(20_000,))["mu"]
    assert draws.mean() == pytest.approx(Y.sum() / 6, abs=0.03)
    assert draws.std() == pytest.approx(6**-0.5, rel=0.05)
    # With the posterior in the family every loss is the evidence, to the fit's accuracy.
    sd = np.linalg.cholesky(np.eye(5) + 1.0)
    evidence = stats.multivariate_normal(np.zeros(5), sd @ sd.T).logpdf(Y)
    assert found.losses[-200:].mean() == pytest.approx(-evidence, abs=0.02)


@pytest.fixture(scope="module")
def regression_truth():
    precision = X.T @ X / 0.25 + np.eye(3) / 4.0
    covariance = np.linalg.inv(precision)
    return covariance @ (X.T @ T / 0.25), covariance


def test_a_full_rank_regression(regression_truth):
    mean, covariance = regression_truth
    guide = AutoMultivariateNormal(regression)
    found = fit(regression, guide, 6000, X, T, optim=optax.adam(optax.exponential_decay(0.05, 500, 0.5)))
    tril = np.asarray(found.params["auto_scale_tril"])
    sd = np.sqrt(np.diag(covariance))
    assert (abs(found.params["auto_loc"] - mean) < 0.1 * sd).all()
    error = (tril @ tril.T - covariance) / np.outer(sd, sd)
    assert abs(error).max() < 0.06
    correlation = covariance[0, 1] / (sd[0] * sd[1])
    assert abs(correlation) > 0.5  # so that a diagonal guide would fail this test
    draws = guide.sample_posterior(jax.random.key(1), found.params, X, T, sample_shape=(20_000,))["w"]
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.08)


@pytest.mark.parametrize("family", [AutoNormal, AutoDiagonalNormal])
def test_a_mean_field_regression(family, regression_truth):
    mean, covariance = regression_truth
    guide = family(regression)
    found = fit(regression, guide, 4000, X, T)
    draws = guide.sample_posterior(jax.random.key(1), found.params, X, T, sample_shape=(20_000,))["w"]
    # The best independent normal has the variances 1 / precision_ii.
    sd = np.diag(np.linalg.inv(covariance)) ** -0.5
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.15 * sd.max())
    np.testing.assert_allclose(draws.std(0), sd, rtol=0.07)


@pytest.mark.parametrize(
    "family", [AutoNormal, *(pytest.param(f, marks=pytest.mark.slow) for f in NORMALS[1:])]
)
def test_gamma_poisson(family):
    counts = np.array([3, 5, 2, 4, 6, 1, 3, 4])

    def model(k):
        rate = svijax.sample("rate", dist.Gamma(2.0, 1.0))
        with svijax.plate("data", k.shape[0]):
            svijax.sample("k", dist.Poisson(rate), obs=k)

    guide = family(model)
    found = fit(model, guide, 3000, counts)
    draws = guide.sample_posterior(jax.random.key(1), found.params, counts, sample_shape=(20_000,))["rate"]
    truth = stats.gamma(2 + counts.sum(), scale=1 / (1 + len(counts)))
    assert (draws > 0).all()
    assert draws.mean() == pytest.approx(truth.mean(), rel=0.03)
    assert draws.std() == pytest.approx(truth.std(), rel=0.08)


def test_delta_is_the_mode_of_the_constrained_density():
    def model(k):
        rate = svijax.sample("rate", dist.Gamma(2.0, 1.0))
        with svijax.plate("data", 3):
            svijax.sample("k", dist.Poisson(rate), obs=k)

    found = fit(model, AutoDelta(model), 2000, np.array([3, 5, 1]))
    # Gamma(11, 4): mode 10 / 4, without the Jacobian of the unconstrained space (which would give 11 / 4).
    assert float(found.params["rate_auto_loc"]) == pytest.approx(2.5, rel=1e-3)
    assert found.losses[-1] == found.losses[-2] or np.ptp(found.losses[-50:]) < 1e-3


# Parameters


def test_names_and_shapes():
    svi = svijax.SVI(mixed_model, AutoNormal(mixed_model), 0.01)
    params = svi.get_params(svi.init(jax.random.key(0)))
    shapes = {
        "real": (),
        "positive": (),
        "unit": (),
        "simplex": (2,),
        "vector": (2,),
        "plated": (4,),
        "nested": (2, 4),
    }
    expected = {f"{n}_auto_{w}": s for w in ("loc", "scale") for n, s in shapes.items()}
    assert {n: v.shape for n, v in params.items()} == expected
    np.testing.assert_allclose(params["nested_auto_scale"], 0.1, rtol=1e-6)


def test_names_and_shapes_of_joint_guides():
    def params_of(guide):
        svi = svijax.SVI(mixed_model, guide, 0.01)
        return svi.get_params(svi.init(jax.random.key(0)))

    diagonal, full = (
        params_of(AutoDiagonalNormal(mixed_model)),
        params_of(AutoMultivariateNormal(mixed_model)),
    )
    assert {n: v.shape for n, v in diagonal.items()} == {"auto_loc": (19,), "auto_scale": (19,)}
    assert {n: v.shape for n, v in full.items()} == {"auto_loc": (19,), "auto_scale_tril": (19, 19)}
    np.testing.assert_allclose(full["auto_scale_tril"], 0.1 * np.eye(19), atol=1e-6)


def test_names_and_shapes_of_a_point():
    svi = svijax.SVI(mixed_model, AutoDelta(mixed_model), 0.01)
    params = svi.get_params(svi.init(jax.random.key(0)))
    assert params["simplex_auto_loc"].shape == (3,)
    assert float(params["simplex_auto_loc"].sum()) == pytest.approx(1.0, rel=1e-5)
    assert float(params["positive_auto_loc"]) > 0 and 0 < float(params["unit_auto_loc"]) < 1


@pytest.mark.parametrize("family", NORMALS)
def test_prefix_and_init_scale(family):
    svi = svijax.SVI(mean_model, family(mean_model, prefix="mine", init_scale=0.3), 0.01)
    params = svi.get_params(svi.init(jax.random.key(0), Y))
    assert all("mine" in name and "auto" not in name for name in params)
    scales = [v for n, v in params.items() if "scale" in n]
    assert float(jnp.ravel(scales[0])[0]) == pytest.approx(0.3, rel=1e-5)


# Reports


@pytest.mark.parametrize("family", ALL)
def test_median_and_draws_have_the_shapes_of_the_sites(family):
    guide = family(mixed_model)
    svi = svijax.SVI(mixed_model, guide, 0.01)
    params = svi.get_params(svi.init(jax.random.key(0)))
    shapes = {
        "real": (),
        "positive": (),
        "unit": (),
        "simplex": (3,),
        "vector": (2,),
        "plated": (4,),
        "nested": (2, 4),
    }
    assert {n: v.shape for n, v in guide.median(params).items()} == shapes
    draws = guide.sample_posterior(jax.random.key(0), params, sample_shape=(3, 2))
    assert {n: v.shape for n, v in draws.items()} == {n: (3, 2, *s) for n, s in shapes.items()}
    assert {n: v.shape for n, v in guide.sample_posterior(jax.random.key(0), params).items()} == shapes
    np.testing.assert_allclose(draws["simplex"].sum(-1), 1.0, rtol=1e-5)
    assert ((draws["nested"] > -1) & (draws["nested"] < 3)).all()
    assert (draws["plated"] > 0).all() and (draws["positive"] > 0).all()


@pytest.mark.parametrize("family", NORMALS)
def test_quantiles_are_exact(family):
    def model():
        svijax.sample("a", dist.Normal(0.0, 1.0))
        svijax.sample("b", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))

    guide = family(model)
    if family is AutoNormal:
        params = {"a_auto_loc": 1.0, "b_auto_loc": jnp.array([0.0, 2.0])}
        params |= {"a_auto_scale": 2.0, "b_auto_scale": jnp.array([0.5, 1.0])}
    elif family is AutoDiagonalNormal:
        params = {"auto_loc": jnp.array([1.0, 0.0, 2.0]), "auto_scale": jnp.array([2.0, 0.5, 1.0])}
    else:
        tril = jnp.array([[2.0, 0, 0], [0.3, 0.4, 0], [0.6, 0, 0.8]])
        params = {"auto_loc": jnp.array([1.0, 0.0, 2.0]), "auto_scale_tril": tril}
    params = {n: jnp.asarray(v, jnp.float32) for n, v in params.items()}
    qs = [0.05, 0.5, 0.9]
    found = guide.quantiles(params, qs)
    z = special.ndtri(qs)
    np.testing.assert_allclose(found["a"], 1 + 2 * z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["b"][:, 0], np.exp(0.5 * z), rtol=1e-4)
    np.testing.assert_allclose(found["b"][:, 1], np.exp(2 + z), rtol=1e-4)
    one = guide.quantiles(params, 0.9)
    np.testing.assert_allclose(one["b"], found["b"][2], rtol=1e-5)
    np.testing.assert_allclose(guide.median(params)["b"], np.exp([0.0, 2.0]), rtol=1e-5)


def test_draws_follow_the_key():
    guide = AutoNormal(mean_model)
    svi = svijax.SVI(mean_model, guide, 0.01)
    params = svi.get_params(svi.init(jax.random.key(0), Y))
    draw = lambda seed: guide.sample_posterior(jax.random.key(seed), params, Y, sample_shape=(50,))["mu"]  # noqa: E731
    np.testing.assert_array_equal(draw(0), draw(0))
    assert len(set(draw(0).tolist())) == 50 and not np.array_equal(draw(0), draw(1))
    jitted = jax.jit(lambda k, p: guide.sample_posterior(k, p, Y, sample_shape=(50,))["mu"])
    np.testing.assert_allclose(jitted(jax.random.key(0), params), draw(0), rtol=1e-5)


# Where they start


def start_of(strategy, model=mixed_model, key=0, *args):
    guide = AutoNormal(model, init_loc_fn=strategy)
    svi = svijax.SVI(model, guide, 0.01)
    return guide.median(svi.get_params(svi.init(jax.random.key(key), *args)), *args)


def test_init_to_feasible():
    start = start_of(init_to_feasible)
    assert float(start["real"]) == 0.0
    assert float(start["positive"]) == pytest.approx(1.0)
    assert float(start["unit"]) == pytest.approx(0.5)
    np.testing.assert_allclose(start["nested"], 1.0)
    np.testing.assert_allclose(start["simplex"], 1 / 3, rtol=1e-5)


@pytest.mark.parametrize("strategy", [init_to_uniform, init_to_uniform(), init_to_uniform(radius=0.1)])
def test_init_to_uniform(strategy):
    radius = 0.1 if getattr(strategy, "radius", 2.0) == 0.1 else 2.0
    guide = AutoNormal(mixed_model, init_loc_fn=strategy)
    svi = svijax.SVI(mixed_model, guide, 0.01)
    locs = [np.ravel(v) for n, v in svi.get_params(svi.init(jax.random.key(0))).items() if n.endswith("loc")]
    flat = np.concatenate(locs)
    assert (abs(flat) < radius).all() and abs(flat).max() > radius / 2
    assert len(set(flat.tolist())) == flat.size


def test_init_to_mean():
    start = start_of(init_to_mean)
    assert float(start["real"]) == pytest.approx(1.0)
    assert float(start["positive"]) == pytest.approx(1.5, rel=1e-5)
    assert float(start["unit"]) == pytest.approx(2 / 7, rel=1e-5)
    np.testing.assert_allclose(start["simplex"], [1 / 6, 1 / 3, 1 / 2], rtol=1e-4)
    np.testing.assert_allclose(start["nested"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(start["vector"], 0.0, atol=1e-6)


def test_init_to_mean_falls_back():
    def model():
        svijax.sample("cauchy", dist.Cauchy(1.0, 2.0))
        svijax.sample("half", dist.HalfCauchy(2.0))
        svijax.sample("edge", dist.Normal(3.0, 1.0))

    start = start_of(init_to_mean, model)
    assert all(np.isfinite(v).all() for v in start.values())
    assert float(start["half"]) > 0 and float(start["edge"]) == pytest.approx(3.0)
    assert float(start["cauchy"]) == float(start_of(init_to_median, model)["cauchy"])


def test_init_to_median():
    def model():
        svijax.sample("a", dist.Normal(5.0, 1e-3))
        svijax.sample("b", dist.LogNormal(1.0, 1e-3))

    start = start_of(init_to_median, model)
    assert float(start["a"]) == pytest.approx(5.0, abs=2e-3)
    assert float(start["b"]) == pytest.approx(np.e, rel=2e-3)
    wide = [float(start_of(init_to_median(num_samples=1001), key=k)["positive"]) for k in range(2)]
    assert np.mean(wide) == pytest.approx(stats.gamma(3, scale=0.5).median(), rel=0.1)


def test_init_to_sample():
    draws = [float(start_of(init_to_sample, mean_model, k, Y)["mu"]) for k in range(40)]
    assert abs(np.mean(draws)) < 0.6 and 0.6 < np.std(draws) < 1.5


def test_init_to_value():
    values = {"real": 2.5, "simplex": jnp.array([0.2, 0.3, 0.5]), "nested": 0.25, "positive": 4}
    start = start_of(init_to_value(values, fallback=init_to_feasible))
    assert float(start["real"]) == 2.5
    assert float(start["positive"]) == pytest.approx(4.0, rel=1e-5)
    np.testing.assert_allclose(start["simplex"], [0.2, 0.3, 0.5], rtol=1e-4)
    np.testing.assert_allclose(start["nested"], np.full((2, 4), 0.25), rtol=1e-4)
    assert float(start["unit"]) == pytest.approx(0.5)
    named = start_of(init_to_value(values=values))
    assert float(named["real"]) == 2.5


def test_init_to_value_with_an_unknown_name():
    with pytest.raises(UnknownNameError, match="init_to_value: no site is named 'reel'") as error:
        start_of(init_to_value({"reel": 1.0}))
    assert "did you mean 'real'?" in str(error.value)


def test_init_to_value_outside_the_support():
    match = "model site 'positive': its starting value is outside the support"
    with pytest.raises(svijax.base.ParameterError, match=match) as error:
        start_of(init_to_value({"positive": -1.0}))
    assert "got:      -1.0" in str(error.value)


def test_init_to_value_of_another_shape():
    with pytest.raises(svijax.base.ShapeError, match="model site 'nested': its starting value") as error:
        start_of(init_to_value({"nested": jnp.zeros(4)}))
    assert "expected: (2, 4)" in str(error.value) and "got:      (4,)" in str(error.value)


def test_a_function_of_site_and_key_is_a_strategy():
    start = start_of(lambda site, key: 0.75 if site.name == "mu" else 0.0, mean_model, 0, Y)
    assert float(start["mu"]) == 0.75


def test_what_is_no_strategy():
    with pytest.raises(ArgumentError, match="init_loc_fn is no strategy") as error:
        start_of(3.0)
    assert "got:      3.0" in str(error.value)


@pytest.mark.parametrize("family", ALL)
def test_strategies_serve_every_guide(family):
    guide = family(mixed_model, init_loc_fn=init_to_value({"real": 2.5, "positive": 4.0}, init_to_feasible))
    svi = svijax.SVI(mixed_model, guide, 0.01)
    start = guide.median(svi.get_params(svi.init(jax.random.key(0))))
    assert float(start["real"]) == pytest.approx(2.5)
    assert float(start["positive"]) == pytest.approx(4.0, rel=1e-5)


# Guides as values


@pytest.mark.parametrize("family", ALL)
def test_guides_are_values_and_remember_nothing(family):
    guide = family(mean_model)
    before = dict(vars(guide))
    svi = svijax.SVI(mean_model, guide, 0.05)
    found = svi.run(jax.random.key(0), 20, Y, progress_bar=False)
    guide.median(found.params, Y)
    assert vars(guide) == before
    assert guide == family(mean_model) and hash(guide) == hash(family(mean_model))
    assert guide != family(mean_model, prefix="other")
    # A new record continues the state, and another number of rows is no matter.
    fresh = svijax.SVI(mean_model, family(mean_model), 0.05)
    more = fresh.run(jax.random.key(1), 20, Y, init_state=found.state, progress_bar=False)
    assert int(more.state.step) == 40
    assert np.isfinite(fresh.run(jax.random.key(1), 5, Y[:3], progress_bar=False).losses).all()


def test_a_guide_alone_is_a_program():
    guide = AutoNormal(mixed_model)
    with svijax.handlers.trace() as sites, svijax.handlers.seed(rng_seed=0):
        values = guide()
    assert set(values) == {"real", "positive", "unit", "simplex", "vector", "plated", "nested"}
    assert {name for name in sites if name in values} == set(values)


def test_vmap_over_fits():
    data = jnp.stack([Y, Y + 2.0])
    guide = AutoNormal(mean_model)
    svi = svijax.SVI(mean_model, guide, DECAY)
    many = jax.vmap(lambda y: svi.run(jax.random.key(0), 2000, y))(data)
    np.testing.assert_allclose(many.params["mu_auto_loc"], data.sum(1) / 6, atol=0.05)
    medians = jax.vmap(guide.median)(many.params, data)["mu"]
    np.testing.assert_allclose(medians, many.params["mu_auto_loc"])


def test_scalars_and_constraints_of_the_scale():
    guide = AutoNormal(mean_model, scale_constraint=constraints.positive)
    svi = svijax.SVI(mean_model, guide, 0.01)
    state = svi.init(jax.random.key(0), Y)
    assert float(state.free["mu_auto_scale"]) == pytest.approx(np.log(0.1), rel=1e-5)


@pytest.mark.parametrize("family", ALL)
def test_a_model_without_latents(family):
    def model():
        svijax.factor("f", -(svijax.param("a", 1.0) ** 2))

    with pytest.raises(ModelError, match="the model has no latent site"):
        svijax.SVI(model, family(model), 0.1).init(jax.random.key(0))


@pytest.mark.parametrize("family", ALL)
def test_a_discrete_latent(family):
    def model():
        with svijax.plate("p", 3):
            svijax.sample("z", dist.Bernoulli(0.3))

    with pytest.raises(ModelError, match="model site 'z' is a discrete latent") as error:
        svijax.SVI(model, family(model), 0.1).init(jax.random.key(0))
    text = str(error.value)
    assert ("plates:" in text and "'p'" in text) or "p" in text
    assert "Bernoulli" in text and "fix:" in text


@pytest.mark.parametrize("start", [init_to_uniform, init_to_value({"mu": 0.1, "s": 1.0})])
def test_a_prior_of_infinite_mass(start: object) -> None:
    """p(mu) = 1: the posterior of a normal mean is N(mean(y), 1/n)."""
    y = np.array([0.3, -1.2, 0.8, 2.1], np.float32)

    def model() -> None:
        mu = svijax.sample("mu", dist.ImproperUniform(dist.constraints.real))
        svijax.sample("s", dist.ImproperUniform(dist.constraints.interval(0.0, 2.0)))
        svijax.sample("y", dist.Normal(mu, 1.0).expand([4]).to_event(1), obs=y)

    guide = AutoNormal(model, init_loc_fn=start)
    fit = svijax.SVI(model, guide, 0.02, svijax.Trace_ELBO(4)).run(
        jax.random.key(0), 1500, progress_bar=False
    )
    np.testing.assert_allclose(fit.params["mu_auto_loc"], y.mean(), atol=0.05)
    np.testing.assert_allclose(fit.params["mu_auto_scale"], 0.5, atol=0.06)
