"""Programs that several tests fit: small, conjugate, and quick to compile."""

from __future__ import annotations

from typing import Any

import numpy as np

import svijax
import svijax.distributions as dist
from svijax.distributions import constraints

Y = np.array([0.3, -0.2, 1.5, 2.0, 0.7], np.float32)


def normal_model(y: Any) -> None:
    """mu ~ N(0, 1), y_i ~ N(mu, 1): posterior N(Σy / (n + 1), 1 / (n + 1))."""
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=y)


def normal_guide(y: Any) -> None:
    loc = svijax.param("loc", 0.5)
    scale = svijax.param("scale", 0.7, constraint=constraints.positive)
    svijax.sample("mu", dist.Normal(loc, scale))


def rows_model(y: Any) -> None:
    """``normal_model`` on three of the rows at a time."""
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0], subsample_size=3):
        svijax.sample("y", dist.Normal(mu, 1.0), obs=svijax.subsample(y, event_dim=0))


def keyed_guide(y: Any) -> None:
    """A guide whose one draw comes from a key, and has no pathwise gradient."""
    loc = svijax.param("loc", 0.5)
    svijax.sample("mu", dist.Normal(loc, 0.5).has_rsample_(False))


def schools_model(y: Any) -> None:
    """A small hierarchy with a constrained latent."""
    mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
    tau = svijax.sample("tau", dist.HalfNormal(5.0))
    with svijax.plate("schools", y.shape[0]):
        theta = svijax.sample("theta", dist.Normal(mu, tau))
        svijax.sample("y", dist.Normal(theta, 1.0), obs=y)
