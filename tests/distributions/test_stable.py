"""Stable draws against their characteristic function, closed-form members, and derivatives across stability 1."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError

N = 100_000
T = np.array([0.2, 0.7, 1.5])


def _exponent(stability: float, skew: float, t: Any = T) -> Any:
    """log E exp(i t Z) for t > 0, by the definition of the form S0."""
    if stability == 1:
        return -t * (1 + 2j / np.pi * skew * np.log(t))
    return -(t**stability) * (1 + 1j * skew * np.tan(np.pi * stability / 2) * (t ** (1 - stability) - 1))


SETTINGS = [
    (0.5, 0.3),
    (0.97, -0.8),
    (1.0, 0.0),
    (1.0, 0.9),
    (1.001, 0.9),
    (1.5, -0.5),
    (1.9, 1.0),
    (2.0, 0.4),
]


@pytest.mark.parametrize(("stability", "skew"), SETTINGS)
def test_draws_have_the_characteristic_function(stability: float, skew: float, getkey: Any) -> None:
    draws = np.asarray(dist.Stable(stability, skew, 2.0, 1.0).sample(getkey(), (N,)), np.float64)
    assert np.all(np.isfinite(draws))
    waves = np.exp(1j * T * ((draws[:, None] - 1) / 2))
    exact = np.exp(_exponent(stability, skew))
    assert np.max(np.abs(waves.mean(axis=0) - exact)) < 4.5 / np.sqrt(N)
    # The test sees a small change of the parameters.
    other = np.exp(_exponent(stability - 0.15, skew - 0.1))
    assert np.max(np.abs(waves.mean(axis=0) - other)) > 4.5 / np.sqrt(N)


CLOSED = {
    "normal": (dist.Stable(2.0, 0.0, 2.0, 1.0), stats.norm(1, 2 * np.sqrt(2))),
    "cauchy": (dist.Stable(1.0, 0.0, 2.0, 1.0), stats.cauchy(1, 2)),
    "levy": (dist.Stable(0.5, 1.0, 2.0, 1.0, coords="S"), stats.levy(1, 2)),
    "levy_in_s0": (dist.Stable(0.5, 1.0, 2.0, 1.0), stats.levy(-1, 2)),
}


@pytest.mark.parametrize(("d", "law"), CLOSED.values(), ids=CLOSED)
def test_members_in_closed_form(d: Any, law: Any, getkey: Any) -> None:
    draws = np.asarray(d.sample(getkey(), (N,)), np.float64)
    assert stats.kstest(draws, law.cdf).pvalue > 1e-3
    assert stats.kstest(1.02 * (draws - 1) + 1.02, law.cdf).pvalue < 1e-3 or law.dist.name == "cauchy"


@pytest.mark.parametrize("stability", [0.8, 1.0, 1.0 + 1e-9, 1.6])
def test_pathwise_derivatives_are_smooth_across_one(stability: float, x64: None, getkey: Any) -> None:
    key, step = getkey(), 1e-5

    def draw(p: Any) -> Any:
        return dist.Stable(**p).sample(key, (50,))

    params = {"stability": stability, "skew": 0.4, "scale": 2.0, "loc": 1.0}
    slopes = jax.jacfwd(draw)(params)
    for name, value in params.items():
        up, down = (draw({**params, name: value + s * step}) for s in (1, -1))
        size = np.maximum(1.0, np.abs(slopes[name]))
        np.testing.assert_array_less(
            np.abs(slopes[name] - (up - down) / (2 * step)) / size, 1e-6, err_msg=name
        )


@pytest.mark.parametrize(("name", "at"), [("stability", 1.0), ("skew", 0.5)])
def test_derivatives_of_an_expectation(name: str, at: float, getkey: Any) -> None:
    """Of exp(-(X - 2)^2 / 2), which is the mean of E exp(i T (X - 2)) over standard normal T."""
    key = getkey()

    def bumps(p: Any) -> Any:
        draws = dist.Stable(**{"stability": 1.0, "skew": 0.5, name: p}).sample(key, (N,))
        return jnp.exp(-0.5 * (draws - 2) ** 2)

    def exact(p: float) -> float:
        params = {"stability": 1.0, "skew": 0.5, name: p}
        wave = lambda t: (np.exp(_exponent(**params, t=t) - 2j * t)).real * stats.norm.pdf(t)  # noqa: E731
        return 2 * float(integrate.quad(wave, 1e-12, 12, epsabs=1e-13, limit=200)[0])

    point = jnp.float32(at)
    _, slopes = jax.jvp(bumps, (point,), (jnp.ones_like(point),))
    truth = (exact(at + 1e-4) - exact(at - 1e-4)) / 2e-4
    error = 4.5 * np.std(slopes) / np.sqrt(N)
    assert abs(np.mean(slopes) - truth) < error < 0.3 * abs(truth)


@pytest.mark.slow
def test_coordinates_moments_and_refusals(getkey: Any) -> None:
    key = getkey()
    for stability in (0.7, 1.0, 1.5):
        s0, s = (
            dist.Stable(stability, 0.5, 2.0, 1.0, coords=coords).sample(key, (5,)) for coords in ("S0", "S")
        )
        shift = 0.5 * 2.0 * (2 / np.pi * np.log(2.0) if stability == 1 else np.tan(np.pi * stability / 2))
        np.testing.assert_allclose(s - s0, shift, rtol=1e-3, atol=1e-3)
    truth = stats.levy_stable(1.5, 0.5, loc=1.0, scale=2.0)
    np.testing.assert_allclose(dist.Stable(1.5, 0.5, 2.0, 1.0, coords="S").mean, truth.mean(), rtol=1e-6)
    np.testing.assert_allclose(dist.Stable(1.5, 0.5, 2.0, 1.0).mean, 1.0 + 2.0 * 0.5, rtol=1e-5)
    assert np.isnan(dist.Stable(1.0, 0.5).mean) and dist.Stable(1.9, 0.5).variance == np.inf
    np.testing.assert_allclose(dist.Stable(2.0, 0.5, 3.0).variance, 18.0)
    with pytest.raises(ArgumentError, match="has not a density"):
        dist.Stable(1.5, 0.0).log_prob(0.0)
    with pytest.raises(ArgumentError, match="coords"):
        dist.Stable(1.5, 0.0, coords="S1")
    for bad in (
        {"stability": 0.0, "skew": 0.0},
        {"stability": 2.1, "skew": 0.0},
        {"stability": 1.0, "skew": 2.0},
    ):
        with pytest.raises(ParameterError):
            dist.Stable(**bad)
    d = dist.Stable(np.array([0.5, 1.5]), 0.0).expand((3, 2))
    assert d.batch_shape == (3, 2) and d.coords == "S0" and d.sample(key, (4,)).shape == (4, 3, 2)
    extreme = dist.Stable(np.float32([0.05, 0.3, 2.0]), 1.0)
    assert np.all(np.isfinite(extreme.sample(key, (10_000,))))
