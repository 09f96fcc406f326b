"""A regression on any network, with and without a latent, for the tests of all packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.density import draw, noise_layout
from svijax.handlers import seed

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 3))
Y = jnp.sin(X @ jnp.array([1.0, -2.0, 0.5]))

Net = Callable[[], Callable[..., Any]]


def no_latents(*args: Any) -> None:
    """The guide of a model that has none."""


def plain(net: Net) -> SVI:
    """y ~ N(net(x), 0.5²)."""

    def model(x: Any, y: Any = None) -> None:
        outputs = net()(x)
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(outputs, 0.5), obs=y)

    return SVI(model, no_latents, 0.02)


def loss(outputs: Any) -> Any:
    """−log p of ``plain``."""
    return -jnp.sum(jax.scipy.stats.norm.logpdf(Y, outputs, 0.5))


def loss_and_gradient(svi: SVI, state: Any) -> tuple[Any, dict[str, Any]]:
    return jax.value_and_grad(lambda free: svi.loss(free, KEY, X, Y))(dict(state.free))


def close(found: Any, expected: Any, rtol: float = 1e-4) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5), found, expected)


def state_of_four_particles(net: Net, params: dict[str, Any], mutable: dict[str, Any]) -> tuple[Any, Any]:
    """(the input of the network in the first of four particles, the mutable state after them).

    The input is x + z, z a latent that differs between particles.
    """

    def model(x: Any) -> None:
        z = svijax.sample("z", dist.Normal(0.0, 1.0))
        outputs = net()(x + z)
        with svijax.plate("rows", len(x)):
            svijax.sample("y", dist.Normal(outputs, 0.5), obs=Y)

    def guide(x: Any) -> None:
        svijax.sample("z", dist.Normal(0.3, 0.5))

    layout = noise_layout(seed(guide, KEY), (X,), {})
    draws = draw(KEY, layout, 4)
    fixed = svijax.handlers.substitute(model, params)
    after = Trace_ELBO(4).from_draws(draws, fixed, guide, (X,), {}, mutable).mutable
    return X + 0.3 + 0.5 * draws.normal[0, 0], after


def dropped(net: Net) -> tuple[Any, Any]:
    """(losses of three runs of two steps of a network that leaves out inputs, the first two with one key; its SVI).

    The loss of a step is the sum of the network's outputs, so that it tells which inputs were left out.
    """

    def model(x: Any) -> None:
        svijax.factor("outputs", -jnp.sum(net()(x)))

    svi = SVI(model, no_latents, 1e-9)
    weights = 2.0 ** jnp.arange(18.0).reshape(X.shape)
    keys = (KEY, KEY, jax.random.key(5))
    return np.array([svi.run(key, 2, weights, progress_bar=False).losses for key in keys]), svi
