"""Agreement of chains whose posteriors are known: R-hat, KL, ELBO, groups and words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.diagnostics
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax import SVI, Chains, Status
from svijax.base import ArgumentError
from svijax.diagnostics import gelman_rubin, split_gelman_rubin
from svijax.fitting._agreement import groups_of
from svijax.fitting._moments import Halves
from svijax.guides import AutoMultivariateNormal, AutoNormal

KEY = jax.random.key(0)
STILL = SVI(normal_model, normal_guide, optax.sgd(1e-12))
PLACED = {"loc": np.array([0.0, 0.1, 3.0, 0.05]), "scale": np.array([0.5, 0.5, 0.4, 0.5])}


def placed(svi=STILL, start=PLACED, y=Y, num=4):
    """Chains that stay where they are put."""
    return svi.run(KEY, 1, y, init_params=start, chains=Chains(num, init_params=0), progress_bar=False)


def look(fit):
    return fit.agreement(num_iterates=0, num_samples=2000)


@pytest.fixture(scope="module")
def report():
    return look(placed())


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 101, 3)) * [1.0, 2.0, 3.0] + rng.normal(size=(4, 1, 3))


def test_gelman_rubin_by_its_formula_and_by_numpyro(draws):
    m, n = draws.shape[:2]
    means = draws.mean(1)
    between = n / (m - 1) * ((means - means.mean(0)) ** 2).sum(0)
    within = (((draws - means[:, None]) ** 2).sum(1) / (n - 1)).mean(0)
    expected = np.sqrt(((n - 1) / n * within + between / n) / within)
    np.testing.assert_allclose(gelman_rubin(draws), expected, rtol=1e-12)
    np.testing.assert_allclose(gelman_rubin(draws), numpyro.diagnostics.gelman_rubin(draws), rtol=1e-12)
    np.testing.assert_allclose(
        split_gelman_rubin(draws), numpyro.diagnostics.split_gelman_rubin(draws), rtol=1e-12
    )
    np.testing.assert_allclose(jax.jit(split_gelman_rubin)(draws), split_gelman_rubin(draws), rtol=1e-4)


def test_split_halves_see_the_drift_of_a_single_chain():
    drifting = np.arange(100.0)[None]
    np.testing.assert_allclose(gelman_rubin(drifting), np.sqrt(99 / 100), rtol=1e-12)
    assert split_gelman_rubin(drifting) > 2.0


def test_chains_that_stand_still():
    assert gelman_rubin(np.ones((2, 10))) == 1.0
    assert gelman_rubin(np.array([[1.0] * 10, [2.0] * 10])) == np.inf


def test_too_few_draws():
    with pytest.raises(ArgumentError, match=r"\(chains, draws, ...\), at least 4 draws(.|\n)*\(2, 3\)"):
        split_gelman_rubin(np.ones((2, 3)))


def test_moments_of_halves_give_split_rhat_and_the_moments_of_all(draws):
    x = draws[:, :100]
    halves = x.reshape(4, 2, 50, 3)
    found = Halves(halves.mean(2), halves.var(2, ddof=1), 50)
    np.testing.assert_allclose(found.rhat, split_gelman_rubin(x), rtol=1e-12)
    np.testing.assert_allclose(found.whole[0], x.mean(1), rtol=1e-12)
    np.testing.assert_allclose(found.whole[1], x.var(1, ddof=1), rtol=1e-12)


def test_rhat_of_normals_with_known_moments(report):
    # Each chain counts twice, as two halves.
    halves = np.repeat(PLACED["loc"], 2)
    expected = np.sqrt(1.0 + halves.var(ddof=1) / (PLACED["scale"] ** 2).mean())
    np.testing.assert_allclose(report.rhat["mu"], expected, rtol=0.03)


def test_pairs_and_groups(report):
    a, b = PLACED["loc"][:2]
    np.testing.assert_allclose(report.pairs[0, 1], np.sqrt(1 + (a - b) ** 2 / 2 / 0.25), rtol=2e-3)
    assert report.pairs[0, 2] > 3.0
    assert report.groups == ((0, 1, 3), (2,))
    assert not report.agree


def test_symmetric_kl_of_normals(report):
    loc, scale = PLACED["loc"], PLACED["scale"]
    r = scale[:, None] ** 2 / scale**2
    kl = 0.5 * (r - 1 - np.log(r) + (loc[:, None] - loc) ** 2 / scale**2)
    np.testing.assert_allclose(report.kl, kl + kl.T, rtol=1e-4, atol=1e-6)


def test_elbo_of_each_chain(report):
    loc, scale = PLACED["loc"], PLACED["scale"]
    log_prior = -0.5 * np.log(2 * np.pi) - 0.5 * (loc**2 + scale**2)
    squares = ((Y[:, None] - loc) ** 2 + scale**2).sum(0)
    log_lik = -0.5 * len(Y) * np.log(2 * np.pi) - 0.5 * squares
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(scale)
    exact = log_prior + log_lik + entropy
    assert (np.abs(report.elbo - exact) < 4.5 * report.elbo_error).all()
    assert (report.elbo_error < 0.2).all()


def test_words_and_table(report):
    text = str(report)
    assert "Chains 0, 1 and 3 agree; chain 2 ended elsewhere." in text
    assert "ELBO of chain 2:" in text
    assert "below the first. Take fit.best()" in text
    assert "(chains 0 and 2)" in text
    assert [line.split()[3] for line in text.splitlines()[2:6]] == ["A", "A", "B", "A"]
    assert text == repr(report)


def test_chains_in_one_place_agree():
    found = look(placed(start={"loc": np.full(4, 0.7), "scale": np.full(4, 0.4)}))
    assert found.agree
    assert "The chains agree: R-hat of any two of them is below 1.1" in found.words
    assert found.rhat["mu"] < 1.01
    np.testing.assert_allclose(found.kl, 0.0, atol=1e-6)


def test_chains_that_differ_in_width_alone():
    scale = np.array([0.2, 0.2, 1.0, 1.0])
    found = look(placed(start={"loc": np.zeros(4), "scale": scale}))
    assert found.rhat["mu"] < 1.02
    # |z| has mean s √(2 / π) and variance s² (1 − 2 / π).
    between = np.repeat(scale * np.sqrt(2 / np.pi), 2).var(ddof=1)
    expected = np.sqrt(1.0 + between / ((1 - 2 / np.pi) * (scale**2).mean()))
    np.testing.assert_allclose(found.rhat_spread["mu"], expected, rtol=0.03)
    assert found.groups == ((0, 1), (2, 3))


def square_model(y):
    """±√y, two modes of equal mass."""
    mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
    svijax.sample("y", dist.Normal(mu**2, 1.0), obs=y)


def point_guide(y):
    svijax.sample("mu", dist.Delta(svijax.param("loc", 1.0)))


def test_modes_of_equal_elbo_are_told_from_worse_places():
    start = {"loc": np.array([2.0, -2.0, 2.0]), "scale": np.full(3, 0.25)}
    found = placed(SVI(square_model, normal_guide, optax.sgd(1e-12)), start, 4.0, 3).agreement(num_iterates=0)
    assert set(found.groups) == {(0, 2), (1,)}
    assert "several modes, or one under a symmetry" in found.words


def test_points_are_compared_by_their_size():
    start = {"loc": np.array([2.0, 2.001, -2.0])}
    found = placed(SVI(square_model, point_guide, optax.sgd(1e-12)), start, 4.0, 3).agreement(num_iterates=0)
    assert set(found.groups) == {(0, 1), (2,)}
    assert found.kl is None
    assert "KL(" not in str(found)


def chained_guide(y):
    a = svijax.sample("a", dist.Normal(svijax.param("loc", 0.0), 1.0))
    svijax.sample("b", dist.Normal(0.5 * a, 1.0))


def chained_model(y):
    a = svijax.sample("a", dist.Normal(0.0, 1.0))
    b = svijax.sample("b", dist.Normal(a, 1.0))
    svijax.sample("y", dist.Normal(a + b, 1.0), obs=y)


def test_no_closed_kl_where_draws_depend_on_draws():
    start = {"loc": np.array([0.0, 1.0])}
    found = placed(SVI(chained_model, chained_guide, optax.sgd(1e-12)), start, 1.0, 2).agreement(
        num_iterates=0
    )
    assert found.kl is None


def test_kl_of_a_full_normal_whose_latents_are_made_of_one_vector():
    svi = SVI(chained_model, AutoMultivariateNormal(chained_model), optax.adam(0.05))
    fit = svi.run(KEY, 200, 1.0, num_chains=2, progress_bar=False)
    found = fit.agreement(num_iterates=0, num_samples=100, num_particles=10)
    (a, b), tril = np.asarray(fit.params["auto_loc"], float), np.asarray(fit.params["auto_scale_tril"], float)
    s, t = (x @ x.T for x in tril)

    def kl(m, s, n, t):
        return 0.5 * (
            np.trace(np.linalg.solve(t, s))
            - len(m)
            + (n - m) @ np.linalg.solve(t, n - m)
            + np.linalg.slogdet(t)[1]
            - np.linalg.slogdet(s)[1]
        )

    np.testing.assert_allclose(found.kl[0, 1], kl(a, s, b, t) + kl(b, t, a, s), rtol=1e-3)
    assert set(found.rhat) == {"a", "b"}
    assert set(fit.agreement(sites=["b"], num_iterates=0, num_samples=100, num_particles=10).rhat) == {"b"}


def test_rhat_of_parameters_is_that_of_the_steps_that_would_follow():
    svi = SVI(normal_model, AutoNormal(normal_model), optax.adam(0.05))
    fit = svi.run(KEY, 30, Y, num_chains=3, progress_bar=False)
    before = jax.tree.map(np.asarray, fit.state)
    found = fit.agreement(num_iterates=20, num_samples=100, num_particles=10)
    state, seen = fit.state, []
    update = jax.jit(jax.vmap(lambda state: svi.update(state, Y)[0]))
    for _ in range(20):
        state = update(state)
        seen.append({name: state.free[name] for name in state.free})
    for name, rhat in found.rhat_params.items():
        iterates = np.stack([np.ravel(s[name]) for s in seen], axis=1).astype(np.float64)
        np.testing.assert_allclose(rhat[0], split_gelman_rubin(iterates), rtol=1e-2)
    # Their iterates are far apart and move, and the fit stays as it is.
    assert found.rhat_params["mu_auto_loc"] > 1.1
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, fit.state))


def failing_model(y):
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    svijax.factor("wall", jnp.where(mu > 50.0, jnp.nan, 0.0))
    svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


def test_a_chain_that_failed_is_left_out_and_told():
    start = {"loc": np.array([0.0, 100.0, 0.1]), "scale": np.full(3, 0.3)}
    svi = SVI(failing_model, normal_guide, optax.sgd(1e-12))
    # The start is tried anew where it is not finite, so this chain is put there afterwards.
    fit = placed(svi, {**start, "loc": np.zeros(3)}, 1.0, 3)
    far = fit.state.free.arrays[0].at[1, 0].set(100.0)
    state = fit.state.having(free=type(fit.state.free)((far,), fit.state.free.layout))
    fit = svi.run(KEY, 1, 1.0, init_state=state, progress_bar=False)
    assert fit.status.tolist() == [0, Status.NONFINITE, 0]
    found = fit.agreement(num_iterates=0, num_samples=100, num_particles=10)
    assert found.chains == (0, 2)
    assert found.elbo.shape == (2,)
    assert "Chain 1 failed and is left out" in found.words


def test_what_cannot_be_compared():
    one = STILL.run(KEY, 1, Y, progress_bar=False)
    with pytest.raises(ArgumentError, match=r"about several chains(.|\n)*num_chains=4"):
        one.agreement()
    several = STILL.run(KEY, 1, np.stack([Y, Y]), chains=Chains(2, args=0), progress_bar=False)
    with pytest.raises(ArgumentError, match=r"same data(.|\n)*data of their own(.|\n)*fit.chain"):
        several.agreement()
    with pytest.raises(ArgumentError, match="num_samples must be an int, at least 4"):
        placed().agreement(num_samples=3)
    with pytest.raises(ArgumentError, match="num_iterates must be an int, at least 4, or 0 for none"):
        placed().agreement(num_iterates=2)


def test_places_that_are_close_may_be_one():
    found = look(placed(start={"loc": np.array([0.0, 0.0, 0.5, 0.5]), "scale": np.full(4, 0.5)}))
    assert set(found.groups) == {(0, 1), (2, 3)}
    assert "They are close" in found.words and "average=" in found.words


def test_groups_are_linked_by_pairs_and_stand_in_the_order_of_their_elbo():
    pairs = np.full((5, 5), 3.0)
    for i, j in [(0, 1), (1, 4), (2, 3)]:
        pairs[i, j] = pairs[j, i] = 1.05
    elbo = np.array([0.0, 0.0, 1.0, 1.0, 0.0])
    assert groups_of(pairs, (0, 1, 2, 3, 7), elbo, 1.1) == ((2, 3), (0, 1, 7))
    assert groups_of(pairs, (0, 1, 2, 3, 7), elbo, 1.01)[0] == (2,)
