"""The demonstration of the variational autoencoder."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from svijax.fitting import SVI, SVIRunResult
from svijax.objectives import Trace_ELBO
from svijax.plots import draw_images, new_figure, save

from ._data import Images, digits, mnist
from ._options import Options
from ._report import best_chain, heading, seconds
from ._vae import VAE, codes, prior_draws, reconstructions

BATCH = 128
NEW_ROWS = 10


def run_vae(options: Options) -> None:
    """Fit by minibatches; print the ELBO of images held out, and what the encoder says of new ones."""
    if options.data is None:
        images, vae, epochs = digits(), VAE(pixels=64, hidden=200, latent=10), 300.0
    else:
        images, epochs = mnist(options.data), 20.0
        vae = VAE(pixels=images.train.shape[1])
    count = len(images.train)
    batch = min(BATCH, count)
    steps = options.steps or max(1, round((options.epochs or epochs) * count / batch))
    svi = SVI(vae.model, vae.guide, optax.adam(1e-3), Trace_ELBO())
    print(
        f"variational autoencoder {vae.pixels}-{vae.hidden}-{vae.latent} on {images.name}: {count:,} images, "
        f"{batch} a step, {steps:,} steps ({steps * batch / count:.1f} epochs)",
        flush=True,
    )
    key, elbo_key, new_key = jax.random.split(jax.random.key(options.seed), 3)
    fits = svi.run(key, steps, images.train, batch_size=batch, num_chains=options.chains)
    fit = best_chain(fits)

    heading(f"{len(images.test):,} images held out")
    elbo, error = elbo_per_image(svi, fit, images.test, elbo_key)
    print(f"ELBO: {elbo:.2f} ± {error:.2f} nats an image")
    describe_new(vae, fit, images, new_key)
    print(seconds(fits))
    if options.plot:
        draw(options.plot, vae, fit, images, new_key)


def elbo_per_image(
    svi: SVI, fit: SVIRunResult, images: Any, key: jax.Array, rounds: int = 4
) -> tuple[float, float]:
    """ELBO of any images in nats an image, and its standard error over the draws of the codes.

    The guide is amortised, so its state serves images of another number than it was fitted to.
    """
    keys = jax.random.split(key, rounds)
    losses = np.array([svi.estimate(fit.state, images, num_particles=1, key=k)[0] for k in keys])
    per_image = -losses / len(images)
    return float(per_image.mean()), float(per_image.std(ddof=1) / np.sqrt(rounds))


def describe_new(vae: VAE, fit: SVIRunResult, images: Images, key: jax.Array) -> None:
    """Posteriors of a few new images from the fitted encoder, without another fit."""
    new = images.test[:NEW_ROWS]
    z = np.asarray(codes(vae, fit.params, new, key))
    intensity = np.asarray(reconstructions(vae, fit.params, new, key))
    right = np.mean((intensity > 0.5) == (new > 0))
    print(
        f"{len(new)} of them without another fit: codes with posterior sd {z.std(axis=0).mean():.2f} "
        f"(prior 1), {right:.1%} of pixels reconstructed"
    )


def draw(path: str, vae: VAE, fit: SVIRunResult, images: Images, key: jax.Array) -> None:
    """Images held out above their reconstructions, and images drawn from the prior."""
    columns = 10
    new = images.test[: columns * 3]
    mean = np.asarray(reconstructions(vae, fit.params, new, key))
    pairs = np.concatenate(
        [np.concatenate([new[i : i + columns], mean[i : i + columns]]) for i in range(0, len(new), columns)]
    )
    figure, (left, right) = new_figure(10, 3.4, ratios=(1, 1))
    draw_images(left, pairs, columns, "held out, each above its reconstruction")
    draw_images(right, prior_draws(vae, fit.params, columns * 6, key), columns, "drawn from the prior")
    print(f"picture: {save(figure, path)}")
