"""Eight schools (Rubin, 1981): data, model, and the exact posterior by quadrature.

    mu ~ N(0, 5²),  tau ~ C⁺(0, 5),  eta_j ~ N(0, 1),  theta_j = mu + tau eta_j,  y_j ~ N(theta_j, sigma_j²)

Given tau all else is normal, so every posterior expectation is an integral over log tau alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import erf
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from svijax.distributions import HalfCauchy, Normal
from svijax.effects import deterministic, plate, sample

from ._marginal import Marginal

Floats = NDArray[np.float64]

EFFECTS = np.array([28, 8, -3, 7, -1, 1, 18, 12], np.float32)
STANDARD_ERRORS = np.array([15, 10, 16, 11, 9, 11, 10, 18], np.float32)

PRIOR_SCALE = 5.0  # of mu and of tau


def eight_schools(sigma: Any, y: Any = None) -> None:
    """The non-centred model; ``sigma`` of shape (8,), ``y`` too, or None to draw it."""
    mu = sample("mu", Normal(0.0, PRIOR_SCALE))
    tau = sample("tau", HalfCauchy(PRIOR_SCALE))
    deterministic("log_tau", jnp.log(tau))
    with plate("schools", sigma.shape[0]):
        eta = sample("eta", Normal(0.0, 1.0))
        theta = deterministic("theta", mu + tau * eta)
        sample("y", Normal(theta, sigma), obs=y)


@dataclass(frozen=True)
class ExactPosterior:
    """Marginals by name ("mu", "tau", "log_tau", "theta[0]", ...) and the log evidence log p(y)."""

    marginals: dict[str, Marginal]
    log_evidence: float


@cache
def exact_posterior() -> ExactPosterior:
    """The posterior by the trapezoid rule on log tau, in double precision; its error is below 1e-6."""
    y, sigma = EFFECTS.astype(np.float64), STANDARD_ERRORS.astype(np.float64)
    log_tau = np.linspace(-14.0, 12.0, 4001)
    tau = np.exp(log_tau)
    variance = sigma**2 + tau[:, None] ** 2  # of y_j given mu and tau
    precision = PRIOR_SCALE**-2 + np.sum(1 / variance, axis=1)  # of mu given tau and y
    mu = np.sum(y / variance, axis=1) / precision
    # log p(y | tau), mu integrated out; then the half-Cauchy prior of tau with the Jacobian of log.
    log_p = -0.5 * np.sum(np.log(2 * np.pi * variance) + y**2 / variance, axis=1)
    log_p += 0.5 * (mu**2 * precision - np.log(PRIOR_SCALE**2 * precision))
    log_p += np.log(2 / (np.pi * PRIOR_SCALE)) - np.log1p((tau / PRIOR_SCALE) ** 2) + log_tau
    peak = np.max(log_p)
    weight = np.exp(log_p - peak)
    log_evidence = peak + np.log(np.sum(weight) * (log_tau[1] - log_tau[0]))
    weight /= np.sum(weight)

    marginals = {
        "mu": _of_normals(weight, mu, 1 / np.sqrt(precision)),
        "tau": _of_points(weight, tau),
        "log_tau": _of_points(weight, log_tau),
    }
    for j in range(len(y)):
        shrink = sigma[j] ** 2 / variance[:, j]  # theta_j given mu and tau: shrink mu + (1 - shrink) y_j
        spread = shrink * tau**2 + shrink**2 / precision
        marginals[f"theta[{j}]"] = _of_normals(weight, shrink * mu + (1 - shrink) * y[j], np.sqrt(spread))
    return ExactPosterior(marginals, float(log_evidence))


def _of_points(weight: Floats, x: Floats) -> Marginal:
    """The marginal of an increasing function ``x`` of log tau."""
    mean = float(weight @ x)
    below = np.cumsum(weight) - 0.5 * weight
    low, high = np.interp([0.05, 0.95], below, x)
    return Marginal(mean, float(np.sqrt(weight @ (x - mean) ** 2)), float(low), float(high))


def _of_normals(weight: Floats, loc: Floats, scale: Floats) -> Marginal:
    """The marginal of what is N(loc, scale²) given tau."""
    mean = float(weight @ loc)
    sd = float(np.sqrt(weight @ (scale**2 + (loc - mean) ** 2)))
    keep = weight > 1e-12
    low, high = (_quantile(q, weight[keep], loc[keep], scale[keep], mean, sd) for q in (0.05, 0.95))
    return Marginal(mean, sd, low, high)


def _quantile(q: float, weight: Floats, loc: Floats, scale: Floats, mean: float, sd: float) -> float:
    """By bisection on the distribution function of the mixture."""
    low, high = mean - 20 * sd, mean + 20 * sd
    for _ in range(50):
        middle = 0.5 * (low + high)
        z = (middle - loc) / (scale * np.sqrt(2))
        below = 0.5 * (1 + np.fromiter(map(erf, z), np.float64, len(z)))
        low, high = (middle, high) if weight @ below < q else (low, middle)
    return 0.5 * (low + high)
