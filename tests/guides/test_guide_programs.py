"""Autoguides under what models do: subsampled plates, masks, scales, supports that move, parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import svijax
import svijax.distributions as dist
from svijax.distributions import constraints
from svijax.fitting import differentiate
from svijax.guides import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal, init_to_feasible

NORMALS = [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal]
ALL = [AutoDelta, *NORMALS]
DECAY = optax.adam(optax.exponential_decay(0.05, 500, 0.5))


def fit(model, guide, steps, *args, optim=DECAY, key=0, **options):
    svi = svijax.SVI(model, guide, optim)
    return svi.run(jax.random.key(key), steps, *args, progress_bar=False, **options)


# Supports


SUPPORTED = {
    "positive": lambda: dist.Gamma(2.0, 1.0),
    "unit": lambda: dist.Beta(2.0, 3.0),
    "interval": lambda: dist.Uniform(-2.0, 5.0),
    "half": lambda: dist.HalfNormal(2.0),
    "simplex": lambda: dist.Dirichlet(jnp.array([2.0, 3.0, 4.0])),
    "simplices": lambda: dist.Dirichlet(jnp.full((2, 3), 2.0)).to_event(1),
    "rows": lambda: dist.Normal(jnp.zeros((2, 3)), 1.0).to_event(2),
    "ordered": lambda: dist.TransformedDistribution(
        dist.Normal(jnp.zeros(3), 1.0).to_event(1), dist.transforms.biject_to(constraints.ordered_vector)
    ),
    "positive definite": lambda: dist.TransformedDistribution(
        dist.Normal(jnp.zeros(3), 1.0).to_event(1), dist.transforms.biject_to(constraints.positive_definite)
    ),
    "cholesky": lambda: dist.TransformedDistribution(
        dist.Normal(jnp.zeros(3), 1.0).to_event(1), dist.transforms.biject_to(constraints.lower_cholesky)
    ),
}


EVERY_GUIDE = [(name, family) for name in SUPPORTED for family in ALL]
QUICK = [case for case in EVERY_GUIDE if case[0] in ("simplices", "ordered") or case[1] is AutoNormal]


@pytest.mark.parametrize(
    "name, family",
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in EVERY_GUIDE],
)
def test_every_draw_is_in_its_support(name, family):
    prior = SUPPORTED[name]()

    def model():
        svijax.sample("z", SUPPORTED[name]())

    guide = family(model)
    svi = svijax.SVI(model, guide, 0.05)
    state = svi.init(jax.random.key(0))
    draws = guide.sample_posterior(jax.random.key(1), svi.get_params(state), sample_shape=(7,))["z"]
    assert draws.shape == (7, *prior.batch_shape, *prior.event_shape)
    assert np.asarray(prior.support.check(draws)).all()
    assert np.asarray(prior.support.check(guide.median(svi.get_params(state))["z"])).all()
    assert np.isfinite(float(svi.update(state)[1]))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ("interval", "simplex", "positive definite") else pytest.mark.slow)
        for n in SUPPORTED
    ],
)
def test_the_density_of_the_guide_is_that_of_its_draws(name):
    """log q by Monte Carlo over the guide: E_q[p(z) / q(z)] = 1, the bijection's Jacobian included."""

    def model():
        svijax.sample("z", SUPPORTED[name]())

    guide = AutoNormal(model, init_scale=1.0, init_loc_fn=init_to_feasible)
    svi = svijax.SVI(model, guide, 0.05)
    free = svi.init(jax.random.key(0)).free
    losses = jax.vmap(lambda k: svi.loss(free, k))(jax.random.split(jax.random.key(1), 20_000))
    weights = np.exp(-np.asarray(losses, float))
    assert abs(weights.mean() - 1) < max(4.5 * weights.std() / len(weights) ** 0.5, 1e-3)


