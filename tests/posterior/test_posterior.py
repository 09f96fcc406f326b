"""Draws, moments, densities and weights of a fitted guide, against conjugate truth."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from normal_normal import NOISE_SD, PRIOR_SD, TRUTH, guide, model

import svijax
import svijax.distributions as dist
from svijax.base import ArgumentError, ShapeError, UnknownNameError
from svijax.guides import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from svijax.posterior import Posterior, importance_weights

KEY = jax.random.key(0)


def exact(params: Any = None) -> Posterior:
    return Posterior(guide, model, TRUTH.params if params is None else params, (5, TRUTH.y), {}, KEY)


def test_an_exact_guide_has_constant_weights(x64: None) -> None:
    log_w = exact().log_weights(200)
    np.testing.assert_allclose(log_w, TRUTH.log_evidence, rtol=1e-12)
    elbo, error = exact().elbo(200)
    np.testing.assert_allclose(elbo, TRUTH.log_evidence, rtol=1e-12)
    assert error < 1e-12
    assert exact().khat(200) == -np.inf
    function = importance_weights(KEY, TRUTH.params, model, guide, 5, TRUTH.y, num_samples=7)
    np.testing.assert_allclose(function, TRUTH.log_evidence, rtol=1e-12)


def test_weights_of_an_inexact_guide(x64: None) -> None:
    params = {"loc": jnp.asarray(TRUTH.mean + 0.1), "scale": jnp.asarray(1.3 * TRUTH.sd)}
    posterior = exact(params)
    log_w = np.asarray(posterior.log_weights(4_000))
    # log w = log p(y) + log N(z; truth) − log N(z; guide), at the very draws.
    z = np.asarray(posterior.sample(4_000)["mu"])
    log_q = st.norm.logpdf(z, params["loc"], params["scale"])
    np.testing.assert_allclose(
        log_w, TRUTH.log_evidence + st.norm.logpdf(z, TRUTH.mean, TRUTH.sd) - log_q, rtol=1e-10
    )
    kl = -np.log(1.3) + 0.5 * (1.3**2 + (0.1 / TRUTH.sd) ** 2) - 0.5
    elbo, error = posterior.elbo()
    assert abs(elbo - (TRUTH.log_evidence - kl)) < 4.5 * error
    assert posterior.khat() < 0.5
    narrow = exact({"loc": jnp.asarray(TRUTH.mean), "scale": jnp.asarray(0.3 * TRUTH.sd)})
    assert narrow.khat() > 0.7


def test_moments_and_quantiles() -> None:
    posterior, n = exact(), 20_000
    np.testing.assert_allclose(posterior.mean(n)["mu"], TRUTH.mean, atol=4.5 * TRUTH.sd / np.sqrt(n))
    np.testing.assert_allclose(posterior.sd(n)["mu"], TRUTH.sd, rtol=4.5 / np.sqrt(2 * n))
    probs = [0.05, 0.5, 0.95]
    expected = st.norm.ppf(probs, TRUTH.mean, TRUTH.sd)
    np.testing.assert_allclose(posterior.quantiles(probs, n)["mu"], expected, atol=0.05 * TRUTH.sd)
    assert posterior.median(n)["mu"].shape == ()
    np.testing.assert_allclose(posterior.median(n)["mu"], expected[1], atol=0.05 * TRUTH.sd)
    draws = posterior.sample(n)["mu"]
    np.testing.assert_allclose(posterior.mean(n)["mu"], np.mean(draws), rtol=1e-5)


def test_draws_by_key_and_in_chunks() -> None:
    posterior = exact()
    first = posterior.sample(6)["mu"]
    np.testing.assert_array_equal(first, posterior.sample(6)["mu"])
    np.testing.assert_allclose(first, posterior.sample(9, batch_size=4)["mu"][:6], rtol=1e-6)
    assert not np.allclose(first, posterior.sample(6, jax.random.key(5))["mu"])
    out = posterior.sample(6, deterministic=True)
    assert list(out) == ["mu", "twice"]
    np.testing.assert_allclose(out["twice"], 2 * out["mu"])
    assert list(posterior.sample(6, deterministic=True, sites=["twice"])) == ["twice"]
    with pytest.raises(UnknownNameError, match="sites: no site is named 'twic'"):
        posterior.sample(6, deterministic=True, sites=["twic"])


def several(y: Any) -> None:
    s = svijax.sample("s", dist.LogNormal(0.0, 1.0))
    w = svijax.sample("w", dist.Normal(0.0, s).expand([2]).to_event(1))
    svijax.sample("y", dist.Normal(w, 1.0).to_event(1), obs=y)


Y = jnp.zeros(2)
TRIL = jnp.array([[0.5, 0.0, 0.0], [0.2, 0.7, 0.0], [-0.3, 0.1, 0.9]])
AUTO = {
    "normal": (
        AutoNormal(several),
        {
            "s_auto_loc": jnp.asarray(0.3),
            "s_auto_scale": jnp.asarray(0.5),
            "w_auto_loc": jnp.array([1.0, -1.0]),
            "w_auto_scale": jnp.array([0.7, 0.9]),
        },
        jnp.diag(jnp.array([0.5, 0.7, 0.9])),
    ),
    "diagonal": (
        AutoDiagonalNormal(several),
        {"auto_loc": jnp.array([0.3, 1.0, -1.0]), "auto_scale": jnp.array([0.5, 0.7, 0.9])},
        jnp.diag(jnp.array([0.5, 0.7, 0.9])),
    ),
    "full": (
        AutoMultivariateNormal(several),
        {"auto_loc": jnp.array([0.3, 1.0, -1.0]), "auto_scale_tril": TRIL},
        TRIL,
    ),
}


@pytest.mark.parametrize("name", AUTO)
def test_log_density_of_autoguides(name: str) -> None:
    autoguide, params, tril = AUTO[name]
    posterior = Posterior(autoguide, several, params, (Y,), {}, KEY)
    draws = posterior.sample(5)
    assert list(draws) == ["s", "w"]
    free = np.column_stack([np.log(draws["s"]), draws["w"]])
    mean = [0.3, 1.0, -1.0]
    exact = st.multivariate_normal.logpdf(free, mean, np.asarray(tril @ tril.T)) - np.log(draws["s"])
    np.testing.assert_allclose(posterior.log_prob(draws), exact, rtol=1e-4, atol=1e-4)
    shifted = {**draws, "w": draws["w"] + 1.0}
    free[:, 1:] += 1.0
    exact = st.multivariate_normal.logpdf(free, mean, np.asarray(tril @ tril.T)) - np.log(draws["s"])
    np.testing.assert_allclose(posterior.log_prob(shifted), exact, rtol=1e-4, atol=1e-4)


def test_log_density_of_a_hand_written_guide() -> None:
    mu = jnp.linspace(-1.0, 2.0, 4)
    np.testing.assert_allclose(
        exact().log_prob({"mu": mu}), st.norm.logpdf(mu, TRUTH.mean, TRUTH.sd), rtol=1e-4
    )


def test_log_density_of_what_is_no_density() -> None:
    with pytest.raises(UnknownNameError, match="draws: no site is named 'nu'"):
        exact().log_prob({"nu": jnp.zeros(2)})
    with pytest.raises(ArgumentError, match=r"log_prob needs all the latents.*\n.*\['mu'\]"):
        exact().log_prob({})

    def auxiliary(*args: Any) -> None:
        u = svijax.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        svijax.sample("mu", dist.Normal(u, 1.0))

    posterior = Posterior(auxiliary, model, {}, (5, TRUTH.y), {}, KEY)
    with pytest.raises(ArgumentError, match=r"no density over the latents alone(.|\n)*\['u'\]"):
        posterior.log_prob({"mu": jnp.zeros(2)})


def test_subsampled_latents_have_all_their_rows() -> None:
    def local(x: Any) -> None:
        with svijax.plate("rows", 6, subsample_size=2) as rows:
            svijax.sample("z", dist.Normal(0.0, 1.0))
            svijax.sample("x", dist.Normal(0.0, 1.0), obs=x[rows])

    params = {"z_auto_loc": jnp.arange(6.0), "z_auto_scale": jnp.full(6, 1e-3)}
    posterior = Posterior(AutoNormal(local), local, params, (jnp.zeros(6),), {}, KEY)
    np.testing.assert_allclose(posterior.sample(3)["z"], np.tile(np.arange(6.0), (3, 1)), atol=0.01)
    elbo, _ = posterior.elbo(100)
    entropy = 6 * (0.5 * np.log(2 * np.pi * np.e) + np.log(1e-3))
    energy = -0.5 * 12 * np.log(2 * np.pi) - 0.5 * np.sum(np.arange(6.0) ** 2)
    np.testing.assert_allclose(elbo, energy + entropy, atol=0.5)


def test_mutable_state_is_the_one_of_the_fit() -> None:
    def running() -> None:
        state = svijax.mutable("state", {"mean": jnp.zeros(())})
        svijax.sample("z", dist.Delta(state["mean"]))

    state = {"state": {"mean": jnp.asarray(3.0)}}
    posterior = Posterior(running, running, {}, (), {}, KEY, state)
    np.testing.assert_array_equal(posterior.sample(2)["z"], 3.0)


def test_second_calls_compile_nothing(count_compiles: Any) -> None:
    def everything(loc: float) -> None:
        posterior = exact({"loc": jnp.float32(loc), "scale": jnp.float32(1.0)})
        draws = posterior.sample(8)
        posterior.log_prob(draws)
        for method in (posterior.mean, posterior.sd, posterior.median, posterior.khat, posterior.elbo):
            method(8)
        str(posterior.summary(8))

    everything(0.0)
    with count_compiles() as seen:
        everything(1.0)
    assert seen.count == 0


def test_inside_jit_and_vmap() -> None:
    def facts(loc: Any) -> Any:
        posterior = exact({"loc": loc, "scale": jnp.float32(0.1)})
        return posterior.mean(50)["mu"], posterior.khat(50), posterior.elbo(50)

    with jax.checking_leaks():
        means, khats, _ = jax.jit(jax.vmap(facts))(jnp.array([0.0, 5.0]))
    np.testing.assert_allclose(means, [0.0, 5.0], atol=0.1)
    np.testing.assert_allclose(
        khats[0], exact({"loc": jnp.float32(0.0), "scale": jnp.float32(0.1)}).khat(50), rtol=1e-3
    )


def test_too_many_draws_are_an_error_before_they_are_made() -> None:
    posterior = Posterior(AutoNormal(several), several, AUTO["normal"][1], (Y,), {}, KEY)
    with pytest.raises(ArgumentError) as error:
        posterior.sample(10**9)
    assert "1,000,000,000 draws of 3: 3,000,000,000" in str(error.value)
    assert "lower num_samples, or name the sites that you need" in str(error.value)


@pytest.mark.parametrize("count", [0, 2.5, True])
def test_numbers_of_draws(count: Any) -> None:
    with pytest.raises(ArgumentError, match="num_samples must be an int of at least 1"):
        exact().sample(count)


# The table.


def test_the_table_of_a_conjugate_posterior() -> None:
    summary = exact().summary(4_000, deterministic=True).beside("exact mean", {"mu": TRUTH.mean})
    lines = str(summary).splitlines()
    assert lines[0].split() == ["site", "mean", "sd", "5", "%", "95", "%", "|", "exact", "mean"]
    assert set(lines[1]) == {"-"}
    assert len(lines[1]) == len(lines[0])
    cells = lines[2].split()
    assert cells[0] == "mu"
    assert cells[-1] == f"{TRUTH.mean:.3f}"
    np.testing.assert_allclose(float(cells[1]), TRUTH.mean, atol=0.02)
    np.testing.assert_allclose(float(cells[2]), TRUTH.sd, rtol=0.06)
    assert lines[3].startswith("twice")
    assert lines[-2].startswith(f"ELBO   {TRUTH.log_evidence:.2f} ± 0.00")
    assert lines[-1] == "k-hat  exact: all weights are equal (4,000 draws)"
    # One decimal point below the other.
    assert len({line.index(".") for line in lines[2:4]}) == 1


def test_numbers_of_the_table() -> None:
    summary = exact().summary(1_000, probs=(0.1, 0.5))
    (row,) = summary.rows
    assert (row.site, row.index, row.name) == ("mu", (), "mu")
    assert list(row.values) == ["mean", "sd", "10 %", "50 %"]
    numbers = summary.to_dict()
    assert numbers["num_samples"] == 1_000
    assert numbers["sites"]["mu"]["mean"] == row.values["mean"]
    draws = np.asarray(exact().sample(1_000)["mu"], np.float64)
    np.testing.assert_allclose(row.values["10 %"], np.quantile(draws, 0.1), rtol=1e-6)


def wide(size: int = 30) -> None:
    svijax.sample("w", dist.Normal(0.0, 1.0).expand([size // 2, 2]).to_event(2))
    svijax.sample("b", dist.Normal(0.0, 1.0))


def test_long_sites_are_cut_in_the_table_only() -> None:
    params = {
        "w_auto_loc": jnp.arange(30.0).reshape(15, 2),
        "w_auto_scale": jnp.full((15, 2), 0.01),
        "b_auto_loc": jnp.asarray(1e4),
        "b_auto_scale": jnp.asarray(50.0),
    }
    summary = Posterior(AutoNormal(wide), wide, params, (), {}, KEY).summary(100)
    assert len(summary.rows) == 31
    names = [line.split("  ")[0] for line in summary.table().splitlines()[2:]]
    assert names[:6] == ["w[0,0]", "w[0,1]", "w[1,0]", "w[1,1]", "w[2,0]", "w[2,1]"]
    assert "  ... 22 more of w" in summary.table()
    assert names[-3:] == ["w[14,0]", "w[14,1]", "b"]
    assert len(summary.table(max_rows=None).splitlines()) == 33
    # Three digits of the spread: 0.01 has four decimals, 50 has one.
    assert "29.000" in summary.table() or "28.99" in summary.table()


def test_a_point_guide_has_no_weights() -> None:
    params = {"s_auto_loc": jnp.asarray(1.0), "w_auto_loc": jnp.zeros(2)}
    summary = Posterior(AutoDelta(several), several, params, (Y,), {}, KEY).summary(100)
    assert summary.is_point
    log_p = st.lognorm.logpdf(1.0, 1.0) + 4 * st.norm.logpdf(0.0)
    assert str(summary).splitlines()[-2:] == [
        f"log p  {log_p:.2f}, joint, at the point",
        "k-hat  none: the guide is a point",
    ]


def test_what_the_table_refuses() -> None:
    summary = exact().summary(10)
    with pytest.raises(UnknownNameError, match="column 'exact': no site is named 'nu'"):
        summary.beside("exact", {"nu": 1.0})
    with pytest.raises(ShapeError, match="column 'exact'"):
        summary.beside("exact", {"mu": [1.0, 2.0]})
    with pytest.raises(ArgumentError, match="there is a column 'sd' already"):
        summary.beside("sd", {"mu": 1.0})
    with pytest.raises(ArgumentError, match="probs must lie between 0 and 1"):
        exact().summary(10, probs=(5.0,))


def test_the_exact_posterior_is_the_one_that_the_tests_take_it_for() -> None:
    grid = np.linspace(-5, 7, 20_001)
    log_joint = st.norm.logpdf(grid, 1.0, PRIOR_SD) + st.norm.logpdf(TRUTH.y[:, None], grid, NOISE_SD).sum(0)
    weight = np.exp(log_joint) * (grid[1] - grid[0])
    np.testing.assert_allclose(np.log(weight.sum()), TRUTH.log_evidence, rtol=1e-9)
    mean = (weight @ grid) / weight.sum()
    np.testing.assert_allclose(mean, TRUTH.mean, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(weight @ (grid - mean) ** 2 / weight.sum()), TRUTH.sd, rtol=1e-6)
