"""Networks on real data: a Bayesian network of flax nnx, and an amortised guide by an encoder of equinox."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes, load_digits

import svijax
import svijax.distributions as dist
from svijax import SVI, Predictive
from svijax.guides import AutoNormal, init_to_value
from svijax.nn import eqx_module, get_module, initial_values, random_nnx_module

pytestmark = pytest.mark.interop

KEY = jax.random.key(0)


def diabetes() -> tuple[Any, Any, Any, Any]:
    """(x, y, new x, new y): 342 rows to fit and 100 held out, standardised by the first."""
    x, y = load_diabetes(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))
    x, y = x[rows], y[rows]
    x = (x - x[:342].mean(0)) / x[:342].std(0)
    y = (y - y[:342].mean()) / y[:342].std()
    return x[:342], y[:342], x[342:], y[342:]


def log_normal(y: Any, loc: Any, scale: Any) -> Any:
    return jax.scipy.stats.norm.logpdf(y, loc, scale)


def test_a_bayesian_network_predicts_new_rows() -> None:
    from flax import nnx
    from nnx_networks import Regressor

    x, y, new_x, new_y = diabetes()
    module = Regressor(10, 16, nnx.Rngs(0))
    prior = lambda path, shape: dist.Normal(0.0, shape[0] ** -0.5 if path.endswith("kernel") else 1.0)  # noqa: E731

    def model(x: Any, y: Any = None) -> None:
        net = random_nnx_module("net", module, prior)
        sigma = svijax.sample("sigma", dist.HalfNormal(1.0))
        mean = svijax.deterministic("mean", net(x))
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(mean, sigma), obs=y)

    start = {**initial_values("net", module, prior), "sigma": 0.7}
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=start), init_scale=0.05)
    fit = SVI(model, guide, optax.adam(0.01)).run(KEY, 4_000, x, y, progress_bar=False)
    latents = fit.posterior.sample(400)
    means = Predictive(model, posterior_samples=latents, params=fit.params)(KEY, new_x)["mean"]
    draws = log_normal(new_y, means, latents["sigma"][:, None])
    score = float(jnp.mean(jax.nn.logsumexp(draws, axis=0) - jnp.log(400)))
    constant = float(jnp.mean(log_normal(new_y, 0.0, 1.0)))
    # Least squares gains about 0.3 nats a row over the constant on these rows.
    assert score > constant + 0.2
    one = get_module("net", module, fit, latents={name: value[0] for name, value in latents.items()})
    np.testing.assert_allclose(one(new_x), means[0], rtol=1e-3, atol=1e-4)


def test_an_amortised_guide_serves_new_rows() -> None:
    import equinox as eqx
    from eqx_networks import Encoder

    images, labels = load_digits(return_X_y=True)
    images = (images > 7).astype(np.float32)
    old, new = images[:1500], images[1500:]
    first, second = jax.random.split(KEY)
    decoder = eqx.nn.MLP(8, 64, 64, 1, activation=jax.nn.softplus, key=first)
    encoder = Encoder(64, 8, 64, second)

    def model(x: Any, batch: int | None = None) -> None:
        net = eqx_module("decoder", decoder)
        with svijax.plate("images", len(x), subsample_size=batch):
            z = svijax.sample("z", dist.Normal(jnp.zeros(8), 1.0).to_event(1))
            rows = svijax.subsample(x, event_dim=1)
            svijax.sample("x", dist.Bernoulli(logits=jax.vmap(net)(z)).to_event(1), obs=rows)

    def guide(x: Any, batch: int | None = None) -> None:
        net = eqx_module("encoder", encoder)
        with svijax.plate("images", len(x), subsample_size=batch):
            loc, scale = jax.vmap(net)(svijax.subsample(x, event_dim=1))
            svijax.sample("z", dist.Normal(loc, scale).to_event(1))

    svi = SVI(model, guide, optax.adam(3e-3))
    fit = svi.run(KEY, 2_000, old, batch=128, progress_bar=False)
    elbo = -svi.estimate(fit.state, new, num_particles=20)[0] / len(new)
    rates = (old.sum(0) + 0.5) / (len(old) + 1)
    constant = np.mean(np.sum(np.where(new == 1, np.log(rates), np.log1p(-rates)), axis=1))
    assert elbo > constant + 4.0

    # Codes of images that no step has seen, by the encoder alone.
    fitted = get_module("encoder", encoder, fit)
    loc, scale = jax.vmap(fitted)(new)
    codes = Predictive(guide, params=fit.params, num_samples=500)(KEY, new)["z"]
    np.testing.assert_allclose(codes.mean(0), loc, atol=0.3)
    assert float(jnp.mean(scale)) < 0.8
    known, _ = jax.vmap(fitted)(old)
    nearest = np.argmin(np.linalg.norm(np.asarray(loc)[:, None] - np.asarray(known), axis=-1), axis=1)
    assert np.mean(labels[:1500][nearest] == labels[1500:]) > 0.7
