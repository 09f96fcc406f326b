"""Hidden Markov models: what the table of distributions cannot say."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import svijax.distributions as dist
from svijax.base import ArgumentError, ParameterError, ShapeError


@pytest.mark.parametrize(
    "steps, expected", [(1, [0.25]), (2, [0.1, 0.3]), (3, [0.0625, 0.125, 0.3125])], ids=["1", "2", "3"]
)
def test_smoothing_between_two_known_states(steps: int, expected: list[float]) -> None:
    # Start in 0, end in 1, see 0 all the time: what -inf forbids has no part in any sum or derivative.
    table = np.array([[0.75, 0.25], [0.25, 0.75]])
    seen = np.stack([table] * steps + [np.eye(2)])
    with np.errstate(divide="ignore"):
        model = dist.DiscreteHMM(np.log([1.0, 0.0]), np.log(table), dist.Categorical(probs=seen))
    assert model.event_shape == (steps + 1,)
    smoothed = model.smooth(np.array([0] * steps + [1])).probs
    np.testing.assert_allclose(smoothed[:, 1], [*expected, 1.0], rtol=1e-5)


def _model(**changes: Any) -> Any:
    params: dict[str, Any] = {
        "initial_logits": np.array([0.3, -0.4, 0.1]),
        "transition_logits": np.array([[1.0, -0.5, 0.0], [0.2, 0.9, -1.0], [0.0, 0.5, 2.0]]),
        "loc": np.array([-1.0, 0.5, 2.0]),
    }
    params.update(changes)
    return dist.DiscreteHMM(
        params["initial_logits"], params["transition_logits"], dist.Normal(params["loc"], 0.7)
    )


def test_filter_and_smooth_are_marginals_of_all_paths(x64: None) -> None:
    model, y = _model(), np.array([0.3, -1.0, 2.0, 0.1])
    initial = special.softmax(model.initial_logits)
    matrix = special.softmax(model.transition_logits[0], axis=-1)
    marginals = np.zeros((4, 3))
    for path in itertools.product(range(3), repeat=5):
        p = initial[path[0]]
        for t in range(4):
            p *= matrix[path[t], path[t + 1]] * stats.norm([-1.0, 0.5, 2.0][path[t + 1]], 0.7).pdf(y[t])
        marginals[range(4), path[1:]] += p
    np.testing.assert_allclose(np.exp(model.log_prob(y)), marginals[0].sum(), rtol=1e-12)
    marginals /= marginals.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.smooth(y).probs, marginals, rtol=1e-10)
    np.testing.assert_allclose(model.filter(y).probs, marginals[-1], rtol=1e-10)
    assert model.smooth(np.stack([y, y])).batch_shape == (2, 4)


def _forward(initial: Any, transition: Any, seen: Any) -> Any:
    """The sum over paths, one step after the other, in numpy."""
    alpha = special.log_softmax(initial)
    steps = special.log_softmax(transition, axis=-1)
    for t, row in enumerate(seen):
        matrix = steps if steps.ndim == 2 else steps[t]
        alpha = special.logsumexp(alpha[:, None] + matrix, axis=0) + row
    return special.logsumexp(alpha)


@pytest.mark.parametrize("steps", [1, 7, pytest.param(1000, marks=pytest.mark.slow)])
def test_pairs_equal_the_recursion(steps: int, x64: None) -> None:
    rng = np.random.default_rng(steps)
    initial, transition, y = rng.normal(size=3), rng.normal(size=(steps, 3, 3)), rng.normal(size=steps)
    model = _model(initial_logits=initial, transition_logits=transition)
    expected = _forward(initial, transition, stats.norm([-1.0, 0.5, 2.0], 0.7).logpdf(y[:, None]))
    np.testing.assert_allclose(jax.jit(model.log_prob)(y), expected, rtol=1e-12)


def test_a_long_chain_in_single_precision_with_far_observations() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000)
    y[::50] = 60.0
    exact = _forward(
        _model().initial_logits.astype(float),
        _model().transition_logits[0].astype(float),
        stats.norm([-1.0, 0.5, 2.0], np.float32(0.7)).logpdf(np.float32(y).astype(float)[:, None]),
    )

    def log_prob(loc: Any, logits: Any) -> Any:
        return _model(loc=loc, transition_logits=logits).log_prob(np.float32(y))

    args = jnp.array([-1.0, 0.5, 2.0]), jnp.asarray(_model().transition_logits[0])
    value, slopes = jax.jit(jax.value_and_grad(log_prob, (0, 1)))(*args)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, exact, rtol=2e-6)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)


def test_paths_of_tiny_weight_are_not_lost() -> None:
    # Each state is right once and wrong by thousands of nats else; scaled sums of exponentials underflow here.
    with np.errstate(divide="ignore"):
        stay = np.log(np.eye(2))
    model = dist.DiscreteHMM(np.zeros(2), stay, dist.Normal(np.array([0.0, 10.0]), 0.1))
    y = np.array([0.0, 10.0, 0.0, 10.0], np.float32)
    expected = 2 * stats.norm(0, 0.1).logpdf(10.0) + 2 * stats.norm(0, 0.1).logpdf(0.0)
    value, slope = jax.value_and_grad(model.log_prob)(y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.all(np.isfinite(slope))


def test_one_step_models_take_series_of_any_length_and_others_do_not() -> None:
    assert _model().log_prob(np.zeros((5, 7))).shape == (5,)
    assert _model(loc=np.zeros((4, 3))).event_shape == (4,)
    with pytest.raises(ShapeError, match="another length"):
        _model(loc=np.zeros((4, 3))).log_prob(np.zeros(7))
    with pytest.raises(ArgumentError, match=r"numbers of steps differ.*\n.*duration 5"):
        dist.DiscreteHMM(np.zeros(2), np.zeros((4, 2, 2)), dist.Normal(np.zeros(2), 1.0), duration=5)
    with pytest.raises(ShapeError, match="of 2 states"):
        dist.DiscreteHMM(np.zeros(2), np.zeros((2, 2)), dist.Normal(np.zeros(3), 1.0))
    with pytest.raises(ParameterError, match="log_weights"):
        dist.DiscreteHMM(np.full(2, -np.inf), np.zeros((2, 2)), dist.Normal(np.zeros(2), 1.0))


def _tracking(duration: int | None = None, matrix: Any = None, loc: Any = None) -> Any:
    return dist.GaussianHMM(
        dist.Normal(np.zeros(2) if loc is None else loc, 1.5).to_event(1),
        np.array([[0.9, 0.2], [-0.1, 0.7]]) if matrix is None else matrix,
        dist.MultivariateNormal(np.array([0.1, 0.2]), np.array([[0.5, 0.1], [0.1, 0.3]])),
        np.array([[1.0], [0.5]]),
        dist.Normal(np.array([0.2]), 0.6).to_event(1),
        duration,
    )


def _kalman(y: Any) -> tuple[float, Any]:
    """Log density and filtered mean of ``_tracking``, one step after the other, in numpy."""
    f, h = np.array([[0.9, 0.2], [-0.1, 0.7]]).T, np.array([[1.0, 0.5]])
    m, p, total = np.zeros(2), 2.25 * np.eye(2), 0.0
    for row in y:
        m, p = f @ m + [0.1, 0.2], f @ p @ f.T + np.array([[0.5, 0.1], [0.1, 0.3]])
        s = h @ p @ h.T + 0.36
        gap, gain = row - h @ m - 0.2, p @ h.T / s
        total += stats.norm(0, np.sqrt(s[0, 0])).logpdf(gap[0])
        m, p = m + gain @ gap, p - gain @ h @ p
    return total, m


@pytest.mark.parametrize("steps", [1, 7, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_parallel_filter_equals_the_recursion(steps: int, x64: None) -> None:
    y = np.random.default_rng(0).normal(size=(steps, 1)) + 3.0
    total, mean = _kalman(y)
    np.testing.assert_allclose(jax.jit(_tracking().log_prob)(y), total, rtol=1e-10)
    np.testing.assert_allclose(_tracking().filter(y).loc, mean, rtol=1e-10)


@pytest.mark.slow
def test_a_long_series_in_single_precision() -> None:
    y = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)

    def log_prob(loc: Any) -> Any:
        return _tracking(loc=loc).log_prob(y)

    value, slope = jax.jit(jax.value_and_grad(log_prob))(jnp.zeros(2))
    assert value.dtype == np.float32 and np.all(np.isfinite(slope))
    np.testing.assert_allclose(value, _kalman(y.astype(float))[0], rtol=1e-5)


def test_steps_without_noise_are_allowed(x64: None) -> None:
    # A constant state: the covariance of a step is 0, and its inverse does not exist.
    model = dist.GaussianHMM(
        dist.Normal(np.zeros(1), 2.0).to_event(1),
        np.eye(1),
        dist.MultivariateNormal(np.zeros(1), scale_tril=np.zeros((1, 1)), validate_args=False),
        np.eye(1),
        dist.Normal(np.zeros(1), 0.5).to_event(1),
        validate_args=False,
    )
    y = np.array([0.3, 1.0, -2.0, 0.1])
    exact = stats.multivariate_normal(np.zeros(4), 4.0 + 0.25 * np.eye(4)).logpdf(y)
    np.testing.assert_allclose(model.log_prob(y[:, None]), exact, rtol=1e-12)


def _posterior(y: Any) -> tuple[Any, Any]:
    """Mean and covariance of the states (3, 2) given y, by the joint normal law."""
    root, loc = np.zeros((8, 8)), np.zeros(8)
    root[:2, :2] = 1.5 * np.eye(2)
    f, chol = np.array([[0.9, 0.2], [-0.1, 0.7]]).T, np.linalg.cholesky([[0.5, 0.1], [0.1, 0.3]])
    for t in range(0, 6, 2):
        root[t + 2 : t + 4] = f @ root[t : t + 2]
        root[t + 2 : t + 4, t + 2 : t + 4] += chol
        loc[t + 2 : t + 4] = f @ loc[t : t + 2] + [0.1, 0.2]
    seen, prior = np.kron(np.eye(4)[1:], [[1.0, 0.5]]), root @ root.T
    gain = prior @ seen.T @ np.linalg.inv(seen @ prior @ seen.T + 0.36 * np.eye(3))
    mean = loc + gain @ (np.ravel(y) - seen @ loc - 0.2)
    return mean[2:], (prior - gain @ seen @ prior)[2:, 2:]


@pytest.mark.slow
def test_smoothing_and_posterior_draws(x64: None, getkey: Any) -> None:
    y = np.array([[0.5], [-1.0], [2.0]])
    model = _tracking(3)
    mean, covariance = _posterior(y)
    smoothed = model.smooth(y)
    np.testing.assert_allclose(smoothed.loc.ravel(), mean, rtol=1e-10)
    for t in range(3):
        block = covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2]
        np.testing.assert_allclose(smoothed.covariance_matrix[t], block, rtol=1e-9)
    n = 100_000
    draws = model.rsample_posterior(getkey(), y, (n,))
    assert draws.shape == (n, 3, 2)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (np.reshape(draws, (n, 6)) - mean).T)
    assert np.all(np.abs(white.mean(1)) < 4.5 / np.sqrt(n))
    assert np.all(np.abs(np.cov(white) - np.eye(6)) < 4.5 * np.sqrt(2 / n))


def test_the_scale_is_updated_by_the_observations(x64: None) -> None:
    y = np.array([[0.5], [-1.0], [2.0]])
    parts = _tracking(3)
    scaled = dist.GammaGaussianHMM(
        dist.Gamma(2.0, 3.0),
        parts.initial_dist,
        parts.transition_matrix,
        dist.MultivariateNormal(np.array([0.1, 0.2]), np.array([[0.5, 0.1], [0.1, 0.3]])),
        parts.observation_matrix,
        dist.Normal(np.array([0.2]), 0.6).to_event(1),
        duration=3,
    )
    scale, state = scaled.filter(y)
    np.testing.assert_allclose(state.loc, parts.filter(y).loc, rtol=1e-12)
    # log p(y | s) = half n log s - s q / 2 + c, and p(s | y) = p(s) p(y | s) / p(y).
    for s in (0.5, 2.0):
        tracked = dist.GaussianHMM(
            dist.Normal(np.zeros(2), 1.5 / np.sqrt(s)).to_event(1),
            np.array([[0.9, 0.2], [-0.1, 0.7]]),
            dist.MultivariateNormal(np.array([0.1, 0.2]), np.array([[0.5, 0.1], [0.1, 0.3]]) / s),
            np.array([[1.0], [0.5]]),
            dist.Normal(np.array([0.2]), 0.6 / np.sqrt(s)).to_event(1),
        )
        bayes = dist.Gamma(2.0, 3.0).log_prob(s) + tracked.log_prob(y) - scaled.log_prob(y)
        np.testing.assert_allclose(scale.log_prob(s), bayes, rtol=1e-10)


@pytest.mark.slow
def test_independent_series_are_one() -> None:
    base = _tracking(4, loc=np.arange(6.0).reshape(3, 2))
    joint = dist.IndependentHMM(base)
    assert (joint.batch_shape, joint.event_shape, joint.duration) == ((), (4, 3), 4)
    y = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(joint.log_prob(y), base.log_prob(y.T[..., None]).sum(), rtol=1e-6)
    draw = joint.from_noise(jnp.ones(joint.noise_spec.shape))  # type: ignore[union-attr]
    np.testing.assert_allclose(draw, base.from_noise(jnp.ones(base.noise_spec.shape))[..., 0].T)
    assert joint.expand((2,)).log_prob(y).shape == (2,)
    with pytest.raises(ShapeError, match="one observation each"):
        dist.IndependentHMM(dist.Normal(np.zeros(3), 1.0))


@pytest.mark.slow
def test_batches_of_parameters_and_of_series() -> None:
    model = _tracking(4, loc=np.arange(6.0).reshape(3, 2))
    y = np.random.default_rng(0).normal(size=(5, 1, 4, 1)).astype(np.float32)
    found = model.log_prob(y)
    assert found.shape == (5, 3)
    one = [[_tracking(4, loc=loc).log_prob(row[0]) for loc in np.arange(6.0).reshape(3, 2)] for row in y]
    np.testing.assert_allclose(found, one, rtol=1e-5)
    mapped = jax.vmap(lambda d, row: d.log_prob(row), (0, None))(model, y[0, 0])
    np.testing.assert_allclose(mapped, found[0], rtol=1e-5)


def test_misuse_of_the_linear_models_is_named() -> None:
    with pytest.raises(ArgumentError, match="transition_dist is not normal"):
        dist.GaussianHMM(
            dist.Normal(np.zeros(1), 1.0).to_event(1),
            np.eye(1),
            dist.Gamma(np.ones(1), 1.0).to_event(1),
            np.eye(1),
            dist.Normal(np.zeros(1), 1.0).to_event(1),
        )
    with pytest.raises(ShapeError, match="2 hidden and 1 observed"):
        _tracking(matrix=np.eye(3))
    with pytest.raises(ShapeError, match="another length"):
        _tracking(3).log_prob(np.zeros((4, 1)))