@pytest.mark.parametrize("family", ALL)
def test_a_support_that_follows_another_latent(family):
    def model(y):
        sigma = svijax.sample("sigma", dist.Gamma(4.0, 1.0))
        x = svijax.sample("x", dist.Uniform(0.0, sigma))
        svijax.sample("y", dist.Normal(x, 0.5), obs=y)

    guide = family(model)
    svi = svijax.SVI(model, guide, DECAY)
    found = svi.run(jax.random.key(0), 1500, 6.0, progress_bar=False)
    assert np.isfinite(found.losses).all()
    draws = guide.sample_posterior(jax.random.key(1), found.params, 6.0, sample_shape=(2000,))
    assert (draws["x"] > 0).all() and (draws["x"] < draws["sigma"]).all()
    if family is AutoDelta:
        return
    # By quadrature over sigma and x.
    s, u = np.meshgrid(np.linspace(0.01, 25, 800), (np.arange(800) + 0.5) / 800, indexing="ij")
    weight = stats.gamma(4).pdf(s) * stats.norm(6.0, 0.5).pdf(u * s)
    evidence = (weight.mean(1) * (25 / 800)).sum()
    assert found.losses[-300:].mean() > -np.log(evidence) - 0.02
    assert found.losses[-300:].mean() < -np.log(evidence) + (0.5 if family is AutoMultivariateNormal else 0.9)
    # E_q[p / q] is the evidence: the Jacobian of the moving interval is right.
    losses = jax.vmap(lambda k: svi.loss(found.state.free, k, 6.0))(
        jax.random.split(jax.random.key(2), 50_000)
    )
    weights = np.exp(-np.asarray(losses, float))
    assert weights.mean() == pytest.approx(evidence, rel=0.1)


# Subsampled plates


def local_model(y, size=3):
    mu = svijax.sample("mu", dist.Normal(0.0, 2.0))
    with svijax.plate("data", y.shape[0], subsample_size=size) as rows:
        z = svijax.sample("z", dist.Normal(mu, 1.0))
        svijax.sample("y", dist.Normal(z, 0.5), obs=y[rows])


DATA = np.linspace(-1.0, 3.0, 12).astype(np.float32)


@pytest.mark.parametrize("family", [AutoNormal, AutoDelta])
def test_tables_have_the_size_of_the_plate(family):
    svi = svijax.SVI(local_model, family(local_model), 0.05)
    params = svi.get_params(svi.init(jax.random.key(0), DATA))
    assert params["z_auto_loc"].shape == (12,) and params["mu_auto_loc"].shape == ()
    if family is AutoNormal:
        assert params["z_auto_scale"].shape == (12,)


def test_gradients_reach_the_rows_in_play_only():
    svi = svijax.SVI(local_model, AutoNormal(local_model), optax.sgd(0.1))
    state = svi.init(jax.random.key(0), DATA)
    seen = set()
    gradient_of = jax.jit(lambda s: differentiate(svi, s, DATA)[1])
    for _ in range(12):
        gradient = gradient_of(state)
        gradient = type(state.free)(gradient, state.free.layout)
        moved = np.flatnonzero(gradient["z_auto_loc"])
        assert len(moved) == 3
        np.testing.assert_array_equal(moved, np.flatnonzero(gradient["z_auto_scale"]))
        seen |= set(moved.tolist())
        state, _ = svi.update(state, DATA)
    assert len(seen) > 6


def test_subsampled_losses_are_unbiased():
    whole = svijax.SVI(local_model, AutoNormal(local_model, init_loc_fn=init_to_feasible), 0.05)
    state = whole.init(jax.random.key(0), DATA, size=12)
    full, full_error = whole.estimate(state, DATA, num_particles=4000, size=12)
    for size in (1, 5):
        part, error = whole.estimate(state, DATA, num_particles=4000, size=size)
        assert abs(part - full) < 4.5 * np.hypot(error, full_error)


