"""Draws of every row: what noise makes of them, the law that they follow, their pathwise derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_case import DistCase, Reference
from distribution_cases import every, every_discrete
from scipy import stats

from svijax.base import draw_noise

GRID = (np.arange(4000) + 0.5) / 4000


@every(lambda case: case.make().noise_spec is not None, costly=True)
def test_the_density_in_terms_of_the_noise(case: DistCase, x64: None, getkey: Any) -> None:
    d = case.make()
    noise = draw_noise(getkey(), d.noise_spec, (50,))
    value, log_prob = d.from_noise_with_log_prob(noise)
    np.testing.assert_allclose(value, d.from_noise(noise), rtol=1e-12)
    np.testing.assert_allclose(log_prob, d.log_prob(value), rtol=1e-8, atol=1e-8)
    assert value.shape == d.shape((50,)) and log_prob.shape == (50, *d.batch_shape)
    assert np.all(d.support(value))


@every(lambda case: case.make().noise_spec is not None and case.make().noise_spec.size > 0, costly=True)
def test_the_ends_of_the_noise_are_draws(case: DistCase) -> None:
    d = case.make()
    spec = d.noise_spec
    tiny, eps = float(jnp.finfo(np.float32).tiny), float(jnp.finfo(np.float32).eps)
    ends = (tiny, 1 - eps) if spec.kind == "uniform" else (-6.0, 6.0)
    for end in ends:
        value = d.from_noise(jnp.full(spec.shape, end, spec.dtype))
        assert np.all(np.isfinite(value)), end
        slopes = jax.jacfwd(lambda d: d.from_noise(jnp.full(spec.shape, end, spec.dtype)))(d)  # noqa: B023
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes)), end


@every(lambda case: not case.make().has_rsample and not case.discrete, costly=True)
def test_draws_that_are_not_pathwise_carry_no_derivative(case: DistCase, getkey: Any) -> None:
    key = getkey()
    params = {name: jnp.asarray(param, jnp.float32) for name, param in case.params.items()}
    slopes = jax.grad(lambda p: jnp.sum(case.family(**p, **case.fixed).sample(key)))(params)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(slopes))


def _ks_p_value(draws: Any, law: Reference) -> float:
    """Kolmogorov and Smirnov's test, its distance taken at many quantiles of the law."""
    q = GRID
    below = np.searchsorted(np.sort(np.asarray(draws, np.float64)), law.icdf(q), side="right")  # type: ignore[misc]
    return float(stats.kstwobign.sf(np.sqrt(len(draws)) * np.max(np.abs(below / len(draws) - q))))


@pytest.mark.slow
@every(lambda case: not case.discrete and case.has_laws)
def test_draws_follow_the_density_and_a_small_change_is_seen(case: DistCase, getkey: Any) -> None:
    key, n = getkey(), 1_000_000
    draws = case.make().sample(key, (n,))
    assert np.all(case.make().support(draws[:1000]))
    laws = case.laws()
    for statistic, law in laws:
        assert _ks_p_value(statistic(draws), law) > 1e-3 / len(laws)
    if case.bump:
        other = case.make(**{case.bump: case.bumped})
        draws = other.sample(key, (n,))
        assert min(_ks_p_value(statistic(draws), law) for statistic, law in laws) < 1e-3


@every(lambda case: not case.discrete and case.has_laws, costly=True)
def test_a_few_draws_follow_the_density(case: DistCase, getkey: Any) -> None:
    draws = case.make().sample(getkey(), (10_000,))
    laws = case.laws()
    for statistic, law in laws:
        assert _ks_p_value(statistic(draws), law) > 1e-3 / len(laws)


def _chi_square_p_value(draws: Any, law: Reference, cells: Any) -> float:
    """Chi-square test of the counts in ``cells``, and of what is left over."""
    draws = np.asarray(draws)
    n, masses = len(draws), np.exp(law.log_prob(cells))  # type: ignore[misc]
    seen = np.array([np.count_nonzero(draws == cell) for cell in cells])
    seen, expected = np.append(seen, n - seen.sum()), n * np.append(masses, max(1 - masses.sum(), 0.0))
    # Cells that expect few draws are put together.
    few = expected < 10
    seen, expected = (np.append(x[~few], x[few].sum()) for x in (seen, expected))
    if expected[-1] < 1e-6:
        if seen[-1] > 0:
            return 0.0
        seen, expected = seen[:-1], expected[:-1]
    return float(stats.chi2(max(len(seen) - 1, 1)).sf(np.sum((seen - expected) ** 2 / expected)))


def _discrete_p_value(case: DistCase, draws: Any) -> float:
    laws, values = case.laws(), []
    for statistic, law in laws:
        cells = (
            case.observations()
            if law.icdf is None
            else np.arange(int(law.icdf(1e-6)), int(law.icdf(0.999)) + 1)
        )
        values.append(_chi_square_p_value(statistic(draws), law, np.unique(cells)))
    return min(values) * len(laws)


