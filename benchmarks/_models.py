"""The models, written once: NumPyro and svijax share their names, so each gets the same text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._floor import softplus
from ._problems import VAE_BATCH, VAE_LATENT, vae_weights

Model = Callable[..., None]


def models(lib: Any, dist: Any) -> dict[str, Model]:
    """Models by problem, in the words of ``lib`` (``sample``, ``plate``, ``param``) and ``dist``."""

    def eight_schools(y: jax.Array, sigma: jax.Array) -> None:
        mu = lib.sample("mu", dist.Normal(0.0, 5.0))
        tau = lib.sample("tau", dist.HalfCauchy(5.0))
        with lib.plate("schools", 8):
            theta = lib.sample("theta", dist.Normal(0.0, 1.0))
            lib.sample("y", dist.Normal(mu + tau * theta, sigma), obs=y)

    def logistic(x: jax.Array, y: jax.Array) -> None:
        w = lib.sample("w", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        with lib.plate("rows", x.shape[0]):
            lib.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    def twenty_sites(weights: jax.Array, y: jax.Array) -> None:
        total = 0.0
        for i in range(20):
            total = total + weights[i] * lib.sample(f"x{i}", dist.Normal(0.0, 1.0))
        with lib.plate("rows", y.shape[0]):
            lib.sample("y", dist.Normal(total, 1.0), obs=y)

    def hierarchical(x: jax.Array, y: jax.Array) -> None:
        mu = lib.sample("mu", dist.Normal(0.0, 5.0))
        tau = lib.sample("tau", dist.HalfCauchy(1.0))
        slope = lib.sample("slope", dist.Normal(0.0, 1.0))
        noise = lib.sample("noise", dist.HalfCauchy(1.0))
        with lib.plate("groups", x.shape[1], dim=-1):
            group = lib.sample("group", dist.Normal(mu, tau))
            with lib.plate("rows", x.shape[0], dim=-2):
                lib.sample("y", dist.Normal(group + slope * x, noise), obs=y)

    def vae(rows: jax.Array) -> None:
        hid_w, hid_b, out_w, out_b = _weights(lib, "hid_w", "hid_b", "out_w", "out_b")
        with lib.plate("rows", rows.shape[0], subsample_size=VAE_BATCH) as index:
            prior = dist.Normal(jnp.zeros(VAE_LATENT), 1.0).to_event(1)
            z = lib.sample("z", prior)
            logits = softplus(z @ hid_w + hid_b) @ out_w + out_b
            lib.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=rows[index])

    return {f.__name__: f for f in (eight_schools, logistic, twenty_sites, hierarchical, vae)}


def vae_guide(lib: Any, dist: Any) -> Model:
    """The encoder of the autoencoder."""

    def guide(rows: jax.Array) -> None:
        enc_w, enc_b, loc_w, loc_b = _weights(lib, "enc_w", "enc_b", "loc_w", "loc_b")
        scale_w, scale_b = _weights(lib, "scale_w", "scale_b")
        with lib.plate("rows", rows.shape[0], subsample_size=VAE_BATCH) as index:
            hidden = softplus(rows[index] @ enc_w + enc_b)
            loc, scale = hidden @ loc_w + loc_b, jnp.exp(hidden @ scale_w + scale_b)
            lib.sample("z", dist.Normal(loc, scale).to_event(1))

    return guide


def _weights(lib: Any, *names: str) -> list[jax.Array]:
    start = vae_weights()
    return [lib.param(name, jnp.asarray(start[name])) for name in names]