def test_a_local_model_is_fitted_by_minibatches():
    guide = AutoNormal(local_model)
    optim = optax.adam(optax.exponential_decay(0.05, 1500, 0.5))
    found = fit(local_model, guide, 8000, DATA, optim=optim)
    # Mean field: the means are exact. y_i ~ N(mu, 1 + 1/4) marginally.
    precision = 1 / 4 + len(DATA) / 1.25
    mu = DATA.sum() / 1.25 / precision
    z = (mu + DATA / 0.25) / (1 + 1 / 0.25)
    assert float(found.params["mu_auto_loc"]) == pytest.approx(mu, abs=0.1)
    np.testing.assert_allclose(found.params["z_auto_loc"], z, atol=0.12)
    np.testing.assert_allclose(found.params["z_auto_scale"], 5**-0.5, rtol=0.15)
    assert guide.median(found.params, DATA)["z"].shape == (3,)
    assert found.posterior.sample(4)["z"].shape[0] == 4


def test_events_in_nested_subsampled_plates():
    def model(y):
        with svijax.plate("cols", 4, subsample_size=2, dim=-1) as c:
            svijax.sample("u", dist.Dirichlet(jnp.ones(3)))
            with svijax.plate("rows", 6, subsample_size=3, dim=-2) as r:
                v = svijax.sample("v", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
                svijax.sample("y", dist.Normal(v.sum(-1), 1.0), obs=y[r[:, None], c[None, :]])

    svi = svijax.SVI(model, AutoNormal(model), 0.05)
    state = svi.init(jax.random.key(0), np.zeros((6, 4), np.float32))
    params = svi.get_params(state)
    assert params["u_auto_loc"].shape == (4, 2)
    assert params["v_auto_loc"].shape == (6, 4, 2)
    gradient = jax.jit(lambda s: differentiate(svi, s, np.zeros((6, 4), np.float32))[1])(state)
    gradient = type(state.free)(gradient, state.free.layout)
    moved = np.asarray(gradient["v_auto_loc"] != 0).all(-1)
    assert moved.sum() == 6 and (moved.sum(1) > 0).sum() == 3


def test_constrained_tables_of_points():
    def model(y):
        with svijax.plate("data", 8, subsample_size=2) as rows:
            s = svijax.sample("s", dist.Gamma(2.0, 1.0))
            svijax.sample("y", dist.Poisson(s), obs=y[rows])

    found = fit(model, AutoDelta(model), 4000, np.arange(8), optim=optax.adam(0.02))
    # Mode of Gamma(2 + y, 2).
    np.testing.assert_allclose(found.params["s_auto_loc"], (1 + np.arange(8)) / 2, rtol=0.02)


@pytest.mark.parametrize("family", [AutoDiagonalNormal, AutoMultivariateNormal])
def test_joint_guides_refuse_local_latents(family):
    with pytest.raises(svijax.base.ModelError, match="model site 'z' lies in a subsampled plate") as error:
        fit(local_model, family(local_model), 1, DATA)
    assert family.__name__ in str(error.value) and "use AutoNormal" in str(error.value)


# Masks


def masked_model(y, seen):
    mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
    with svijax.plate("data", 4):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y, obs_mask=seen)


@pytest.mark.parametrize("family", NORMALS)
def test_a_partly_observed_site(family):
    """Exact: −log evidence 7.363, sd(mu) 0.574; a guide with free entropy would run below."""
    y = np.array([1.0, 2.0, np.nan, 4.0], np.float32)
    seen = np.array([True, True, False, True])
    guide = family(masked_model)
    optim = optax.adam(optax.exponential_decay(0.05, 800, 0.5))
    found = fit(masked_model, guide, 5000, y, seen, optim=optim)
    covariance = np.eye(3) + 25.0
    evidence = stats.multivariate_normal(np.zeros(3), covariance).logpdf([1.0, 2.0, 4.0])
    assert -evidence == pytest.approx(7.363, abs=1e-3)
    mean, error = svijax.SVI(masked_model, guide, optim).estimate(found.state, y, seen, num_particles=20_000)
    assert mean > -evidence - 4.5 * error
    assert mean < -evidence + 0.35  # mean field of mu and the missing entry costs some
    draws = guide.sample_posterior(jax.random.key(1), found.params, y, seen, sample_shape=(20_000,))
    exact = (3 + 1 / 25) ** -0.5
    assert exact == pytest.approx(0.5735, abs=1e-3)
    assert float(draws["mu"].mean()) == pytest.approx(7 / (3 + 1 / 25), abs=0.06)
    # The factor's variance is that of mu given the missing entry: 1 / (4 + 1/25).
    low = exact if family is AutoMultivariateNormal else (4 + 1 / 25) ** -0.5
    assert float(draws["mu"].std()) == pytest.approx(low, rel=0.06)
    assert max(float(jnp.max(abs(v))) for v in jax.tree.leaves(found.params)) < 10


