"""A conjugate model: everything about it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import svijax
import svijax.distributions as dist
from svijax.transforms import constraints

PRIOR_SD, NOISE_SD = 2.0, 0.5


def model(size: int, y: Any = None) -> None:
    mu = svijax.sample("mu", dist.Normal(1.0, PRIOR_SD))
    svijax.deterministic("twice", 2.0 * mu)
    with svijax.plate("rows", size):
        svijax.sample("y", dist.Normal(mu, NOISE_SD), obs=y)


def guide(size: int, y: Any = None) -> None:
    loc = svijax.param("loc", jnp.zeros(()))
    scale = svijax.param("scale", jnp.ones(()), constraint=constraints.positive)
    svijax.sample("mu", dist.Normal(loc, scale))


@dataclass(frozen=True)
class Truth:
    """mu | y ~ N(mean, sd²), and log p(y)."""

    y: np.ndarray

    @property
    def sd(self) -> float:
        return (1 / PRIOR_SD**2 + len(self.y) / NOISE_SD**2) ** -0.5

    @property
    def mean(self) -> float:
        return self.sd**2 * (1.0 / PRIOR_SD**2 + self.y.sum() / NOISE_SD**2)

    @property
    def log_evidence(self) -> float:
        covariance = NOISE_SD**2 * np.eye(len(self.y)) + PRIOR_SD**2
        r = self.y - 1.0
        _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (r @ np.linalg.solve(covariance, r) + log_det)

    @property
    def params(self) -> dict[str, Any]:
        return {"loc": jnp.asarray(self.mean), "scale": jnp.asarray(self.sd)}


TRUTH = Truth(np.array([1.3, 0.2, 0.9, 1.7, 0.4]))
