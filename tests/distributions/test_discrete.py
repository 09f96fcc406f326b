"""Discrete families: large counts in single precision, corners, options, hard draws with soft derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError


def _exact(value: Any) -> Any:
    return mp.mpf(float(np.float32(value)))


def _log_beta(a: Any, b: Any) -> Any:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def _log_choose(n: Any, k: Any) -> Any:
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def _poisson(k: Any, rate: Any) -> Any:
    return k * mp.log(rate) - rate - mp.loggamma(k + 1)


def _binomial(k: Any, total_count: Any, probs: Any) -> Any:
    n = total_count
    return _log_choose(n, k) + k * mp.log(probs) + (n - k) * mp.log(1 - probs)


def _negative_binomial(k: Any, r: Any, p: Any) -> Any:
    return mp.loggamma(k + r) - mp.loggamma(r) - mp.loggamma(k + 1) + k * mp.log(p) + r * mp.log(1 - p)


def _beta_binomial(k: Any, a: Any, b: Any, n: Any) -> Any:
    return _log_choose(n, k) + _log_beta(k + a, n - k + b) - _log_beta(a, b)


def _beta_negative_binomial(k: Any, a: Any, b: Any, n: Any) -> Any:
    joint = mp.loggamma(n + k) - mp.loggamma(k + 1) - mp.loggamma(n)
    return joint + _log_beta(a + k, b + n) - _log_beta(a, b)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


# family, exact log mass of (k, *parameters), parameters at a scale, mean and deviation of the counts
LARGE: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[[float], Any]]] = {
    "poisson": (dist.Poisson, _poisson, lambda s: (0.73 * s,)),
    "binomial": (dist.Binomial, _binomial, lambda s: (round(1.3 * s), 0.3)),
    "binomial_high": (dist.Binomial, _binomial, lambda s: (round(1.3 * s), 0.77)),
    "binomial_rare": (dist.Binomial, _binomial, lambda s: (round(1.3 * s), 1e-3)),
    "negative_binomial": (dist.NegativeBinomial, _negative_binomial, lambda s: (0.7 * s, 0.45)),
    "negative_binomial_wide": (dist.NegativeBinomial, _negative_binomial, lambda s: (2.7, 1 - 3 / s)),
    "gamma_poisson": (
        dist.GammaPoisson,
        lambda k, c, rate: _negative_binomial(k, c, 1 / (1 + rate)),
        lambda s: (0.5 * s, 0.8),
    ),
    "negative_binomial_2": (
        dist.NegativeBinomial2,
        lambda k, mean, c: _negative_binomial(k, c, mean / (mean + c)),
        lambda s: (0.9 * s, 50.3),
    ),
    "beta_binomial": (dist.BetaBinomial, _beta_binomial, lambda s: (0.7 * s, 1.3 * s, round(1.1 * s))),
    "beta_binomial_wide": (dist.BetaBinomial, _beta_binomial, lambda s: (2.5, 120.0, round(1.1 * s))),
    "beta_negative_binomial": (
        dist.BetaNegativeBinomial,
        _beta_negative_binomial,
        lambda s: (0.7 * s, 1.3 * s, 0.9 * s),
    ),
}


@pytest.mark.parametrize("scale", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("name", LARGE)
def test_large_counts_keep_their_digits_in_single_precision(name: str, scale: float) -> None:
    family, log_mass, parameters = LARGE[name]
    mp.mp.dps = 50
    at = parameters(scale)
    with np.errstate(over="ignore"):
        d = family(*(p if isinstance(p, int) else np.float32(p) for p in at))
    mean, deviation = float(d.mean), float(d.variance) ** 0.5
    k = np.round(np.maximum(mean + deviation * np.array([-5, -1, 0, 0.5, 3, 30]), 0.0))
    k = np.minimum(k, at[2] if "beta_binomial" in name else at[0] if family is dist.Binomial else 1.6e7)
    exact = [float(log_mass(_exact(x), *map(_exact, at))) for x in k]
    for value in (k.astype(np.float32), k.astype(np.int32)):
        found = np.asarray(jax.jit(lambda d, x: d.log_prob(x))(d, value), np.float64)
        np.testing.assert_array_less(np.abs(found - exact) / np.maximum(1, np.abs(exact)), 1e-5)
    slopes = jax.grad(lambda d: d.log_prob(k.astype(np.float32)).sum(), allow_int=True)(d)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slopes) if x.dtype == np.float32)


@pytest.mark.parametrize("count", [1e3, 1e5])
def test_large_counts_by_logits(count: float) -> None:
    # Beyond this the rounding of the probability that a logit stands for is seen.
    mp.mp.dps = 50
    n, k = int(count), round(0.7 * count)
    for logit in (0.8472978, -3.2, 9.1):
        p = _sigmoid(_exact(logit))
        exact = float(_binomial(_exact(k), _exact(n), p))
        found = float(dist.Binomial(n, logits=np.float32(logit)).log_prob(k))
        assert abs(found - exact) <= 1e-5 * max(1, abs(exact))
        exact = float(_negative_binomial(_exact(k), _exact(n), p))
        found = float(dist.NegativeBinomial(float(n), logits=np.float32(logit)).log_prob(k))
        assert abs(found - exact) <= 1e-5 * max(1, abs(exact))


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_logits_whose_probability_underflows(logit: float) -> None:
    sign, log_choose = np.sign(logit), np.log(10.0)
    cases = [
        (lambda x: dist.Binomial(5, logits=x).log_prob(3), -200 * (3 if sign < 0 else 2) + log_choose),
        (
            lambda x: dist.NegativeBinomial(2.0, logits=x).log_prob(3),
            -200 * (3 if sign < 0 else 2) + np.log(4),
        ),
        (
            lambda x: dist.Multinomial(5, logits=jnp.stack([x, 0 * x])).log_prob(np.array([3, 2])),
            -200 * (3 if sign < 0 else 2) + log_choose,
        ),
        (lambda x: dist.Geometric(logits=x).log_prob(3), -200.0 if sign < 0 else -600.0),
        (lambda x: dist.Bernoulli(logits=x).log_prob(1), -200.0 if sign < 0 else 0.0),
    ]
    for log_prob, exact in cases:
        found, slope = jax.value_and_grad(log_prob)(jnp.float32(logit))
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)
        assert np.isfinite(slope)
        np.testing.assert_allclose(slope, np.round(slope), atol=1e-6)


@pytest.mark.parametrize(
    "log_prob, exact",
    [
        (lambda k: dist.Poisson(2.5).log_prob(k), np.log(2.5) + np.euler_gamma),
        (lambda k: dist.Binomial(3, 0.25).log_prob(k), 11 / 6 + np.log(1 / 3)),
        (lambda k: dist.GammaPoisson(2.0, 3.0).log_prob(k), special.digamma(2) + np.euler_gamma - np.log(4)),
        (
            lambda k: dist.BetaBinomial(2.0, 3.0, 4).log_prob(k),
            special.digamma(5) + np.euler_gamma + special.digamma(2) - special.digamma(7),
        ),
    ],
    ids=["poisson", "binomial", "gamma_poisson", "beta_binomial"],
)
def test_derivatives_in_a_count_of_zero(log_prob: Any, exact: float) -> None:
    np.testing.assert_allclose(jax.grad(log_prob)(0.0), exact, rtol=1e-5)


@pytest.mark.parametrize(
    "family, at, possible, impossible",
    [
        (dist.Bernoulli, 0.0, 0, 1),
        (dist.Bernoulli, 1.0, 1, 0),
        (lambda p: dist.Binomial(4, p), 0.0, 0, 2),
        (lambda p: dist.Binomial(4, p), 1.0, 4, 2),
        (lambda p: dist.NegativeBinomial(2.0, p), 0.0, 0, 2),
        (lambda m: dist.NegativeBinomial2(m, 2.0), 0.0, 0, 2),
        (lambda p: dist.Categorical(jnp.stack([p, 1 - p])), 0.0, 1, 0),
        (lambda p: dist.OneHotCategorical(jnp.stack([p, 1 - p])), 0.0, [0, 1], [1, 0]),
        (lambda p: dist.Multinomial(3, jnp.stack([p, 1 - p])), 0.0, [0, 3], [1, 2]),
    ],
)
def test_certain_and_impossible_values(family: Any, at: float, possible: Any, impossible: Any) -> None:
    def log_prob(p: Any, value: Any) -> Any:
        return family(p).log_prob(np.asarray(value))

    found, slope = jax.value_and_grad(log_prob)(at, possible)
    assert found == 0 and np.isfinite(slope) and slope != 0
    assert jax.value_and_grad(log_prob)(at, impossible) == (-np.inf, 0)
    # A masked entry takes a value of the support, which may be impossible.
    masked = jax.grad(lambda p: family(p).mask(np.array(False)).log_prob(np.asarray(impossible)))(at)
    assert masked == 0


def test_hard_draws_take_the_derivatives_of_relaxed_ones(getkey: Any) -> None:
    logits, t = np.array([0.3, -1.0, 2.0], np.float32), 0.7
    pairs: list[tuple[Any, Any]] = [
        (dist.RelaxedBernoulliStraightThrough, dist.RelaxedBernoulli),
        (dist.RelaxedOneHotCategoricalStraightThrough, dist.RelaxedOneHotCategorical),
    ]
    for hard, soft in pairs:
        noise = jax.random.uniform(getkey(), (50, 3), minval=1e-6)

        def draw(family: Any, t: Any, logits: Any, noise: Any = noise) -> Any:
            return family(t, logits=logits).from_noise(noise)

        x, y = draw(hard, t, logits), draw(soft, t, logits)
        assert np.all((x == 0) | (x == 1)) and x.dtype == np.float32
        assert np.all(x == (y > 0.5)) if hard is pairs[0][0] else np.all(x.argmax(-1) == y.argmax(-1))
        for argument in (1, 2):
            slopes = [jax.jacfwd(draw, argument)(family, t, logits) for family in (hard, soft)]
            np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-6)
            assert np.any(slopes[0] != 0)
        # The law of the hard draws is discrete, at any temperature.
        d = hard(t, logits=logits)
        value, log_prob = d.from_noise_with_log_prob(noise)
        family = dist.Bernoulli if hard is pairs[0][0] else dist.OneHotCategorical
        assert d.has_rsample and d.is_discrete
        np.testing.assert_allclose(log_prob, family(logits=logits).log_prob(value), rtol=1e-5)


def test_straight_through_draws_take_the_derivatives_of_their_mean(getkey: Any) -> None:
    probs, key = np.array([0.2, 0.5, 0.3], np.float32), getkey()
    d = dist.OneHotCategoricalStraightThrough(probs)
    slopes = jax.jacfwd(lambda p: dist.OneHotCategoricalStraightThrough(p).sample(key, (4,)))(probs)
    np.testing.assert_array_equal(slopes, np.broadcast_to(np.eye(3), (4, 3, 3)))
    assert d.has_rsample and not dist.OneHotCategorical(probs).has_rsample
    # Through a log mass that is linear in the draw the derivative goes on.
    prior = dist.OneHotCategorical(np.array([0.1, 0.1, 0.8]))
    slope = jax.grad(lambda x: prior.log_prob(x))(jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(slope, np.log([0.1, 0.1, 0.8]), rtol=1e-6)


@pytest.mark.parametrize("bound", [None, 9])
def test_multinomial_counts_that_are_traced(bound: int | None, getkey: Any) -> None:
    probs, counts, key = np.array([0.2, 0.5, 0.3]), jnp.array([0, 4, 9]), getkey()
    families = [
        lambda n: dist.Multinomial(n, probs, total_count_max=bound),
        lambda n: dist.DirichletMultinomial(10 * probs, n, total_count_max=bound),
    ]
    for family in families:

        def draw(n: Any, family: Any = family) -> Any:
            return family(n).sample(key, (2000,))

        x = jax.jit(draw)(counts)
        assert x.shape == (2000, 3, 3) and x.dtype == np.int32
        np.testing.assert_array_equal(x.sum(-1), np.broadcast_to(counts, (2000, 3)))
        np.testing.assert_allclose(x.mean(0), np.outer(counts, probs), atol=0.25)
    # With a bound the counts are sums over draws, and without one they need a loop over the classes.
    text = str(jax.make_jaxpr(lambda n: families[0](n).sample(key, (2000,)))(counts))
    assert ("scan" in text) == (bound is None)


def test_multinomial_bound_is_held_against_the_counts() -> None:
    with pytest.raises(ParameterError) as caught:
        dist.Multinomial(12, np.array([0.5, 0.5]), total_count_max=10)
    assert str(caught.value) == (
        "Multinomial: total_count is above total_count_max.\n"
        "  expected: at most 10\n"
        "  got:      12\n"
        "  fix:      pass a larger total_count_max, or none."
    )
    with pytest.raises(ParameterError, match="DirichletMultinomial: total_count is above"):
        dist.DirichletMultinomial(np.ones(2), 12, total_count_max=10)
    dist.Multinomial(12, np.array([0.5, 0.5]), total_count_max=10, validate_args=False)


def test_sparse_counts_cost_work_for_those_above_zero_only() -> None:
    value = np.array([0, 0, 3, 0, 0, 0, 1, 0])
    rate = jnp.linspace(0.5, 4.0, 8)

    def log_prob(rate: Any, sparse: bool) -> Any:
        return dist.Poisson(rate, is_sparse=sparse).log_prob(value)

    np.testing.assert_allclose(log_prob(rate, True), log_prob(rate, False), rtol=1e-6)
    np.testing.assert_allclose(*(jax.jacrev(log_prob)(rate, sparse) for sparse in (True, False)), rtol=1e-5)
    jaxprs = [str(jax.make_jaxpr(lambda r, s=sparse: log_prob(r, s))(rate)) for sparse in (True, False)]
    assert ":f32[8] = log" not in jaxprs[0] and ":f32[2] = log" in jaxprs[0]
    assert ":f32[8] = log" in jaxprs[1]
    traced = jax.jit(lambda x: dist.Poisson(rate, is_sparse=True).log_prob(x))(value)
    np.testing.assert_allclose(traced, log_prob(rate, False), rtol=1e-6)
    assert dist.Poisson(rate, is_sparse=True).log_prob(np.array([-1] * 8))[0] == -np.inf


def test_quadrature_has_as_many_points_as_it_is_told() -> None:
    at = (3.0, 0.5, 0.9)
    coarse, fine, finer = (
        float(dist.LogNormalNegativeBinomial(*at, num_quad_points=n).log_prob(40)) for n in (2, 24, 32)
    )
    assert abs(fine - finer) < 1e-3 < abs(coarse - fine)
    with pytest.raises(ArgumentError, match="one point at least"):
        dist.LogNormalNegativeBinomial(*at, num_quad_points=0)


def test_quantiles_of_steps() -> None:
    q = np.array([0.0, 1e-3, 0.2, 0.25, 0.5, 0.75, 0.875, 0.999])
    for p in (0.5, 0.3, 1e-3):
        exact = np.maximum(stats.geom(p, loc=-1).ppf(q), 0)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(dist.Geometric(np.float64(p)).icdf(q), exact)
    found = dist.DiscreteUniform(-3, 4).icdf(q)
    np.testing.assert_array_equal(found, np.maximum(stats.randint(-3, 5).ppf(q), -3))
    assert found.dtype == np.int32 and dist.Geometric(1.0).icdf(0.9) == 0


def test_counts_beyond_the_integers_stop_at_their_end(getkey: Any) -> None:
    top = np.iinfo(np.int32).max
    assert dist.Geometric(1e-30).sample(getkey()) == top
    assert dist.Geometric(np.zeros(3)).sample(getkey()).tolist() == [top] * 3
    for d in (
        dist.BetaNegativeBinomial(5.0, 0.05, 3.0),
        dist.GammaPoisson(1.0, 1e-20),
        dist.NegativeBinomial2(1e15, 0.1),
        dist.Poisson(1e12),
    ):
        x = np.asarray(d.sample(getkey(), (1000,)))
        assert np.all(x >= 0) and x.max() > 1e9


@pytest.mark.parametrize("x64_on, expected", [(False, np.int32), (True, np.int64)])
def test_draws_are_integers_of_the_default_size(x64_on: bool, expected: Any, getkey: Any) -> None:
    with jax.enable_x64(x64_on):
        for d in (
            dist.Geometric(0.3),
            dist.Multinomial(300, np.array([0.5, 0.5])),
            dist.BetaBinomial(1.0, 2.0, 5),
            dist.NegativeBinomial2(2.0, 3.0),
            dist.OneHotCategorical(np.array([0.5, 0.5])),
            dist.OrderedLogistic(0.0, np.array([0.0, 1.0])),
            dist.DiscreteUniform(0, 3),
        ):
            assert d.sample(getkey()).dtype == d.dtype == expected, d


def test_classes_of_probability_zero_are_not_drawn(getkey: Any) -> None:
    probs = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    d = dist.OneHotCategoricalStraightThrough(probs)
    for noise in (0.0, np.float32(0.25), np.float32(1 - 6e-8)):
        assert probs[np.argmax(d.from_noise(jnp.float32(noise)))] > 0
    counts = np.asarray(dist.Multinomial(40, probs).sample(getkey(), (100,)))
    assert np.all(counts[..., probs == 0] == 0)
    counts = np.asarray(dist.Multinomial(400, probs).sample(getkey(), (100,)))
    assert np.all(counts[..., probs == 0] == 0) and np.all(counts.sum(-1) == 400)


def test_classes_under_their_own_names_are_the_family_itself() -> None:
    pairs: list[tuple[Any, Any, dict[str, Any]]] = [
        (dist.BernoulliProbs(0.3), dist.Bernoulli, {}),
        (dist.BinomialLogits(0.3, 5), dist.Binomial, {}),
        (dist.CategoricalLogits(np.zeros(3)), dist.Categorical, {}),
        (dist.GeometricProbs(0.3), dist.Geometric, {}),
        (dist.NegativeBinomialProbs(3.0, 0.3), dist.NegativeBinomial, {}),
        (dist.MultinomialProbs(np.array([0.5, 0.5]), 3, total_count_max=4), dist.Multinomial, {}),
        (dist.OneHotCategoricalLogits(np.zeros(3)), dist.OneHotCategorical, {}),
    ]
    for d, family, _ in pairs:
        assert isinstance(d, family) and type(d)._kl_as is family and family._kl_as is None
        assert len(type(d).arg_constraints) < len(family.arg_constraints)
        again = jax.tree.unflatten(*reversed(jax.tree.flatten(d)))
        assert type(again) is type(d) and again.batch_shape == ()
    assert pairs[5][0].expand((2,)).total_count_max == 4


@pytest.mark.parametrize(
    "ask, text",
    [
        (
            lambda: jax.eval_shape(lambda n: dist.DiscreteUniform(0, n).enumerate_support(), 3),
            "DiscreteUniform has not an enumerable support unless low and high are one number each, known when the "
            "program is traced.\n  fix:      pass low and high as Python integers.",
        ),
        (
            lambda: dist.BetaBinomial(1.0, 1.0, np.array([2, 3])).enumerate_support(),
            "BetaBinomial has not an enumerable support unless total_count is one number known when the program is "
            "traced.\n  fix:      pass total_count as a Python integer.",
        ),
        (
            lambda: dist.BetaBinomial(1.0, 1.0, np.array([2, 3])).entropy(),
            "BetaBinomial has not an enumerable support unless total_count is one number known when the program is "
            "traced.\n  fix:      pass total_count as a Python integer.",
        ),
        (
            lambda: dist.Geometric(0.3).enumerate_support(),
            "Geometric has not an enumerable support.\n  fix:      draw it with sample(key).",
        ),
        (
            lambda: dist.Geometric(0.3).from_noise(0.3),
            "Geometric has not a noise form.\n  fix:      draw it with sample(key).",
        ),
        (
            lambda: dist.BetaNegativeBinomial(1.0, 2.0, 3.0).cdf(3),
            "BetaNegativeBinomial has not a cdf.\n  fix:      count draws of sample(key, (n,)).",
        ),
        (
            lambda: dist.Multinomial(3, np.array([0.5, 0.5])).entropy(),
            "Multinomial has not an entropy in closed form.\n"
            "  fix:      average -log_prob over draws of sample(key, (n,)).",
        ),
        (
            lambda: dist.Empirical(np.zeros((3, 2))).cdf(0.0),
            "Empirical has not a cdf where atoms are arrays.\n  fix:      count draws of sample(key, (n,)).",
        ),
        (
            lambda: dist.Geometric(),
            "Geometric needs exactly one of probs, logits.\n  got:      none of them",
        ),
    ],
)
def test_what_is_lacking_is_said(ask: Any, text: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ask()
    assert str(caught.value) == text


def test_extended_counts_may_be_any_integers() -> None:
    count = np.array([3, -2])
    for d in (dist.ExtendedBinomial(count, 0.4), dist.ExtendedBetaBinomial(2.0, 3.0, count)):
        log_prob = d.log_prob(np.arange(-3, 6)[:, None])
        assert np.all(np.isfinite(log_prob[3:7, 0])) and np.all(log_prob[3:7, 1] == -np.inf)
        assert np.all(log_prob[np.array([0, 1, 2, 7, 8])] == -np.inf) and np.all(d.support(np.arange(-3, 6)))
    with pytest.raises(ParameterError, match="total_count"):
        dist.Binomial(count, 0.4)


def test_empirical_atoms(getkey: Any) -> None:
    atoms = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]])
    d = dist.Empirical(atoms, np.log([0.2, 0.5, 0.3]))
    assert d.event_shape == (2,) and d.batch_shape == () and d.sample_size == 3 and d.is_discrete
    np.testing.assert_allclose(d.log_prob(atoms), np.log([0.5, 0.5, 0.5]), rtol=1e-5)
    assert d.log_prob(np.array([0.0, 3.0])) == -np.inf
    slope = jax.grad(lambda w: dist.Empirical(atoms, w).log_prob(np.array([0.0, 3.0])))(jnp.zeros(3))
    np.testing.assert_array_equal(slope, np.zeros(3))
    np.testing.assert_allclose(d.mean, [1.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(d.variance, [1.0, 1.0], rtol=1e-5)
    x = np.asarray(d.sample(getkey(), (20_000,)))
    assert np.all(d.support(x)) and abs((x[:, 0] == 0).mean() - 0.5) < 0.02
    batched = dist.Empirical(np.arange(12.0).reshape(2, 3, 2), np.zeros((2, 3)))
    assert batched.shape((5,)) == batched.sample(getkey(), (5,)).shape == (5, 2, 2)
    assert batched.enumerate_support().shape == (3, 2, 2)
    assert np.all(np.isfinite(batched.log_prob(batched.sample(getkey(), (5,)))))
    assert batched.expand((4, 2)).sample(getkey()).shape == (4, 2, 2)
    with pytest.raises(ShapeError, match=r"samples \(3, 2\), log_weights \(2,\)"):
        dist.Empirical(atoms, np.zeros(2))
    np.testing.assert_allclose(dist.Empirical(np.arange(4)).cdf(1), 0.5)


def test_unit() -> None:
    d = dist.Unit(np.array([0.5, -1.0]))
    assert d.shape((3,)) == d.sample(jax.random.key(0), (3,)).shape == (3, 2, 0) and d.has_rsample
    np.testing.assert_array_equal(d.log_prob(d.sample(jax.random.key(0), (3,))), [[0.5, -1.0]] * 3)
    assert jax.grad(lambda x: dist.Unit(x).log_prob(np.zeros(0)))(2.0) == 1.0
    assert d.expand((4, 2)).batch_shape == (4, 2)


def test_ordered_classes_far_from_the_predictor() -> None:
    d = dist.OrderedLogistic(0.0, np.array([50.0, 50.5, 51.0], np.float32))
    exact = special.log_expit(-50.0) + np.log(1 - np.exp(-0.5)) + special.log_expit(50.5)
    np.testing.assert_allclose(d.log_prob(1), exact, rtol=1e-6)
    np.testing.assert_allclose(d.log_prob(3), -51.0, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: dist.OrderedLogistic(x, d.cutpoints).log_prob(1))(0.0))
    assert dist.OrderedLogistic(np.zeros((4, 1)), np.zeros((3, 2)) + np.arange(2)).batch_shape == (4, 3)


def test_relaxed_values_on_the_boundary_are_finite() -> None:
    for temperature in (0.3, 1.0, 3.0):
        d = dist.RelaxedBernoulli(temperature, probs=0.3)
        assert np.all(np.isfinite(d.log_prob(np.array([0.0, 1.0]))))
        np.testing.assert_array_equal(d.cdf(np.array([-1.0, 0.0, 1.0, 2.0])), [0, 0, 1, 1])
        for noise in (1.2e-38, 1 - 6e-8):
            x, log_prob = d.from_noise_with_log_prob(np.float32(noise))
            assert 0 < x < 1 and np.isfinite(log_prob)
        y = dist.RelaxedOneHotCategorical(temperature, logits=np.array([0.0, 30.0, -30.0]))
        x, log_prob = y.from_noise_with_log_prob(np.array([1.2e-38, 0.5, 1 - 6e-8], np.float32))
        assert np.all(x > 0) and np.isfinite(log_prob) and np.isfinite(y.log_prob(np.array([0.0, 1.0, 0.0])))
    certain = dist.RelaxedBernoulli(0.5, probs=np.array([0.0, 1.0]))
    np.testing.assert_allclose(certain.from_noise(np.float32([0.5, 0.5])), [0.0, 1.0], atol=1e-6)


def test_many_classes_are_drawn_with_their_probabilities(getkey: Any) -> None:
    probs = np.arange(1, 101.0) / 5050
    counts = np.bincount(np.asarray(dist.Categorical(probs).sample(getkey(), (200_000,))), minlength=100)
    expected = 200_000 * probs
    assert stats.chi2(99).sf(np.sum((counts - expected) ** 2 / expected)) > 1e-3
    half = np.where(np.arange(100) < 50, 0.02, 0.0)
    assert np.asarray(dist.Categorical(half).sample(getkey(), (10_000,))).max() == 49