def test_a_partly_observed_site_at_its_mode():
    y = np.array([1.0, 2.0, 0.0, 4.0], np.float32)
    found = fit(masked_model, AutoDelta(masked_model), 2000, y, np.array([True, True, False, True]))
    assert float(found.params["mu_auto_loc"]) == pytest.approx(7 / (3 + 1 / 25), abs=2e-2)


@pytest.mark.parametrize("family", NORMALS)
def test_a_masked_latent_has_no_free_entropy(family):
    def model(y):
        with svijax.plate("p", 3), svijax.handlers.mask(mask=jnp.array([True, False, True])):
            svijax.sample("z", dist.Normal(0.0, 1.0))
        svijax.sample("y", dist.Normal(0.0, 1.0), obs=y)

    found = fit(model, family(model), 2500, 0.5)
    evidence = stats.norm().logpdf(0.5)
    assert found.losses[-300:].mean() == pytest.approx(-evidence, abs=0.02)


@pytest.mark.parametrize("family", NORMALS)
def test_a_mask_within_events(family):
    def model(y, seen):
        mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
        with svijax.plate("data", 4):
            svijax.sample("y", dist.Normal(mu, 1.0).expand([4, 2]).to_event(1), obs=y, obs_mask=seen)

    y = np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [4.0, 4.0]], np.float32)
    found = fit(model, family(model), 2500, y, np.array([True, True, False, True]))
    evidence = stats.multivariate_normal(np.zeros(6), np.eye(6) + 25.0).logpdf(np.repeat([1.0, 2.0, 4.0], 2))
    assert -evidence - 0.1 < found.losses[-500:].mean() < -evidence + 0.6


# Scales, parameters, structure


@pytest.mark.parametrize("family", NORMALS)
def test_a_scaled_likelihood(family):
    y = np.array([0.3, 1.5, 2.0], np.float32)

    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 3), svijax.handlers.scale(scale=2.0):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    guide = family(model)
    found = fit(model, guide, 2500, y)
    draws = guide.sample_posterior(jax.random.key(1), found.params, y, sample_shape=(20_000,))["mu"]
    assert float(draws.mean()) == pytest.approx(2 * y.sum() / 7, abs=0.04)
    assert float(draws.std()) == pytest.approx(7**-0.5, rel=0.06)


@pytest.mark.parametrize("family", ALL)
def test_a_model_scaled_as_a_whole_has_the_same_optimum_of_its_parts(family):
    """Under a scale s, q minimises E_q[log q − s log p]: a normal prior N(0, 1) gives sd s^-1/2."""

    def model():
        svijax.sample("z", dist.Normal(1.0, 1.0))

    scaled = svijax.handlers.scale(model, scale=4.0)
    guide = family(scaled)
    found = fit(scaled, guide, 2000)
    assert float(guide.median(found.params)["z"]) == pytest.approx(1.0, abs=0.05)
    if family is not AutoDelta:
        draws = guide.sample_posterior(jax.random.key(0), found.params, sample_shape=(20_000,))["z"]
        assert float(draws.std()) == pytest.approx(0.5, rel=0.06)


@pytest.mark.parametrize("family", ALL)
def test_parameters_of_the_model_are_learned_too(family):
    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 0.01))
        sigma = svijax.param("sigma", 1.0, constraint=constraints.positive)
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(mu, sigma), obs=y)

    y = np.array([-3.0, 3.0, -1.0, 1.0, 2.0, -2.0], np.float32)
    found = fit(model, family(model), 2000, y)
    assert float(found.params["sigma"]) == pytest.approx(float(np.sqrt((y**2).mean())), rel=0.03)