@every(lambda case: case.discrete and case.has_laws, costly=True)
def test_a_few_counts_follow_the_masses(case: DistCase, getkey: Any) -> None:
    assert _discrete_p_value(case, case.make().sample(getkey(), (10_000,))) > 1e-3


@pytest.mark.slow
@every(lambda case: case.discrete and case.has_laws)
def test_counts_follow_the_masses_and_a_small_change_is_seen(case: DistCase, getkey: Any) -> None:
    key, n = getkey(), 1_000_000
    assert _discrete_p_value(case, case.make().sample(key, (n,))) > 1e-3
    if case.bump:
        other = case.make(**{case.bump: case.bumped})
        assert _discrete_p_value(case, other.sample(key, (n,))) < 1e-3


@every(lambda case: case.make().has_rsample and case.pathwise == "quantile" and case.scalar, costly=True)
def test_draws_move_along_their_quantiles(case: DistCase, x64: None, getkey: Any) -> None:
    key = getkey()
    params = {name: np.float64(value) for name, value in case.params.items()}

    def draw(p: Any) -> Any:
        return case.family(**p, **case.fixed, validate_args=False).sample(key, (5,))

    draws, truth = np.asarray(draw(params)), case.truth()
    q, slopes = truth.cdf(draws), jax.jacfwd(draw)(params)  # type: ignore[misc]
    for name, value in params.items():
        h = 1e-5 * max(abs(value), 1.0)
        up, down = (case.truth(**{name: value + s * h}).icdf(q) for s in (1, -1))  # type: ignore[misc]
        np.testing.assert_allclose(slopes[name], (up - down) / (2 * h), rtol=1e-5, atol=1e-6, err_msg=name)


def _bounded(x: Any, law: Reference, xp: Any = np) -> Any:
    """An odd and an even bounded function of the statistic: one moves with location, one with scale."""
    low, middle, high = (float(end) for end in law.icdf(np.array([0.25, 0.5, 0.75])))  # type: ignore[misc]
    odd = xp.tanh((x - middle) / (high - low))
    return xp.stack([odd, odd * odd])


@every(lambda case: case.make().has_rsample and case.pathwise == "expectation" and case.has_laws, costly=True)
def test_pathwise_derivatives_of_expectations_and_two_per_cent_is_seen(case: DistCase, getkey: Any) -> None:
    """d/dp E f(X) towards the bumped parameter: by draws, and by differences of the integral over the quantiles."""
    key, n, name = getkey(), 200_000, case.bump
    at = np.asarray(case.params[name], np.float64)
    direction = case.bumped - at
    rest = {other: value for other, value in {**case.params, **case.fixed}.items() if other != name}
    ahead, behind = (case.laws(**{name: at + s * 0.05 * direction}) for s in (1, -1))
    seen = False
    for (statistic, law), (_, up), (_, down) in zip(case.laws(), ahead, behind):

        def one(p: Any, statistic: Any = statistic, law: Any = law) -> Any:
            draws = case.family(**{name: p}, **rest, validate_args=False).sample(key, (n,))
            return _bounded(statistic(draws), law, jnp)

        _, slopes = jax.jvp(one, (jnp.asarray(at, jnp.float32),), (jnp.asarray(direction, jnp.float32),))
        slopes = np.asarray(slopes, np.float64)
        ends = [_bounded(other.icdf(GRID), law).mean(axis=1) for other in (up, down)]  # type: ignore[misc]
        exact = (ends[0] - ends[1]) / 0.1
        error = slopes.std(axis=1, ddof=1) / np.sqrt(n)
        assert np.all(np.isfinite(slopes))
        assert np.all(abs(slopes.mean(axis=1) - exact) < 4.5 * error + 1e-7), (
            slopes.mean(axis=1),
            exact,
            error,
        )
        seen = seen or np.any(0.02 * abs(exact) > 4.5 * error)
    assert seen or not case.sharp, "2 % of the derivative could not be seen"


@every_discrete
def test_discrete_draws_are_integers_of_the_right_shape(case: DistCase, getkey: Any) -> None:
    d = case.make()
    draws = d.sample(getkey(), (7,))
    assert draws.shape == d.shape((7,)) and draws.dtype == d.dtype
    assert np.all(d.support(draws))


@every(lambda case: case.make().has_rsample and case.params, costly=True)
def test_pathwise_families_have_a_derivative_in_every_parameter(case: DistCase, getkey: Any) -> None:
    key = getkey()
    params = {name: jnp.asarray(param, jnp.float32) for name, param in case.params.items()}

    def draw(p: Any) -> Any:
        return case.family(**p, **case.fixed, validate_args=False).sample(key, (20,))

    for name, leaf in jax.jacfwd(draw)(params).items():
        assert np.all(np.isfinite(leaf)), name
        assert np.any(np.asarray(leaf) != 0), f"no draw moves with {name}"
