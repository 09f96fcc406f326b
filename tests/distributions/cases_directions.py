"""Rows: directions and angles."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats
from truths import law_of

import svijax.distributions as dist


def circle(n: int = 100_000) -> Any:
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def globe(n: int = 1000) -> Any:
    """Points of equal area."""
    z, angle = np.meshgrid(-1 + 2 * (np.arange(n) + 0.5) / n, 2 * np.pi * (np.arange(n) + 0.5) / n)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=-1).reshape(-1, 3)


def projected_reference(concentration: Any) -> Reference:
    """By parabolic cylinder functions, in many digits."""
    import mpmath

    m = np.asarray(concentration, np.float64)
    n = len(m)

    def one(x: Any) -> float:
        t = mpmath.mpf(float(np.dot(m, x)))
        moment = mpmath.factorial(n - 1) * mpmath.exp(t * t / 4) * mpmath.pcfd(-n, -t)
        return float(mpmath.log(moment) - np.dot(m, m) / 2 - n * mpmath.log(2 * mpmath.pi) / 2)

    return Reference(
        lambda x: np.apply_along_axis(one, -1, np.asarray(x, np.float64)), mean=m / np.linalg.norm(m)
    )


def projected_law(concentration: Any) -> Any:
    """The first entry: in two dimensions by the angle's density, in three by a closed form."""
    m = np.asarray(concentration, np.float64)
    x = circle() if len(m) == 2 else globe()
    t = x @ m
    moment = t + stats.norm.cdf(t) / stats.norm.pdf(t) * (1 + t * t)
    if len(m) == 2:
        moment = 1 + t * stats.norm.cdf(t) / stats.norm.pdf(t)
    return [(lambda x: x[..., 0], law_of(x[:, 0], moment))]


def fisher_reference(concentration: Any) -> Reference:
    k = np.linalg.norm(concentration)
    d = stats.vonmises_fisher(concentration / k, k)
    # SciPy asks for unit vectors to more digits than single precision has.
    return Reference(
        lambda x: x @ concentration - k + np.log(k / (2 * np.pi * -np.expm1(-2 * k))),
        mean=concentration / k,
        entropy=d.entropy(),
    )


def fisher_law(concentration: Any) -> Any:
    x = globe()
    return [(lambda x: x[..., 0], law_of(x[:, 0], np.exp(x @ concentration)))]


def sine_grid(
    phi_loc: Any, psi_loc: Any, phi_concentration: Any, psi_concentration: Any, correlation: Any
) -> Any:
    """Angles and log densities on a grid; the sum over it is exact, as the density is smooth and periodic."""
    n = 400
    angle = -np.pi + 2 * np.pi * (np.arange(n) + 0.5) / n
    phi, psi = np.meshgrid(angle, angle, indexing="ij")

    def exponent(phi: Any, psi: Any) -> Any:
        a, b = phi - phi_loc, psi - psi_loc
        alone = phi_concentration * np.cos(a) + psi_concentration * np.cos(b)
        return alone + correlation * np.sin(a) * np.sin(b)

    log_norm = special.logsumexp(exponent(phi, psi)) + 2 * np.log(2 * np.pi / n)
    return angle, exponent, log_norm


def sine_reference(**params: Any) -> Reference:
    if "weighted_correlation" in params:
        weight = params.pop("weighted_correlation")
        params["correlation"] = weight * np.sqrt(params["phi_concentration"] * params["psi_concentration"])
    _, exponent, log_norm = sine_grid(**params)
    mean = np.array([params["phi_loc"], params["psi_loc"]])
    return Reference(lambda x: exponent(x[..., 0], x[..., 1]) - log_norm, mean=mean)


def sine_laws(**params: Any) -> Any:
    _, exponent, _ = sine_grid(**params)
    fine = -np.pi + 2 * np.pi * (np.arange(2000) + 0.5) / 2000
    weights = np.exp(exponent(fine[:, None], fine[None]))
    return [
        (lambda x: x[..., 0], law_of(fine, weights.sum(1))),
        (lambda x: x[..., 1], law_of(fine, weights.sum(0))),
        # No two points of the grid have one value of this statistic.
        (lambda x: x[..., 0] + 0.371 * x[..., 1], law_of(fine[:, None] + 0.371 * fine[None], weights)),
    ]


