"""A variational autoencoder (Kingma & Welling, 2014) on binary images.

    z_i ~ N(0, I),  x_i ~ Bernoulli(logits = decoder(z_i)),  q(z_i | x_i) = N(loc(x_i), diag scale(x_i)²)

Encoder and decoder are plain pytrees of arrays, one ``param`` each. The guide is amortised: it maps an image
to its posterior, so once fitted it serves any number of images, of the training set or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.distributions import Bernoulli, Normal
from svijax.effects import deterministic, param, plate, sample, subsample
from svijax.posterior import Predictive

Network = dict[str, Any]


@dataclass(frozen=True)
class VAE:
    """Model and guide for images of ``pixels`` entries: ``hidden`` units, codes of length ``latent``."""

    pixels: int
    hidden: int = 400
    latent: int = 20

    def model(self, images: Any, batch_size: int | None = None) -> None:
        """``images`` (n, pixels); with ``batch_size`` a step sees so many of them."""
        decoder = param("decoder", self.init_decoder)
        with plate("images", images.shape[0], subsample_size=batch_size):
            z = sample("z", Normal(jnp.zeros(self.latent), 1.0).to_event(1))
            logits = decode(decoder, z)
            deterministic("intensity", jax.nn.sigmoid(logits))
            sample("x", Bernoulli(logits=logits).to_event(1), obs=_rows(images))

    def guide(self, images: Any, batch_size: int | None = None) -> None:
        """q(z_i | x_i) by the encoder, for the same images as the model."""
        encoder = param("encoder", self.init_encoder)
        with plate("images", images.shape[0], subsample_size=batch_size):
            loc, scale = encode(encoder, _rows(images))
            sample("z", Normal(loc, scale).to_event(1))

    def init_encoder(self, key: jax.Array) -> Network:
        hidden, loc, scale = jax.random.split(key, 3)
        return {
            "hidden": dense(hidden, self.pixels, self.hidden),
            "loc": dense(loc, self.hidden, self.latent),
            "log_scale": dense(scale, self.hidden, self.latent),
        }

    def init_decoder(self, key: jax.Array) -> Network:
        hidden, out = jax.random.split(key)
        return {
            "hidden": dense(hidden, self.latent, self.hidden),
            "logits": dense(out, self.hidden, self.pixels),
        }


def encode(encoder: Network, images: Any) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of q(z | x), each of shape (n, latent)."""
    hidden = jax.nn.softplus(affine(encoder["hidden"], images))
    return affine(encoder["loc"], hidden), jnp.exp(affine(encoder["log_scale"], hidden))


def decode(decoder: Network, z: Any) -> jax.Array:
    """Logits of the pixels, of shape (n, pixels)."""
    return affine(decoder["logits"], jax.nn.softplus(affine(decoder["hidden"], z)))


def dense(key: jax.Array, inputs: int, outputs: int) -> Network:
    """Starting weights of one layer: N(0, 2 / (inputs + outputs)) (Glorot), and zero biases."""
    scale = (2.0 / (inputs + outputs)) ** 0.5
    return {"w": scale * jax.random.normal(key, (inputs, outputs)), "b": jnp.zeros(outputs)}


def affine(layer: Network, x: Any) -> jax.Array:
    """x w + b, rows on the leading axis."""
    return x @ layer["w"] + layer["b"]


def codes(vae: VAE, params: Any, images: Any, key: jax.Array, num_samples: int = 100) -> jax.Array:
    """Posterior draws of the codes of any images, by the fitted guide alone: (num_samples, n, latent)."""
    return Predictive(vae.guide, params=params, num_samples=num_samples)(key, images)["z"]


def reconstructions(vae: VAE, params: Any, images: Any, key: jax.Array, num_samples: int = 100) -> jax.Array:
    """E[intensity | x] of any images, the mean over posterior draws of their codes: (n, pixels)."""
    predict = Predictive(
        vae.model, guide=vae.guide, params=params, num_samples=num_samples, return_sites=["intensity"]
    )
    return jnp.mean(predict(key, images)["intensity"], axis=0)


def prior_draws(vae: VAE, params: Any, count: int, key: jax.Array) -> jax.Array:
    """Intensities of new images, their codes drawn from the prior: (count, pixels)."""
    predict = Predictive(vae.model, params=params, num_samples=1, return_sites=["intensity"])
    return predict(key, jnp.zeros((count, vae.pixels)))["intensity"][0]


def _rows(images: Any) -> Any:
    """The images in play, as floats."""
    return jnp.asarray(subsample(images, event_dim=1), jnp.result_type(float))
