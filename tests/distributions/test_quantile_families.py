"""What the table cannot say of families with closed-form quantiles: limits, far tails, supports, options."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError
from svijax.distributions import biject_to


def _equations(f: Any, *args: Any) -> int:
    return len(jax.make_jaxpr(f)(*args).eqns)


def test_normal_log_prob_is_seven_operations() -> None:
    """(x - loc) / scale, its square by -1/2, and two differences: the mechanism adds none."""
    x = jnp.ones(3)
    assert _equations(lambda x, loc, scale: dist.Normal(loc, scale).log_prob(x), x, x, x) == 7
    assert _equations(lambda z, loc, scale: dist.Normal(loc, scale).from_noise(z), x, x, x) == 2


FAR = {
    "normal": (dist.Normal(1.0, 2.0), stats.norm(1, 2), 60.0),
    "cauchy": (dist.Cauchy(1.0, 2.0), stats.cauchy(1, 2), 1e12),
    "laplace": (dist.Laplace(1.0, 2.0), stats.laplace(1, 2), 150.0),
    "logistic": (dist.Logistic(1.0, 2.0), stats.logistic(1, 2), 150.0),
    "soft_laplace": (dist.SoftLaplace(1.0, 2.0), stats.hypsecant(1, 2), 150.0),
    "asymmetric": (dist.AsymmetricLaplace(1.0, 2.0, 1.5), stats.laplace_asymmetric(1.5, 1, 2), 100.0),
}


@pytest.mark.parametrize(("d", "truth", "far"), FAR.values(), ids=FAR)
def test_both_far_tails_in_single_precision(d: Any, truth: Any, far: float) -> None:
    for value in (-far, 1.0, far):
        x = np.float32(value)
        np.testing.assert_allclose(d.log_cdf(x), _log(truth.logcdf, truth.cdf, value), rtol=2e-5, atol=1e-12)
        np.testing.assert_allclose(
            d.log_survival_function(x), _log(truth.logsf, truth.sf, value), rtol=2e-5, atol=1e-12
        )


def _log(log: Any, plain: Any, value: float) -> float:
    # Where SciPy takes the logarithm of a number that is rounded to 1, the other tail is exact.
    return float(log(value)) if plain(value) < 0.9 else float(-_other_tail(log, value))


def _other_tail(log: Any, value: float) -> float:
    frozen, name = log.__self__, log.__name__
    return float(frozen.sf(value) if name == "logcdf" else frozen.cdf(value))


@pytest.mark.parametrize("x", [-1e3, -40.0, -12.0])
def test_the_slope_of_the_normal_tail_does_not_cancel(x: float) -> None:
    exact = np.exp(stats.norm.logpdf(x) - stats.norm.logcdf(x))
    np.testing.assert_allclose(jax.grad(dist.Normal(0.0, 1.0).log_cdf)(x), exact, rtol=2e-5)


POSITIVE = {
    # The same law as SciPy's halfnorm, whose ppf takes (1 + q) / 2.
    "half_normal": (dist.HalfNormal(2.0), stats.chi(1, scale=2)),
    "half_cauchy": (dist.HalfCauchy(2.0), stats.halfcauchy(scale=2)),
    "log_normal": (dist.LogNormal(0.3, 0.7), stats.lognorm(0.7, scale=np.exp(0.3))),
    "exponential": (dist.Exponential(2.0), stats.expon(scale=0.5)),
    "weibull": (dist.Weibull(2.0, 3.0), stats.weibull_min(3.0, scale=2)),
    "dagum": (dist.Dagum(0.7, 3.0, 2.0), stats.burr(3.0, 0.7, scale=2)),
    "gompertz": (dist.Gompertz(0.7, 2.0), stats.gompertz(0.7, scale=0.5)),
    "levy": (dist.Levy(0.0, 2.0), stats.levy(0, 2)),
}


@pytest.mark.parametrize(("d", "truth"), POSITIVE.values(), ids=POSITIVE)
def test_small_and_large_probabilities_come_back(d: Any, truth: Any) -> None:
    """Quantiles from either tail, in single precision, where 1 - q would be 1."""
    for q in (1e-12, 1e-4, 0.3):
        low, high = float(d.icdf(q)), float(d._isf(q))
        np.testing.assert_allclose(low, truth.ppf(q), rtol=2e-5)
        np.testing.assert_allclose(high, truth.isf(q), rtol=2e-5)
        np.testing.assert_allclose(np.exp(d.log_cdf(low)), q, rtol=2e-4)
        np.testing.assert_allclose(np.exp(d.log_survival_function(high)), q, rtol=2e-4)


@pytest.mark.parametrize("name", ["log_cdf", "log_survival_function", "cdf", "survival_function"])
def test_no_derivative_is_nan_at_or_below_the_end_of_the_support(name: str) -> None:
    ends = [(d, 0.0) for d, _ in POSITIVE.values()]
    ends += [(dist.Pareto(2.0, 3.0), 2.0), (dist.Uniform(2.0, 3.0), 2.0), (dist.LogUniform(2.0, 3.0), 2.0)]
    ends += [(dist.GeneralizedPareto(2.0, 1.0, 0.0), 2.0), (dist.DoublyTruncatedPowerLaw(0.5, 2.0, 3.0), 2.0)]
    ends += [(dist.Kumaraswamy(2.0, 3.0), 0.0), (dist.ContinuousBernoulli(0.3), 0.0)]
    for d, end in ends:
        for value in (end, end - 1.0):
            slopes = jax.grad(lambda d, x: getattr(d, name)(x), (0, 1))(d, value)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes)), (d, value)
            below = {"log_cdf": -np.inf, "cdf": 0.0, "log_survival_function": 0.0, "survival_function": 1.0}
            np.testing.assert_allclose(getattr(d, name)(value), below[name], atol=1e-6)


def test_derivatives_at_the_mode_and_at_poles() -> None:
    slope = jax.grad(lambda x, loc: dist.Laplace(loc, 2.0).log_prob(x), (0, 1))(1.0, 1.0)
    assert slope in ((0.5, -0.5), (-0.5, 0.5))
    np.testing.assert_allclose(jax.grad(dist.Laplace(1.0, 2.0).cdf)(1.0), 0.25)
    np.testing.assert_allclose(jax.hessian(dist.Logistic(1.0, 1.0).log_prob)(1.0), -0.5)
    np.testing.assert_allclose(jax.hessian(dist.SoftLaplace(1.0, 1.0).log_prob)(1.0), -1.0)
    for concentration, expected in ((0.5, np.inf), (1.0, -np.log(2.0)), (2.0, -np.inf)):

        def log_prob(x: Any, c: Any) -> Any:
            return dist.Weibull(2.0, c).log_prob(x)

        value, slopes = jax.value_and_grad(log_prob, (0, 1))(0.0, concentration)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert np.all(np.isfinite(slopes))
    for a, b, x, expected in (
        (1.0, 3.0, 0.0, np.log(3.0)),
        (3.0, 1.0, 1.0, np.log(3.0)),
        (0.5, 3.0, 0.0, np.inf),
        (3.0, 0.5, 1.0, np.inf),
        (2.0, 3.0, 0.0, -np.inf),
        (2.0, 3.0, 1.0, -np.inf),
    ):
        value, slopes = jax.value_and_grad(lambda d: d.log_prob(x))(dist.Kumaraswamy(a, b))  # noqa: B023
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes))


def test_generalized_pareto_is_smooth_across_concentration_zero(x64: None) -> None:
    def log_prob(c: Any) -> Any:
        return dist.GeneralizedPareto(0.0, 1.0, c).log_prob(1.7)

    z = 1.7
    np.testing.assert_allclose(log_prob(0.0), -z, rtol=1e-14)
    np.testing.assert_allclose(jax.grad(log_prob)(0.0), z * z / 2 - z, rtol=1e-13)
    np.testing.assert_allclose(jax.hessian(log_prob)(0.0), -2 * z**3 / 3 + z * z, rtol=1e-12)
    for c in (-1e-3, -1e-9, 1e-9, 1e-3, 0.3):
        step = 1e-4
        np.testing.assert_allclose(
            jax.grad(log_prob)(c), (log_prob(c + step) - log_prob(c - step)) / (2 * step), rtol=1e-6
        )
    draws = jax.jacfwd(lambda c: dist.GeneralizedPareto(0.0, 1.0, c).icdf(np.array([0.1, 0.9])))(0.0)
    np.testing.assert_allclose(draws, np.log([0.9, 0.1]) ** 2 / 2, rtol=1e-13)


@pytest.mark.parametrize(
    ("concentration", "expected"), [(-1.0, -np.log(2.0)), (-0.5, -np.inf), (-2.0, np.inf)]
)
def test_generalized_pareto_at_its_upper_end(concentration: float, expected: float) -> None:
    end = 1.0 - 2.0 / concentration
    value, slopes = jax.value_and_grad(lambda d, x: d.log_prob(x), (0, 1))(
        dist.GeneralizedPareto(1.0, 2.0, concentration), end
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes))
    beyond = dist.GeneralizedPareto(1.0, 2.0, concentration)
    assert beyond.log_prob(end + 1.0) == -np.inf and beyond.cdf(end + 1.0) == 1.0


def test_generalized_pareto_support_under_tracing_and_of_either_sign() -> None:
    c = np.array([-0.5, 0.0, 0.7], np.float32)
    d = dist.GeneralizedPareto(1.0, 2.0, c)
    inside = np.array([[0.9, 0.9, 0.9], [1.0, 1.0, 1.0], [4.9, 4.9, 4.9], [5.1, 5.1, 5.1]])
    expected = [[False] * 3, [True] * 3, [True] * 3, [False, True, True]]
    np.testing.assert_array_equal(d.support(inside), expected)
    for support in (d.support, jax.jit(lambda d: d)(d).support):
        assert np.all(support(support.feasible_like(np.ones(3, np.float32))))
        to_support = biject_to(support)
        y = np.linspace(-3, 3, 7, dtype=np.float32)[:, None] * np.ones(3, np.float32)
        x = to_support(y)
        assert np.all(support(x)) and to_support.codomain is support
        np.testing.assert_allclose(to_support.inv(x), y, rtol=1e-4, atol=1e-4)
        slope = jax.vmap(jax.vmap(jax.grad(lambda y, c: biject_to(_support_of(c))(y))))(y, jnp.stack([c] * 7))
        np.testing.assert_allclose(to_support.log_abs_det_jacobian(y, x), np.log(slope), rtol=1e-4, atol=1e-4)

    def log_joint(y: Any, c: Any) -> Any:
        d = dist.GeneralizedPareto(1.0, 2.0, c)
        return d.log_prob(biject_to(d.support)(y))

    assert all(np.isfinite(slope) for slope in jax.jit(jax.grad(log_joint, (0, 1)))(0.3, -0.5))


def _support_of(c: Any) -> Any:
    return dist.GeneralizedPareto(1.0, 2.0, c).support


def test_power_law_is_smooth_across_minus_one(x64: None) -> None:
    x, low, high = 1.7, 0.5, 20.0

    def log_prob(alpha: Any) -> Any:
        return dist.DoublyTruncatedPowerLaw(alpha, low, high).log_prob(x)

    np.testing.assert_allclose(log_prob(-1.0), stats.loguniform(low, high).logpdf(x), rtol=1e-13)
    # d/dalpha log p = log x - E log X, and E log X is the middle of the logarithms at -1.
    np.testing.assert_allclose(jax.grad(log_prob)(-1.0), np.log(x) - 0.5 * np.log(low * high), rtol=1e-12)
    width = np.log(high / low)
    np.testing.assert_allclose(jax.hessian(log_prob)(-1.0), -(width**2) / 12, rtol=1e-11)
    for shift in (1e-8, 1e-4):
        np.testing.assert_allclose(jax.grad(log_prob)(-1.0 + shift), jax.grad(log_prob)(-1.0), rtol=1e-2)

    def draw(alpha: Any) -> Any:
        return dist.DoublyTruncatedPowerLaw(alpha, low, high).icdf(0.3)

    step = 1e-5
    np.testing.assert_allclose(
        jax.grad(draw)(-1.0), (draw(-1.0 + step) - draw(-1.0 - step)) / (2 * step), rtol=1e-8
    )


def test_power_law_down_to_zero(x64: None) -> None:
    d, truth = dist.DoublyTruncatedPowerLaw(0.7, 0.0, 3.0), stats.powerlaw(1.7, scale=3)
    x = np.array([1e-3, 0.5, 2.9])
    np.testing.assert_allclose(d.log_prob(x), truth.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(d.cdf(x), truth.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(d.survival_function(x), truth.sf(x), rtol=1e-11)
    np.testing.assert_allclose(d.icdf(truth.cdf(x)), x, rtol=1e-12)
    np.testing.assert_allclose([d.mean, d.variance], [truth.mean(), truth.var()], rtol=1e-12)
    np.testing.assert_allclose(d.entropy(), truth.entropy(), rtol=1e-9)
    slopes = jax.grad(lambda d: d.log_prob(x).sum())(d)
    np.testing.assert_allclose(slopes.alpha, np.log(x / 3).sum() + 3 / 1.7, rtol=1e-12)
    assert np.isfinite(slopes.low) and d.log_prob(0.0) == -np.inf
    flat = dist.DoublyTruncatedPowerLaw(0.0, 0.0, 3.0).log_prob(0.0)
    np.testing.assert_allclose(flat, -np.log(3.0), rtol=1e-12)
    assert dist.DoublyTruncatedPowerLaw(-0.5, 0.0, 3.0).log_prob(0.0) == np.inf


def test_steep_power_laws_neither_overflow_nor_leave_their_bounds() -> None:
    for alpha in (-80.0, -1.0, 80.0):
        d = dist.DoublyTruncatedPowerLaw(alpha, 1.0, 1e6)
        draws = d.sample(jax.random.key(0), (1000,))
        assert np.all(d.support(draws)) and np.all(np.isfinite(d.log_prob(draws)))
        assert np.all(np.isfinite(jax.grad(lambda d: d.log_prob(np.float32(20.0)))(d).alpha))


@pytest.mark.parametrize("t", [0.0, 1e-6, -1e-3, 0.3, -30.0, 400.0])
def test_continuous_bernoulli_near_one_half_and_at_the_ends(t: float) -> None:
    """Single precision against double: value, slope and cumulants."""
    d, x = dist.ContinuousBernoulli(logits=np.float32(t)), np.float32(0.3)
    with jax.enable_x64(True):
        wide = dist.ContinuousBernoulli(logits=np.float64(np.float32(t)))
        exact = [wide.log_prob(np.float64(x)), wide.mean, wide.variance, wide.entropy()]
        exact_slope = jax.grad(lambda d: d.log_prob(np.float64(x)))(wide)._logits
    found = [d.log_prob(x), d.mean, d.variance, d.entropy()]
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(
        jax.grad(lambda d: d.log_prob(x))(d)._logits, exact_slope, rtol=2e-5, atol=1e-7
    )


def test_continuous_bernoulli_parameters_and_lims() -> None:
    probs, x = 0.7, 0.2
    one, other = dist.ContinuousBernoulli(probs), dist.ContinuousBernoulli(logits=special.logit(probs))
    np.testing.assert_allclose(one.log_prob(x), other.log_prob(x), rtol=1e-6)
    np.testing.assert_allclose([one.logits, other.probs], [special.logit(probs), probs], rtol=1e-6)
    pyro = dist.ContinuousBernoulli(probs, lims=(0.499, 0.501))
    np.testing.assert_allclose(pyro.log_prob(x), one.log_prob(x), rtol=1e-6)
    # Far beyond its radius of convergence the series is wrong, and so its range is seen to be used.
    wild = dist.ContinuousBernoulli(0.9999, lims=(1e-6, 1 - 1e-6))
    assert abs(wild.log_prob(x) - dist.ContinuousBernoulli(0.9999).log_prob(x)) > 0.1
    assert jax.jit(lambda d: d)(pyro).lims == (0.499, 0.501)
    with pytest.raises(ArgumentError, match="exactly one of probs, logits"):
        dist.ContinuousBernoulli(0.3, 0.1)
    with pytest.raises(ArgumentError, match="lims"):
        dist.ContinuousBernoulli(0.3, lims=(0.6, 0.4))
    sure = dist.ContinuousBernoulli(np.array([0.0, 1.0]))
    assert np.all(np.isfinite(sure.log_prob(np.array([0.5, 0.5]))))


def test_lower_truncated_power_law_is_a_pareto() -> None:
    x = np.float32([2.0, 3.0, 1e6])
    np.testing.assert_allclose(
        dist.LowerTruncatedPowerLaw(-2.5, 2.0).log_prob(x), dist.Pareto(2.0, 1.5).log_prob(x), rtol=1e-6
    )
    with pytest.raises(ParameterError, match="alpha"):
        dist.LowerTruncatedPowerLaw(-1.0, 2.0)
    for make in (lambda: dist.LogUniform(2.0, 1.0), lambda: dist.DoublyTruncatedPowerLaw(1.0, 2.0, 2.0)):
        with pytest.raises(ParameterError, match="high"):
            make()


HEAVY = {
    "cauchy": dist.Cauchy(0.0, 1e3),
    "half_cauchy": dist.HalfCauchy(1e3),
    "levy": dist.Levy(1e6, 1.0),
    "pareto": dist.Pareto(1e3, 0.05),
    "weibull": dist.Weibull(1e3, 0.02),
    "dagum": dist.Dagum(0.02, 0.05, 1e3),
    "generalized_pareto": dist.GeneralizedPareto(0.0, 1.0, 20.0),
    "generalized_pareto_bounded": dist.GeneralizedPareto(1.0, 1.0, -3.0),
    "kumaraswamy": dist.Kumaraswamy(0.02, 0.02),
    "gompertz": dist.Gompertz(1e-6, 1e-3),
}


@pytest.mark.parametrize("d", HEAVY.values(), ids=HEAVY)
def test_draws_of_extreme_laws_are_finite_and_inside(d: Any) -> None:
    ends = jnp.float32([np.finfo(np.float32).tiny, 2.0**-23, 0.5, 1 - 2.0**-23, 1 - 2.0**-24])

    def draws(d: Any) -> Any:
        return d.from_noise(ends)

    x = draws(d)
    assert np.all(np.isfinite(x)) and np.all(d.support(x)), x
    assert np.all(np.diff(x) >= 0) or np.all(np.diff(x) <= 0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(jax.jacfwd(draws)(d)))


def test_folding() -> None:
    d = dist.FoldedDistribution(dist.Uniform(1.0, np.array([2.0, 3.0])))
    assert d.batch_shape == (2,) and d.noise_spec is not None and d.has_rsample
    value, slopes = jax.value_and_grad(lambda d: d.log_prob(np.float32([5.0, 2.5])).sum())(d)
    assert value == -np.inf and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    x = np.float32([0.0, 0.5, 4.0])
    np.testing.assert_allclose(
        dist.FoldedDistribution(dist.Normal(0.0, 2.0)).log_prob(x),
        dist.HalfNormal(2.0).log_prob(x),
        rtol=1e-6,
    )
    far = dist.FoldedDistribution(dist.Normal(0.0, 1.0)).log_survival_function(30.0)
    np.testing.assert_allclose(far, np.log(2) + stats.norm.logsf(30.0), rtol=1e-5)
    with pytest.raises(ShapeError, match="single numbers"):
        dist.FoldedDistribution(dist.Normal(np.zeros(2), 1.0).to_event(1))
    with pytest.raises(ArgumentError, match="has not an icdf"):
        d.icdf(0.5)
    with pytest.raises(ArgumentError, match="has not a mean"):
        d.mean  # noqa: B018


def test_logistic_normal_shapes_and_parameters() -> None:
    d = dist.LogisticNormal(np.zeros((4, 1, 2)), np.ones((3, 2)))
    assert d.batch_shape == (4, 3) and d.event_shape == (3,) and d.loc.shape == (4, 3, 2)
    np.testing.assert_array_equal(d.scale, np.ones((4, 3, 2)))
    assert d.noise_spec is not None and d.noise_spec.shape == (4, 3, 2)
    with pytest.raises(ParameterError, match="scale"):
        dist.LogisticNormal(np.zeros(2), np.array([1.0, -1.0]))
    with pytest.raises(ShapeError):
        dist.LogisticNormal(0.0, 1.0)


def test_sides_of_asymmetric_laplace() -> None:
    d = dist.AsymmetricLaplace(1.0, 2.0, 0.5)
    np.testing.assert_allclose([d.left_scale, d.right_scale], [1.0, 4.0])
    quantile = dist.AsymmetricLaplaceQuantile(1.0, 2.0, 0.2)
    np.testing.assert_allclose([quantile.left_scale, quantile.right_scale], [2.5, 10.0])
    np.testing.assert_allclose(quantile.icdf(0.2), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", ["cdf", "log_cdf", "survival_function", "log_survival_function"])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_distribution_functions_keep_half_precision(name: str, dtype: Any) -> None:
    one, two = np.asarray(1.0, dtype), np.asarray(2.0, dtype)
    x = jnp.asarray(1.5, dtype)
    for d in (
        dist.Normal(one, two),
        dist.LogNormal(one, two),
        dist.HalfNormal(two),
        dist.SoftAsymmetricLaplace(one, two, one, one),
        dist.Levy(one, two),
        dist.Dagum(one, two, two),
        dist.ContinuousBernoulli(np.asarray(0.4, dtype)),
    ):
        assert jax.eval_shape(lambda x: getattr(d, name)(x), x).dtype == dtype, d  # noqa: B023