def skewed_flat(skewness: Any, validate_args: Any = None) -> Any:
    base = dist.Uniform(-np.pi, np.asarray(np.pi, jnp.result_type(skewness))).expand((2,)).to_event(1)
    return dist.SineSkewed(base, skewness, validate_args=validate_args)


def skewed_laws(skewness: Any) -> Any:
    angle = -np.pi + 2 * np.pi * (np.arange(100_000) + 0.5) / 100_000
    return [(lambda x, i=i: x[..., i], law_of(angle, 1 + skewness[i] * np.sin(angle))) for i in range(2)]


def skewed_sine(skewness: Any, phi_concentration: Any, validate_args: Any = None) -> Any:
    base = dist.SineBivariateVonMises(0.5, -1.0, phi_concentration, 3.0, 1.0, validate_args=validate_args)
    return dist.SineSkewed(base, skewness, validate_args=validate_args)


def skewed_sine_reference(skewness: Any, phi_concentration: Any) -> Reference:
    base = sine_reference(
        phi_loc=0.5, psi_loc=-1.0, phi_concentration=phi_concentration, psi_concentration=3.0, correlation=1.0
    )
    lean = lambda x: np.log1p(np.sum(skewness * np.sin(x - np.array([0.5, -1.0])), axis=-1))  # noqa: E731
    return Reference(lambda x: base.log_prob(x) + lean(x), mean=np.array([0.5, -1.0]))  # type: ignore[misc]


ANGLES = [[0.1, 0.2], [2.0, -3.0], [-3.1, 3.1]]
SINE = {
    "phi_loc": 0.5,
    "psi_loc": -1.0,
    "phi_concentration": 3.0,
    "psi_concentration": 2.0,
    "correlation": 1.5,
}

CASES: dict[str, DistCase] = {
    "projected_normal_2": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([1.0, -0.5])},
        projected_reference,
        "concentration",
        values=[[0.6, -0.8], [-0.8, 0.6], [0.0, 1.0]],
        marginals=projected_law,
        pathwise="expectation",
    ),
    "projected_normal_3": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([2.0, -1.0, 0.5])},
        projected_reference,
        "concentration",
        values=[[0.48, -0.64, 0.6], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
        marginals=projected_law,
        pathwise="expectation",
    ),
    "projected_normal_6": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([2.0, -1.0, 0.5, 3.0, 0.0, 0.3])},
        projected_reference,
        values=[[0.1, -0.5, 0.5, 0.5, 0.1, 0.479583152331272], [-0.8, 0.0, 0.0, -0.6, 0.0, 0.0]],
    ),
    "von_mises_3d": DistCase(
        dist.VonMises3D,
        {"concentration": np.array([2.0, -1.0, 0.5])},
        fisher_reference,
        "concentration",
        values=[[0.48, -0.64, 0.6], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
        marginals=fisher_law,
        pathwise="expectation",
    ),
    "sine_bivariate_von_mises": DistCase(
        dist.SineBivariateVonMises,
        SINE,
        sine_reference,
        "phi_concentration",
        change=0.05,
        values=ANGLES,
        marginals=sine_laws,
    ),
    "sine_bivariate_von_mises_of_two_modes": DistCase(
        dist.SineBivariateVonMises,
        {
            "phi_loc": -3.0,
            "psi_loc": 1.0,
            "phi_concentration": 0.5,
            "psi_concentration": 1.0,
            "weighted_correlation": 8.0,
        },
        sine_reference,
        values=ANGLES,
    ),
    "sine_skewed_flat": DistCase(
        skewed_flat,
        {"skewness": np.array([0.3, -0.7])},
        lambda skewness: Reference(
            lambda x: np.log1p(np.sum(skewness * np.sin(x), axis=-1)) - 2 * np.log(2 * np.pi),
            mean=np.zeros(2),
        ),
        "skewness",
        bump_to=np.array([0.3, -0.65]),
        values=ANGLES,
        marginals=skewed_laws,
    ),
    "sine_skewed": DistCase(
        skewed_sine,
        {"skewness": np.array([0.3, -0.5]), "phi_concentration": np.float64(2.0)},
        skewed_sine_reference,
        values=ANGLES,
    ),
}
