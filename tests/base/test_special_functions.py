"""Saddle-point pieces, incomplete gamma and beta functions and their inverses, against mpmath and SciPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

from svijax import base

PRECISIONS = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-14)])
SIZES = np.concatenate([np.logspace(-20, 8, 57), [0.5, 1.0, 2.0, 2.99, 3.01, 7.99, 8.01]])


def _exact(function: Any, *arrays: Any) -> Any:
    with mp.workdps(50):
        rows = zip(*np.broadcast_arrays(*arrays))
        return np.array([float(function(*(mp.mpf(float(x)) for x in row))) for row in rows])


def _error(found: Any, exact: Any) -> float:
    return float(np.max(np.abs(np.asarray(found, np.float64) - exact) / np.maximum(1.0, np.abs(exact))))


def _relative(found: Any, exact: Any) -> float:
    return float(np.max(np.abs(np.asarray(found, np.float64) - exact) / np.abs(exact)))


@PRECISIONS
def test_stirling_and_factorial(dtype: Any, tolerance: float, x64: None) -> None:
    x = SIZES.astype(dtype)
    cases = {
        base.stirling_error: lambda x: mp.loggamma(x) - ((x - 0.5) * mp.log(x) - x + mp.log(2 * mp.pi) / 2),
        base.factorial_excess: lambda x: mp.loggamma(x + 1) - (x * mp.log(x) - x),
        base.log_gamma: mp.loggamma,
    }
    for function, exact in cases.items():
        assert function(x).dtype == dtype
        assert _error(function(x), _exact(exact, x)) < tolerance
    slopes = jax.vmap(jax.grad(base.stirling_error))(x)
    assert _error(slopes, _exact(lambda x: mp.digamma(x) - mp.log(x) + 1 / (2 * x), x)) < 2 * tolerance
    assert base.factorial_excess(dtype(0)) == 0
    assert np.isfinite(jax.grad(base.factorial_excess)(dtype(0)))


@PRECISIONS
def test_deviance_and_its_derivatives(dtype: Any, tolerance: float, x64: None) -> None:
    rng = np.random.default_rng(0)
    k = np.exp(rng.uniform(-20, 20, 400)).astype(dtype)
    mu = (k * np.exp(rng.normal(size=400) * np.exp(rng.uniform(-8, 3, 400)))).astype(dtype)
    mu = np.where(mu == k, 2 * mu, mu)
    exact = _exact(lambda k, mu: k * mp.log(k / mu) + mu - k, k, mu)
    assert _relative(base.deviance(k, mu), exact) < 5 * tolerance
    in_k, in_mu = jax.vmap(jax.grad(base.deviance, (0, 1)))(k, mu)
    assert _relative(in_k, _exact(lambda k, mu: mp.log(k / mu), k, mu)) < tolerance
    assert _relative(in_mu, _exact(lambda k, mu: 1 - k / mu, k, mu)) < tolerance


def test_deviance_at_its_ends() -> None:
    grad = jax.grad(base.deviance, (0, 1))
    for k, mu, value, in_mu in ((0.0, 0.0, 0.0, 1.0), (0.0, 3.0, 3.0, 1.0), (5.0, 5.0, 0.0, 0.0)):
        assert base.deviance(k, mu) == value
        slopes = grad(k, mu)
        assert np.isfinite(slopes[0]) and slopes[1] == in_mu
    assert base.deviance(2.0, 0.0) == np.inf
    np.testing.assert_allclose(base.deviance(1e3, 1e-37), 91103.40371976, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(base.deviance, 1), 1)(3.0, 2.0), 3 / 4, rtol=1e-6)
    # Integers, as counts are, and a batch.
    np.testing.assert_allclose(
        jax.jit(base.deviance)(np.arange(3), 1.0), special.kl_div(np.arange(3), 1.0), rtol=1e-6
    )


def test_products_are_not_rounded() -> None:
    rng = np.random.default_rng(0)
    k = (10 ** rng.uniform(5, 7, 300)).astype(np.float32)
    a = rng.uniform(0.1, 10, 300).astype(np.float32)
    b = (k / a * (1 + 4 * rng.normal(size=300) / np.sqrt(k))).astype(np.float32)
    exact = _exact(lambda k, a, b: k * mp.log(k / (a * b)) + a * b - k, k, a, b)
    for function in (base.product_deviance, jax.jit(base.product_deviance)):
        assert _error(function(k, a, b), exact) < 1e-5
    assert _error(base.deviance(k, a * b), exact) > 1e-5
    # A product that underflows, and a factor that lacks a part.
    np.testing.assert_allclose(base.product_deviance(0.01, 1e-20, 1e-30), 1.0952408446, rtol=1e-6)
    lacking = base.product_deviance(1e6, 1e6, 0.999, 1e-8)
    np.testing.assert_allclose(
        lacking, float(special.kl_div(1e6, 1e6 * (np.float64(np.float32(0.999)) + 1e-8))), rtol=2e-5
    )


def _points(n: int = 300) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    a, b = 10 ** rng.uniform(-3, 5, n), 10 ** rng.uniform(-3, 5, n)
    return a, b, rng.uniform(size=n) ** np.where(rng.random(n) < 0.3, 15, 1)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-4), (np.float64, 1e-10)])
def test_incomplete_functions_and_their_inverses(dtype: Any, tolerance: float, x64: None) -> None:
    a, b, q = (x.astype(dtype) for x in _points())
    wide = [np.asarray(x, np.float64) for x in (a, b, q)]
    # What a small parameter makes of rounding is no error of the function.
    keep = a > 0.01
    x = stats.gamma(wide[0]).ppf(wide[2]).astype(dtype)
    ok = keep & (x > 1e-30)
    for ours, theirs in ((base.gammainc, special.gammainc), (base.gammaincc, special.gammaincc)):
        exact = theirs(wide[0], np.asarray(x, np.float64))
        some = ok & (exact > 1e-30)
        assert _relative(jax.jit(ours)(a, x)[some], exact[some]) < tolerance
        log = {base.gammainc: base.log_gammainc, base.gammaincc: base.log_gammaincc}[ours]
        assert _error(log(a, x)[some], np.log(exact[some])) < tolerance
    for ours, theirs in ((base.gammaincinv, special.gammaincinv), (base.gammainccinv, special.gammainccinv)):
        exact = theirs(wide[0], wide[2])
        some = keep & (exact > 1e-30)
        assert _relative(jax.jit(ours)(a, q)[some], exact[some]) < tolerance
    exact = special.betaincinv(wide[0], wide[1], wide[2])
    some = keep & (b > 0.01) & (exact > 1e-30)
    assert _relative(jax.jit(base.betaincinv)(a, b, q)[some], exact[some]) < tolerance
    x = exact.astype(dtype)
    below = special.betainc(wide[0], wide[1], np.asarray(x, np.float64))
    some &= (x < 1) & (below > 1e-30)
    assert _relative(jax.jit(base.betainc)(a, b, x)[some], below[some]) < tolerance
    above = special.betaincc(wide[0], wide[1], np.asarray(x, np.float64))
    some &= above > 1e-30
    assert _relative(jax.jit(base.betaincc)(a, b, x)[some], above[some]) < tolerance


def test_large_parameters_where_others_give_up(x64: None) -> None:
    # P(978000, 973000) to 14 digits by quadrature in 50 digits; SciPy has 6 of them.
    np.testing.assert_allclose(base.gammainc(978000.0, 973000.0), 2.0502809647840186e-07, rtol=1e-12)
    np.testing.assert_allclose(base.gammaincc(1530.0, 2150.0), 1.5446014481178767e-45, rtol=1e-11)
    single = base.gammainc(jnp.float32(978000.0), jnp.float32(973000.0))
    np.testing.assert_allclose(single, 2.0502809647840186e-07, rtol=2e-5)


@pytest.mark.parametrize("a, x", [(1e-3, 1e-5), (0.3, 2.0), (2.5, 1.0), (50.0, 80.0), (3.0, 60.0)])
def test_derivatives_of_the_incomplete_gamma_function(a: float, x: float, x64: None) -> None:
    with mp.workdps(40):
        first, second = (
            float(mp.diff(lambda a: mp.gammainc(a, 0, x, regularized=True), a, n)) for n in (1, 2)
        )
    for function, sign in ((base.gammainc, 1), (base.gammaincc, -1)):
        np.testing.assert_allclose(jax.grad(function)(a, x), sign * first, rtol=1e-9)
        np.testing.assert_allclose(jax.hessian(function)(a, x), sign * second, rtol=1e-7)
        np.testing.assert_allclose(jax.grad(function, 1)(a, x), sign * stats.gamma(a).pdf(x), rtol=1e-9)


@pytest.mark.parametrize(
    "a, b, x", [(0.01, 0.02, 0.3), (2.0, 3.5, 0.9), (50.0, 2.0, 0.99), (200.0, 300.0, 0.45)]
)
def test_derivatives_of_the_incomplete_beta_function(a: float, b: float, x: float, x64: None) -> None:
    with mp.workdps(40):
        in_a = float(mp.diff(lambda a: mp.betainc(a, b, 0, x, regularized=True), a))
        in_b = float(mp.diff(lambda b: mp.betainc(a, b, 0, x, regularized=True), b))
    expected = (in_a, in_b, stats.beta(a, b).pdf(x))
    np.testing.assert_allclose(jax.grad(base.betainc, (0, 1, 2))(a, b, x), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(base.betaincc, (0, 1, 2))(a, b, x), -np.array(expected), rtol=1e-9)


@pytest.mark.slow
def test_derivatives_of_the_inverses(x64: None) -> None:
    h = 1e-5
    for function, at in (
        (base.gammaincinv, (2.5, 0.3)),
        (base.gammainccinv, (0.4, 0.3)),
        (base.betaincinv, (2.5, 0.7, 0.3)),
        (base.betainccinv, (0.4, 3.0, 0.3)),
    ):
        places = range(len(at))
        slopes = jax.jit(jax.grad(function, tuple(places)))(*at)
        for place in places:
            up, down = (function(*(x + s * h * (i == place) for i, x in enumerate(at))) for s in (1, -1))
            np.testing.assert_allclose(slopes[place], (up - down) / (2 * h), rtol=1e-6)


def test_ends_half_precision_and_batches() -> None:
    np.testing.assert_array_equal(base.gammaincinv(2.0, jnp.array([0.0, 1.0])), [0.0, np.inf])
    np.testing.assert_array_equal(base.gammainccinv(2.0, jnp.array([0.0, 1.0])), [np.inf, 0.0])
    np.testing.assert_array_equal(base.betaincinv(2.0, 3.0, jnp.array([0.0, 1.0])), [0.0, 1.0])
    assert np.all(np.isnan(base.gammaincinv(2.0, jnp.array([-0.1, 1.1]))))
    np.testing.assert_array_equal(base.gammainc(2.0, jnp.array([-1.0, 0.0, np.inf])), [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(
        base.log_gammaincc(2.0, jnp.array([-1.0, 0.0, np.inf])), [0.0, 0.0, -np.inf]
    )
    np.testing.assert_array_equal(
        base.betainc(2.0, 3.0, jnp.array([-1.0, 0.0, 1.0, 2.0])), [0.0, 0.0, 1.0, 1.0]
    )
    half = base.gammainc(jnp.float16(2.0), jnp.float16(1.5))
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half, special.gammainc(2.0, 1.5), rtol=1e-3)
    a = jnp.array([0.5, 2.0, 30.0])
    slopes = jax.jit(jax.vmap(jax.grad(base.betainc, (0, 1, 2)), (0, None, None)))(a, 2.0, 0.3)
    assert all(slope.shape == (3,) and np.all(np.isfinite(slope)) for slope in slopes)


def test_a_quantile_that_underflows_still_moves(x64: None) -> None:
    # log x of Gamma(1e-3, 1) at p = 0.2 is about -1609; it is (log p + log Gamma(a + 1)) / a.
    a, p = 1e-3, 0.2
    log_x = float((mp.log(p) + mp.loggamma(a + 1)) / a)
    exact = float(mp.diff(lambda a: (mp.log(p) + mp.loggamma(a + 1)) / a, a))
    np.testing.assert_allclose(
        base.gamma_quantile_slope(jnp.float64(a), jnp.float64(log_x)), exact, rtol=1e-10
    )
