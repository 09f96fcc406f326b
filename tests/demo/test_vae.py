"""The autoencoder: minibatches, and one guide for any number of images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from svijax import SVI, Predictive, Trace_ELBO
from svijax.demo import VAE, codes, digits, encode, prior_draws, reconstructions
from svijax.fitting import SVIRunResult

VAE_8X8 = VAE(pixels=64, hidden=32, latent=3)


def new_svi() -> SVI:
    return SVI(VAE_8X8.model, VAE_8X8.guide, optax.adam(3e-3), Trace_ELBO())


@pytest.fixture(scope="module")
def fit() -> SVIRunResult:
    return new_svi().run(jax.random.key(0), 600, digits().train, batch_size=64, progress_bar=False)


def test_the_loss_is_that_of_all_images_and_falls(fit: SVIRunResult) -> None:
    per_image = np.asarray(fit.losses) / 1500
    # At the start about log 2 a pixel; afterwards less than independent pixels of the right frequency need.
    assert 0.5 * 64 < per_image[:5].mean() < 2.0 * 64
    share = np.clip(digits().train.mean(axis=0), 1e-3, 1 - 1e-3)
    independent = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
    assert per_image[-50:].mean() < independent


def test_minibatches_are_unbiased_for_the_whole(fit: SVIRunResult) -> None:
    svi, images = new_svi(), digits().train
    whole, whole_error = svi.estimate(fit.state, images, num_particles=8)
    parts, parts_error = svi.estimate(fit.state, images, batch_size=64, num_particles=400)
    assert abs(whole - parts) < 4.5 * np.hypot(whole_error, parts_error)


@pytest.mark.parametrize("count", [1, 7, 2000])
def test_the_fitted_guide_serves_any_number_of_new_images(fit: SVIRunResult, count: int, getkey: Any) -> None:
    new = np.resize(digits().test, (count, 64))
    loc, scale = encode(fit.params["encoder"], jnp.asarray(new, jnp.float32))
    draws = codes(VAE_8X8, fit.params, new, getkey(), num_samples=200)
    assert draws.shape == (200, count, 3)
    z = (draws.mean(axis=0) - loc) / (scale / 200**0.5)
    assert np.abs(z).max() < 6
    assert np.abs(draws.std(axis=0) / scale - 1).max() < 6 / (2 * 200) ** 0.5


def test_the_bound_of_held_out_images_needs_no_other_fit(fit: SVIRunResult) -> None:
    held_out, error = new_svi().estimate(fit.state, digits().test, num_particles=8)
    train, _ = new_svi().estimate(fit.state, digits().train, num_particles=8)
    assert error / 297 < 0.1
    assert abs(held_out / 297 - train / 1500) < 3.0


def test_reconstructions_resemble_their_images(fit: SVIRunResult, getkey: Any) -> None:
    new = digits().test[:50]
    right = ((np.asarray(reconstructions(VAE_8X8, fit.params, new, getkey())) > 0.5) == (new > 0)).mean()
    blank = ((digits().train.mean(axis=0) > 0.5) == (new > 0)).mean()
    assert right > blank + 0.02


def test_prior_draws_are_intensities_of_new_images(fit: SVIRunResult, getkey: Any) -> None:
    images = np.asarray(prior_draws(VAE_8X8, fit.params, 40, getkey()))
    assert images.shape == (40, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(axis=0).max() > 0.1
    # On average they are as bright as the images of the fit.
    assert abs(images.mean() - digits().train.mean()) < 0.05


def test_predictions_of_pixels_are_binary(fit: SVIRunResult, getkey: Any) -> None:
    predict = Predictive(VAE_8X8.model, guide=VAE_8X8.guide, params=fit.params, num_samples=3)
    x = np.asarray(predict(getkey(), digits().test[:4])["x"])
    assert x.shape == (3, 4, 64)
    assert set(np.unique(x)) == {0.0, 1.0}
