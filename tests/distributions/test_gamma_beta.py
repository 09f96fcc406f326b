"""The gamma and beta families where the table cannot look: large and tiny parameters, far tails, angles."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

import svijax.distributions as dist


def _error(found: Any, exact: Any) -> float:
    return float(np.max(np.abs(np.asarray(found, np.float64) - exact) / np.maximum(1.0, np.abs(exact))))


@pytest.mark.parametrize("size", [1e5, 1e6, 1e7])
def test_large_parameters_keep_their_digits_in_single_precision(size: float) -> None:
    rng = np.random.default_rng(0)
    z = np.linspace(-5, 5, 21)
    c = np.float32(size * 1.2345)
    rate = np.float32(3.3)
    x = (c / rate * (1 + z / np.sqrt(c))).astype(np.float32)
    wide = [np.float64(v) for v in (c, rate)]
    with mp.workdps(40):

        def gamma(x: Any) -> float:
            c, r, x = mp.mpf(wide[0]), mp.mpf(wide[1]), mp.mpf(float(x))
            return float(c * mp.log(r) + (c - 1) * mp.log(x) - r * x - mp.loggamma(c))

        def beta(x: Any, a: Any, b: Any) -> float:
            a, b, x = (mp.mpf(float(v)) for v in (a, b, x))
            norm = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
            return float((a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) + norm)

        exact = np.array([gamma(value) for value in x])
        a, b = np.float32(0.3 * size), np.float32(0.7 * size)
        share = (0.3 + z * np.sqrt(0.21 / size)).astype(np.float32)
        exact_beta = np.array([beta(value, a, b) for value in share])
    # Traced, so that the form for any concentration is taken.
    assert _error(jax.jit(lambda c, r: dist.Gamma(c, r).log_prob(x))(c, rate), exact) < 1e-5
    inverse = jax.jit(lambda c, r: dist.InverseGamma(c, r).log_prob(1 / x))(c, rate)
    y = np.asarray(1 / jnp.asarray(x), np.float64)
    expected = stats.invgamma(wide[0], scale=wide[1]).logpdf(y)
    assert _error(inverse, expected) < 1e-5
    assert _error(dist.Beta(a, b).log_prob(share), exact_beta) < 1e-5
    pair = jnp.stack([share, 1 - share], -1)
    assert np.all(np.isfinite(dist.Dirichlet(np.stack([a, b])).log_prob(pair)))
    t = rng.standard_normal(20).astype(np.float32)
    assert _error(dist.StudentT(c).log_prob(t), stats.norm.logpdf(t)) < 1e-5


def test_concrete_and_traced_concentrations_agree() -> None:
    x = np.array([1e-20, 0.1, 1.0, 5.0, 40.0], np.float32)
    for c in (0.3, 1.0, 2.5, 7.9):
        known = dist.Gamma(c, 2.0).log_prob(x)
        traced = jax.jit(lambda c: dist.Gamma(c, 2.0).log_prob(x))(c)
        np.testing.assert_allclose(known, traced, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "d, start, end",
    [
        (dist.Gamma(1.0, 2.0), math.log(2), None),
        (dist.Gamma(0.5, 2.0), np.inf, None),
        (dist.Gamma(np.float32([1.0]), 2.0), math.log(2), None),
        (dist.Gamma(20.0, 2.0), -np.inf, None),
        (dist.Chi2(2.0), math.log(0.5), None),
        (dist.InverseGamma(2.0, 1.0), -np.inf, None),
        (dist.FisherSnedecor(2.0, 5.0), 0.0, None),
        (dist.FisherSnedecor(3.0, 5.0), -np.inf, None),
        (dist.Beta(1.0, 3.0), math.log(3), -np.inf),
        (dist.Beta(0.5, 1.0), np.inf, math.log(0.5)),
        (dist.Beta(2.0, 0.5), -np.inf, np.inf),
    ],
)
def test_densities_at_the_ends(d: Any, start: float, end: float | None) -> None:
    for value, expected in ((0.0, start), (1.0, end)):
        if expected is not None:
            np.testing.assert_allclose(np.squeeze(d.log_prob(jnp.float32(value))), expected, rtol=1e-6)
            slope = jax.grad(lambda x: d.log_prob(x).sum())(jnp.float32(value))
            assert np.isfinite(slope)


def test_slopes_at_the_ends_are_those_from_inside() -> None:
    for d, value, expected in (
        (dist.Gamma(1.0, 2.0), 0.0, -2.0),
        (dist.Beta(1.0, 3.0), 0.0, -2.0),
        (dist.Beta(4.0, 1.0), 1.0, 3.0),
        (dist.FisherSnedecor(2.0, 4.0), 0.0, -1.5),
    ):
        np.testing.assert_allclose(jax.grad(d.log_prob)(jnp.float32(value)), expected, rtol=1e-6)
    zero = dist.Dirichlet(np.array([1.0, 2.0])).log_prob(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(zero, math.log(2.0), rtol=1e-6)
    assert dist.Dirichlet(np.array([2.0, 2.0])).log_prob(jnp.array([0.0, 1.0])) == -np.inf
    assert dist.Dirichlet(np.array([0.5, 2.0])).log_prob(jnp.array([0.0, 1.0])) == np.inf


@pytest.mark.parametrize("df", [0.1, 3.0, 40.0])
def test_far_tails_of_student_t(df: float, x64: None) -> None:
    z = np.array([1e-8, 0.3, 10.0, 1e5, 1e30, 1e200])
    with mp.workdps(60):
        exact = []
        for value in z:
            w = mp.mpf(df) / (mp.mpf(df) + mp.mpf(value) ** 2)
            exact.append(float(mp.log(mp.betainc(mp.mpf(df) / 2, 0.5, 0, w, regularized=True) / 2)))
    d = dist.StudentT(df, 1.0, 2.0)
    np.testing.assert_allclose(d.log_survival_function(1 + 2 * z), exact, rtol=1e-9)
    np.testing.assert_allclose(d.log_cdf(1 - 2 * z), exact, rtol=1e-9)
    q = np.array([1e-30, 0.3, 0.5, 0.9])
    np.testing.assert_allclose(np.log(d.cdf(d.icdf(q))), np.log(q), rtol=1e-9)
    np.testing.assert_allclose(d._isf(q), 2 - d.icdf(q), rtol=1e-9)
    np.testing.assert_allclose(jax.grad(d.cdf)(1.0), stats.t(df, 1, 2).pdf(1.0), rtol=1e-9)
    np.testing.assert_allclose(jax.grad(d.icdf)(0.5), 1 / stats.t(df, 1, 2).pdf(1.0), rtol=1e-9)


@pytest.mark.slow
def test_quantile_functions_have_derivatives_in_their_parameters(x64: None) -> None:
    h = 1e-5
    families: tuple[Any, ...] = (
        lambda p: dist.Gamma(p, 2.0),
        lambda p: dist.InverseGamma(p, 2.0),
        lambda p: dist.Chi2(p),
        lambda p: dist.Beta(p, 2.0),
        lambda p: dist.Beta(2.0, p),
        lambda p: dist.StudentT(p),
        lambda p: dist.FisherSnedecor(p, 5.0),
        lambda p: dist.FisherSnedecor(5.0, p),
    )
    for family in families:
        for method, at in (("icdf", 0.3), ("_isf", 0.3), ("cdf", 0.4), ("log_survival_function", 0.4)):

            def value(p: Any, family: Any = family, method: str = method, at: float = at) -> Any:
                return getattr(family(p), method)(at)

            numeric = (value(1.7 + h) - value(1.7 - h)) / (2 * h)
            np.testing.assert_allclose(jax.grad(value)(1.7), numeric, rtol=1e-6)


@pytest.mark.parametrize("concentration", [1e-3, 1.0, 1e4, 1e6])
def test_pathwise_derivatives_of_gamma_draws_are_those_of_quantiles(
    concentration: float, getkey: Any
) -> None:
    """E dX/dc = 1, to far less than 2 %, where the derivative of JAX's own sampler has lost its digits."""
    key, n = getkey(), 20_000
    draw, slope = jax.jvp(
        lambda c: dist.Gamma(c, 1.0).sample(key, (n,)), (jnp.float32(concentration),), (jnp.float32(1.0),)
    )
    assert np.all(np.isfinite(draw)) and np.all(draw > 0) and np.all(np.isfinite(slope))
    slope = np.asarray(slope, np.float64)
    error = slope.std() / math.sqrt(n)
    assert abs(slope.mean() - 1) < 4.5 * error + 1e-5
    if concentration >= 1e4:
        # Each draw moves as x / c to first order; its rounding must not stand in the way.
        assert error < 1e-4


