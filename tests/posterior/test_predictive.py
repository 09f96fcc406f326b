"""What ``Predictive`` draws, returns, compiles and refuses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from normal_normal import NOISE_SD, PRIOR_SD, TRUTH, guide, model

import svijax
import svijax.distributions as dist
from svijax import Predictive
from svijax.base import ArgumentError, ShapeError, UnknownNameError
from svijax.guides import AutoDiagonalNormal, AutoNormal

KEY = jax.random.key(0)


def assert_moments(draws: Any, mean: float, sd: float) -> None:
    x = np.asarray(draws, np.float64).reshape(len(draws), -1)[:, 0]
    assert abs(x.mean() - mean) < 4.5 * sd / np.sqrt(len(x))
    assert abs(x.std() / sd - 1.0) < 4.5 / np.sqrt(2 * len(x))


def test_prior_predictive() -> None:
    out = Predictive(model, num_samples=4_000)(KEY, 3)
    assert list(out) == ["mu", "twice", "y"]
    assert {name: x.shape for name, x in out.items()} == {"mu": (4_000,), "twice": (4_000,), "y": (4_000, 3)}
    assert_moments(out["mu"], 1.0, PRIOR_SD)
    assert_moments(out["y"], 1.0, np.hypot(PRIOR_SD, NOISE_SD))
    np.testing.assert_allclose(out["twice"], 2.0 * out["mu"])


def test_draws_of_a_guide_and_observations_drawn_anew() -> None:
    predict = Predictive(model, guide=guide, params=TRUTH.params, num_samples=4_000)
    out = predict(KEY, 5, TRUTH.y.astype(np.float32))
    assert list(out) == ["twice", "y"]
    assert_moments(out["y"], TRUTH.mean, np.hypot(TRUTH.sd, NOISE_SD))
    assert_moments(out["twice"], 2 * TRUTH.mean, 2 * TRUTH.sd)


def test_posterior_samples_are_used_draw_by_draw() -> None:
    mu = np.linspace(-1e3, 1e3, 50, dtype=np.float32)
    out = Predictive(model, {"mu": mu})(KEY, 4)
    assert list(out) == ["twice", "y"]
    np.testing.assert_allclose(out["twice"], 2 * mu)
    np.testing.assert_allclose(out["y"], np.repeat(mu[:, None], 4, 1), atol=5 * NOISE_SD)
    assert np.std(np.asarray(out["y"]) - mu[:, None]) > 0.5 * NOISE_SD


def test_data_of_any_length_is_dropped_where_the_model_draws_it_anew() -> None:
    y = TRUTH.y.astype(np.float32)
    out = Predictive(model, guide=guide, params=TRUTH.params, num_samples=7)(KEY, 2, y)
    assert out["y"].shape == (7, 2)


def test_deterministic_sites_are_computed_anew_unless_asked() -> None:
    samples = {"mu": np.ones(3, np.float32), "twice": np.full(3, 9.0, np.float32)}
    np.testing.assert_allclose(Predictive(model, samples)(KEY, 1)["twice"], 2.0)
    kept = Predictive(model, samples, exclude_deterministic=False)(KEY, 1)["twice"]
    np.testing.assert_allclose(kept, 9.0)


def test_return_sites() -> None:
    out = Predictive(model, {"mu": np.ones(3, np.float32)}, return_sites=["mu", "y"])(KEY, 2)
    assert list(out) == ["mu", "y"]
    np.testing.assert_allclose(out["mu"], 1.0)


def test_conditioned_sites_keep_their_values() -> None:
    y = np.array([5.0, 6.0], np.float32)
    predict = Predictive(model, num_samples=3, condition={"y": y}, return_sites=["y", "mu"])
    np.testing.assert_allclose(predict(KEY, 2)["y"], np.tile(y, (3, 1)))
    default = Predictive(model, num_samples=3, condition={"mu": np.float32(2.0)})(KEY, 2)
    assert list(default) == ["twice", "y"]
    np.testing.assert_allclose(default["twice"], 4.0)


def test_chunks_change_nothing() -> None:
    whole = Predictive(model, num_samples=10)(KEY, 3)
    chunked = Predictive(model, num_samples=10, batch_size=4)(KEY, 3)
    more = Predictive(model, num_samples=25)(KEY, 3)
    for name in whole:
        np.testing.assert_allclose(whole[name], chunked[name], rtol=1e-6)
        np.testing.assert_allclose(whole[name], more[name][:10], rtol=1e-6)


def test_raw_keys_jit_and_vmap() -> None:
    predict = Predictive(model, num_samples=4)
    expected = predict(KEY, 2)
    for out in (predict(jax.random.PRNGKey(0), 2), jax.jit(lambda key: predict(key, 2))(KEY)):
        np.testing.assert_allclose(out["y"], expected["y"], rtol=1e-6)
    keys = jax.random.split(KEY, 3)
    with jax.checking_leaks():
        out = jax.vmap(lambda key, loc: _shifted(key, loc))(keys, jnp.array([0.0, 1e3, 2e3]))
    np.testing.assert_allclose(out[:, 0], [0.0, 1e3, 2e3], atol=6)


def _shifted(key: Any, loc: Any) -> Any:
    return Predictive(lambda: svijax.sample("x", dist.Normal(loc, 1.0)), num_samples=2)(key)["x"]


def test_it_compiles_once(count_compiles: Any) -> None:
    data = TRUTH.y.astype(np.float32)

    def predict(seed: int, loc: float) -> Any:
        params = {"loc": jnp.float32(loc), "scale": jnp.float32(0.1)}
        fresh = Predictive(model, guide=guide, params=params, num_samples=6)
        return fresh(jax.random.key(seed), 5, data)

    predict(0, 0.0)
    with count_compiles() as seen:
        out = predict(1, 100.0)
    assert seen.count == 0
    np.testing.assert_allclose(out["y"], 100.0, atol=4)


def test_a_rebound_global_is_seen() -> None:
    scale = np.ones(())

    def scaled() -> None:
        svijax.sample("x", dist.Delta(jnp.asarray(scale)))

    predict = Predictive(scaled, num_samples=2)
    assert float(predict(KEY)["x"][0]) == 1.0
    scale = np.full((), 3.0)
    assert float(predict(KEY)["x"][0]) == 3.0


def test_statements_of_an_enclosing_program_hear_nothing() -> None:
    with svijax.handlers.trace() as sites:
        Predictive(model, num_samples=2)(KEY, 2)
    assert not sites


# Plates, subsampling, autoguides, new data.


def hierarchy(groups: int, size: int | None = None, y: Any = None) -> None:
    top = svijax.sample("top", dist.Normal(0.0, 1.0))
    with svijax.plate("groups", groups, subsample_size=size):
        z = svijax.sample("z", dist.Normal(top, 0.01))
        svijax.sample("y", dist.Normal(z, 0.01), obs=None if y is None else svijax.subsample(y))


def test_new_rows_are_drawn_from_the_prior_given_the_global_latents() -> None:
    top = np.array([-5.0, 5.0], np.float32)
    out = Predictive(hierarchy, {"top": top})(KEY, 7)
    assert out["y"].shape == (2, 7)
    np.testing.assert_allclose(out["y"], np.repeat(top[:, None], 7, 1), atol=0.1)


def test_rows_of_another_number_than_the_draws_have_are_an_error() -> None:
    samples = {"top": np.zeros(2, np.float32), "z": np.zeros((2, 3), np.float32)}
    with pytest.raises(ShapeError) as error:
        Predictive(hierarchy, samples)(KEY, 7)
    text = str(error.value)
    assert "model site 'z': its draws in posterior_samples have other rows than plate 'groups'." in text
    assert "plates:   groups (size 7, dim -1)" in text
    assert "expected: (7,)" in text
    assert "got:      (3,)" in text
    assert "leave 'z' out of posterior_samples" in text


def test_subsampled_plates_are_run_whole() -> None:
    out = Predictive(hierarchy, num_samples=3)(KEY, 6, 2, np.zeros(6, np.float32))
    assert out["z"].shape == out["y"].shape == (3, 6)
    autoguide = AutoNormal(hierarchy)
    params = {
        "top_auto_loc": jnp.zeros(()),
        "top_auto_scale": jnp.ones(()),
        "z_auto_loc": jnp.arange(6.0),
        "z_auto_scale": jnp.full(6, 1e-3),
    }
    predict = Predictive(hierarchy, guide=autoguide, params=params, num_samples=3)
    out = predict(KEY, 6, 2, np.zeros(6, np.float32))
    np.testing.assert_allclose(out["y"], np.tile(np.arange(6.0), (3, 1)), atol=0.1)


def test_rows_missing_from_a_whole_plate_are_explained() -> None:
    def minibatch(x: Any) -> None:
        with svijax.plate("rows", 10, subsample_size=4):
            svijax.sample("y", dist.Normal(x, 1.0), obs=x)

    with pytest.raises(ShapeError) as error:
        Predictive(minibatch, num_samples=2)(KEY, np.zeros(4, np.float32))
    assert "subsampled plates are run whole, here ['rows']" in error.value.__notes__[0]


def test_an_amortised_guide_serves_new_rows() -> None:
    def amortised(x: Any) -> None:
        with svijax.plate("rows", x.shape[0]):
            svijax.sample("z", dist.Normal(svijax.param("slope", jnp.ones(())) * x, 1e-3))

    def decoder(x: Any) -> None:
        with svijax.plate("rows", x.shape[0]):
            z = svijax.sample("z", dist.Normal(0.0, 1.0))
            svijax.sample("x", dist.Normal(z, 1e-3), obs=x)

    predict = Predictive(decoder, guide=amortised, params={"slope": jnp.float32(3.0)}, num_samples=4)
    for rows in (2, 5):
        x = np.arange(rows, dtype=np.float32)
        np.testing.assert_allclose(predict(KEY, x)["x"], np.tile(3 * x, (4, 1)), atol=0.05)


def regression(x: Any, y: Any = None) -> None:
    w = svijax.sample("w", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    with svijax.plate("rows", x.shape[0]):
        svijax.sample("y", dist.Normal(x @ w, 0.01), obs=y)


def test_an_autoguide_without_the_observations_of_the_fit() -> None:
    params = {"w_auto_loc": jnp.array([1.0, 2.0]), "w_auto_scale": jnp.full(2, 1e-3)}
    predict = Predictive(regression, guide=AutoNormal(regression), params=params, num_samples=3)
    out = predict(KEY, jnp.ones((4, 2)))
    assert list(out) == ["y"]
    np.testing.assert_allclose(out["y"], 3.0, atol=0.1)


def test_a_joint_autoguide_without_the_observations_is_told_what_to_do() -> None:
    params = {"auto_loc": jnp.zeros(2), "auto_scale": jnp.ones(2)}
    predict = Predictive(regression, guide=AutoDiagonalNormal(regression), params=params, num_samples=3)
    with pytest.raises(ArgumentError) as error:
        predict(KEY, jnp.ones((4, 2)))
    text = str(error.value)
    assert "AutoDiagonalNormal was fitted for other latents than the model has at these arguments." in text
    assert "got:      w (2), y (4)" in text
    assert "posterior_samples=fit.posterior.sample(1000)" in text
    assert predict(KEY, jnp.ones((4, 2)), jnp.zeros(4))["y"].shape == (3, 4)


def test_partly_observed_sites_are_completed_anew() -> None:
    def partly(y: Any, seen: Any) -> None:
        with svijax.plate("rows", 3):
            svijax.sample("y", dist.Normal(50.0, 1.0), obs=y, obs_mask=seen)

    out = Predictive(partly, num_samples=4)(KEY, np.zeros(3, np.float32), np.array([True, True, False]))
    assert out["y"].shape == (4, 3)
    np.testing.assert_allclose(out["y"], 50.0, atol=6)


# What is refused.


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Predictive(model), ArgumentError, "needs num_samples to draw from the prior"),
        (
            lambda: Predictive(model, guide=guide, params={}),
            ArgumentError,
            "needs num_samples to draw from the guide",
        ),
        (
            lambda: Predictive(model, {"mu": np.ones(2)}, guide=guide),
            ArgumentError,
            "from a guide or from posterior_samples, not from both",
        ),
        (
            lambda: Predictive(model, {"mu": np.ones(2)}, num_samples=3),
            ArgumentError,
            "num_samples is not the number of posterior samples.\n  expected: 2\n  got:      3",
        ),
        (
            lambda: Predictive(model, {"mu": np.ones(2), "y": np.ones((3, 4))}),
            ArgumentError,
            "expected: 2 draws, as 'mu'\n  got:      3 of 'y'",
        ),
        (lambda: Predictive(model, {"mu": np.ones(())}), ArgumentError, "'mu' is one number"),
        (lambda: Predictive(model, num_samples=0), ArgumentError, "num_samples must be an int of at least 1"),
        (lambda: Predictive(model, num_samples=2, batch_size=0), ArgumentError, "batch_size must be"),
        (lambda: Predictive(model, num_samples=2, return_sites="y"), ArgumentError, "write ['y']"),
        (
            lambda: Predictive(model, {"nu": np.ones(2)})(KEY, 1),
            UnknownNameError,
            "posterior_samples: no site is named 'nu'.",
        ),
        (
            lambda: Predictive(model, num_samples=2, condition={"yy": 0.0})(KEY, 1),
            UnknownNameError,
            "condition: no site is named 'yy'.",
        ),
        (
            lambda: Predictive(model, num_samples=2, return_sites=["z"])(KEY, 1),
            UnknownNameError,
            "return_sites: no site is named 'z'.",
        ),
        (
            lambda: Predictive(model, {"mu": np.ones((2, 3))})(KEY, 1),
            ShapeError,
            "model site 'mu': its draws in posterior_samples have another shape than the site.",
        ),
        (
            lambda: Predictive(model, num_samples=2, condition={"y": np.zeros(3)})(KEY, 2),
            ShapeError,
            "model site 'y': the shape of the observation is not the shape of the site.",
        ),
        (
            lambda: Predictive(model, guide=guide, params={"loc": 0.0}, num_samples=2)(KEY, 1),
            ArgumentError,
            "guide param 'scale' has no value in params.",
        ),
        (
            lambda: Predictive(model, guide=guide, params={"loc": jnp.ones(3), "scale": 1.0}, num_samples=2)(
                KEY, 1
            ),
            ShapeError,
            "guide param 'loc' was fitted for data of another shape.\n  expected: () for these arguments",
        ),
    ],
)
def test_what_is_refused(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert text in str(error.value)