def test_parameters_that_latents_depend_on_are_the_models():
    """Empirical Bayes: z_i ~ N(m, 1), y_i ~ N(z_i, 1) has m = mean(y)."""

    def model(y):
        m = svijax.param("m", 0.0)
        with svijax.plate("data", y.shape[0]):
            z = svijax.sample("z", dist.Normal(m, 1.0))
            svijax.sample("y", dist.Normal(z, 1.0), obs=y)

    y = np.array([4.0, 6.0, 5.5], np.float32)
    found = fit(model, AutoNormal(model), 2500, y)
    assert float(found.params["m"]) == pytest.approx(y.mean(), abs=0.1)


def test_nested_plates_and_hierarchies():
    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 3.0))
        with svijax.plate("groups", 3, dim=-2):
            g = svijax.sample("g", dist.Normal(mu, 1.0))
            with svijax.plate("rows", 4, dim=-1):
                svijax.sample("y", dist.Normal(g, 0.5), obs=y)

    y = np.array([[0.0], [2.0], [4.0]], np.float32) + np.array([-0.1, 0.0, 0.0, 0.1], np.float32)
    guide = AutoMultivariateNormal(model)
    found = fit(model, guide, 4000, y)
    assert guide.median(found.params, y)["g"].shape == (3, 1)
    shrink = 1 / (1 + 0.25 / 4)
    precision = 1 / 9 + 3 / (1 + 0.0625)
    mu = (6 / (1 + 0.0625)) / precision
    assert float(guide.median(found.params, y)["mu"]) == pytest.approx(mu, abs=0.08)
    expected = mu + shrink * (np.array([0.0, 2.0, 4.0]) - mu)
    np.testing.assert_allclose(guide.median(found.params, y)["g"][:, 0], expected, atol=0.06)


@pytest.mark.parametrize("family", ALL)
def test_python_control_flow_deterministics_and_factors(family):
    def model(y, deep):
        a = svijax.sample("a", dist.Normal(0.0, 1.0))
        total = svijax.deterministic("total", a * 2)
        if deep:
            total = total + svijax.sample("b", dist.Normal(0.0, 1.0))
        svijax.factor("f", -0.5 * (total - y) ** 2)

    guide = family(model)
    shallow = fit(model, guide, 50, 1.0, False)
    deep = fit(model, guide, 50, 1.0, True)
    assert len(jax.tree.leaves(deep.params)) >= len(jax.tree.leaves(shallow.params))
    assert set(guide.median(deep.params, 1.0, True)) == {"a", "b"}
    assert set(guide.median(shallow.params, 1.0, False)) == {"a"}


def test_blocked_and_conditioned_models():
    def model(y):
        a = svijax.sample("a", dist.Normal(0.0, 1.0))
        b = svijax.sample("b", dist.Normal(0.0, 1.0))
        svijax.sample("y", dist.Normal(a + b, 0.5), obs=y)

    given = svijax.handlers.condition(model, data={"b": jnp.asarray(0.5)})
    guide = AutoNormal(given)
    found = fit(given, guide, 2000, 1.5)
    assert set(found.params) == {"a_auto_loc", "a_auto_scale"}
    assert float(found.params["a_auto_loc"]) == pytest.approx(0.8, abs=0.05)


def test_a_hand_written_part_beside_an_autoguide():
    def model(y):
        a = svijax.sample("a", dist.Normal(0.0, 1.0))
        k = svijax.sample("k", dist.Bernoulli(0.3))
        svijax.sample("y", dist.Normal(a + k, 0.5), obs=y)

    auto = AutoNormal(svijax.handlers.block(model, hide=["k"]))

    def guide(y):
        auto(y)
        logit = svijax.param("logit", 0.0)
        svijax.sample("k", dist.Bernoulli(logits=logit))

    found = fit(model, guide, 1500, 1.5)
    assert set(found.params) == {"a_auto_loc", "a_auto_scale", "logit"}
    assert np.isfinite(found.losses).all() and float(found.params["logit"]) > 0