def test_draws_stay_off_the_ends_where_the_density_is_infinite(getkey: Any) -> None:
    for d in (
        dist.Beta(1e-3, 1e-3),
        dist.Gamma(1e-3, 10.0),
        dist.InverseGamma(1e-3, 1.0),
        dist.AffineBeta(0.01, 0.01, 100.0, 1e-3),
        dist.FisherSnedecor(0.01, 0.01),
        dist.Dirichlet(np.full(3, 1e-3)),
    ):
        draws = d.sample(getkey(), (2000,))
        assert np.all(np.isfinite(draws)) and np.all(np.isfinite(d.log_prob(draws))), d


def test_same_families_under_other_arguments() -> None:
    x = np.array([0.2, 0.6])
    np.testing.assert_allclose(dist.Chi2(3.0).log_prob(x), dist.Gamma(1.5, 0.5).log_prob(x), rtol=1e-6)
    by_mean = dist.BetaProportion(0.3, 5.0)
    np.testing.assert_allclose(by_mean.log_prob(x), dist.Beta(1.5, 3.5).log_prob(x), rtol=1e-6)
    assert by_mean.mean == np.float32(0.3) and by_mean.expand((2,)).mean.shape == (2,)
    np.testing.assert_allclose(
        dist.kl_divergence(dist.Chi2(3.0), dist.Chi2(5.0)),
        dist.kl_divergence(dist.Gamma(1.5, 0.5), dist.Gamma(2.5, 0.5)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("k", [1e-3, 0.7, 30.0, 1e4, 1e6])
def test_von_mises_draws_move_with_the_concentration(k: float, getkey: Any) -> None:
    """d/dk E (1 - cos X) in closed form, which an error of two per cent would miss."""
    key, n = getkey(), 200_000

    def fall(k: Any) -> Any:
        return 2 * jnp.sin(0.5 * dist.VonMises(0.0, k).sample(key, (n,))) ** 2

    value, slope = jax.jvp(fall, (jnp.float32(k),), (jnp.float32(1.0),))
    with mp.workdps(40):
        ratio = lambda k: 1 - mp.besseli(1, k) / mp.besseli(0, k)  # noqa: E731
        exact, exact_slope = float(ratio(k)), float(mp.diff(ratio, k))
    for found, expected in ((value, exact), (slope, exact_slope)):
        found = np.asarray(found, np.float64)
        error = found.std() / math.sqrt(n)
        assert np.all(np.isfinite(found))
        assert abs(found.mean() - expected) < 4.5 * error
        assert 4.5 * error < 0.02 * abs(expected)


def test_von_mises_is_a_distribution_of_angles(x64: None, getkey: Any) -> None:
    d = dist.VonMises(2.5, 3.0)
    draws = d.sample(getkey(), (1000,))
    assert np.all(np.abs(draws) <= math.pi) and np.any(draws < -2.5)
    np.testing.assert_allclose(d.cdf(np.array([-math.pi, math.pi])), [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(
        jax.grad(lambda loc: dist.VonMises(loc, 3.0).sample(jax.random.key(0)))(2.5), 1.0
    )
    np.testing.assert_allclose(
        dist.VonMises(2.5 + 4 * math.pi, 3.0).log_prob(draws), d.log_prob(draws), rtol=1e-9
    )
    np.testing.assert_allclose(dist.VonMises(7.0, 3.0).mean, 7.0 - 2 * math.pi)
    assert d.log_prob(3.5) == -np.inf
    for k in (1e-6, 0.5, 10.0, 1e3):
        slope = jax.grad(lambda k: dist.VonMises(0.0, k).cdf(-0.2))(k)
        h = 1e-4 * k
        up, down = (
            mp.quad(lambda t, c=c: mp.exp(c * (mp.cos(t) - 1)), np.linspace(-math.pi, -0.2, 30).tolist())
            / (2 * mp.pi * special.i0e(c))
            for c in (k + h, k - h)
        )
        np.testing.assert_allclose(slope, float((up - down) / (2 * h)), rtol=1e-4, atol=1e-12)
