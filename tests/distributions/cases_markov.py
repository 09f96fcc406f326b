"""Rows: hidden Markov models."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats
from truths import dense, entry, law_of

import svijax.distributions as dist


def paths(initial_logits: Any, transition_logits: Any, emit: Any, steps: int) -> Any:
    """log p(y) by enumeration of all paths; ``emit(t, s)`` is log p(y_t | s)."""
    initial = special.log_softmax(initial_logits)
    transition = np.broadcast_to(
        special.log_softmax(transition_logits, axis=-1), (steps, len(initial), len(initial))
    )
    terms = []
    for path in itertools.product(range(len(initial)), repeat=steps + 1):
        log_p = initial[path[0]]
        for t in range(steps):
            log_p = log_p + transition[t, path[t], path[t + 1]] + emit(t, path[t + 1])
        terms.append(log_p)
    return special.logsumexp(terms, axis=0)


def last_state(initial_logits: Any, transition_logits: Any, steps: int) -> Any:
    probs = special.softmax(initial_logits)
    matrices = special.softmax(transition_logits, axis=-1)
    for matrix in np.broadcast_to(matrices, (steps, len(probs), len(probs))):
        probs = probs @ matrix
    return probs


def switching(initial_logits: Any, transition_logits: Any, loc: Any, validate_args: Any = None) -> Any:
    return dist.DiscreteHMM(
        initial_logits, transition_logits, dist.Normal(loc, 0.7), duration=3, validate_args=validate_args
    )


def switching_reference(initial_logits: Any, transition_logits: Any, loc: Any) -> Reference:
    def log_prob(x: Any) -> Any:
        return paths(
            initial_logits, transition_logits, lambda t, s: stats.norm(loc[s], 0.7).logpdf(x[..., t]), 3
        )

    return Reference(log_prob)


def switching_laws(initial_logits: Any, transition_logits: Any, loc: Any) -> Any:
    grid = np.linspace(-6.0, 7.0, 200_001)
    probs = last_state(initial_logits, transition_logits, 3)
    density = sum(p * stats.norm(m, 0.7).pdf(grid) for p, m in zip(probs, loc))
    return [(lambda x: x[..., -1], law_of(grid, density))]


def counting(initial_logits: Any, transition_logits: Any, rate: Any, validate_args: Any = None) -> Any:
    return dist.DiscreteHMM(
        initial_logits, transition_logits, dist.Poisson(rate), validate_args=validate_args
    )


def counting_reference(initial_logits: Any, transition_logits: Any, rate: Any) -> Reference:
    def log_prob(x: Any) -> Any:
        return paths(
            initial_logits, transition_logits, lambda t, s: stats.poisson(rate[s]).logpmf(x[..., t]), 3
        )

    return Reference(log_prob)


def counting_laws(initial_logits: Any, transition_logits: Any, rate: Any) -> Any:
    probs = last_state(initial_logits, transition_logits, 3)
    counts = np.arange(60)
    masses = sum(p * stats.poisson(r).pmf(counts) for p, r in zip(probs, rate))
    return [(lambda x: x[..., -1], stats.rv_discrete(values=(counts, masses / masses.sum())))]


def tracking(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any, validate_args: Any = None) -> Any:
    return dist.GaussianHMM(
        *parts(initial, matrix, step, seen, noise), duration=3, validate_args=validate_args
    )


def parts(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any) -> tuple[Any, ...]:
    xp = jnp if any(isinstance(x, jnp.ndarray) for x in (initial, step, noise)) else np
    half = xp.asarray(0.5 * xp.asarray(step))
    # The second entry's noise is half the first's.
    tril = xp.stack([xp.stack([step, 0 * step]), xp.stack([half, half])])
    return (
        dist.Normal(initial, 1.5).to_event(1),
        matrix,
        dist.MultivariateNormal(0.25, scale_tril=tril, validate_args=False),
        seen,
        dist.Normal(noise * xp.ones(1), 0.6).to_event(1),
    )


def track(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any) -> tuple[Any, Any]:
    """Mean and covariance of three observations, by the covariance of all states."""
    matrices = np.broadcast_to(matrix, (3, 2, 2))
    root, loc = np.zeros((8, 8)), np.zeros(8)
    root[:2, :2], loc[:2] = 1.5 * np.eye(2), initial
    tril = step * np.array([[1.0, 0.0], [0.5, 0.5]])
    for t in range(3):
        old, new = slice(2 * t, 2 * t + 2), slice(2 * t + 2, 2 * t + 4)
        root[new] = matrices[t].T @ root[old]
        root[new, new] += tril
        loc[new] = loc[old] @ matrices[t] + 0.25
    to_seen = np.kron(np.eye(4)[1:], np.asarray(seen).T)
    covariance = to_seen @ root @ root.T @ to_seen.T + 0.36 * np.eye(3)
    return (to_seen @ loc + noise)[:, None], covariance


def scaled_tracking(rate: Any, validate_args: Any = None, **params: Any) -> Any:
    scale = dist.Gamma(2.0, rate, validate_args=validate_args)
    return dist.GammaGaussianHMM(scale, *parts(**params), duration=3, validate_args=validate_args)


def scaled_reference(rate: Any, **params: Any) -> Reference:
    loc, covariance = track(**params)
    d = stats.multivariate_t(loc[:, 0], covariance * rate / 2.0, df=4.0)
    return Reference(lambda x: d.logpdf(x[..., 0]), mean=loc)


def scaled_laws(rate: Any, **params: Any) -> Any:
    loc, covariance = track(**params)
    return [(lambda x: x[..., -1, 0], stats.t(4.0, loc[-1, 0], np.sqrt(covariance[-1, -1] * rate / 2.0)))]


TRACK = {
    "initial": np.array([0.5, -1.0]),
    "matrix": np.array([[0.9, 0.2], [-0.1, 0.7]]),
    "step": np.float64(0.8),
    "seen": np.array([[1.0], [0.5]]),
    "noise": np.float64(0.2),
}
TRACK_VALUES = [[[0.0], [1.0], [-1.0]], [[3.0], [-4.0], [2.0]]]
LOGITS = {"initial_logits": np.array([0.3, -0.4]), "transition_logits": np.array([[1.0, -0.5], [0.2, 0.9]])}
VARYING = np.array([[[1.0, -0.5], [0.2, 0.9]], [[0.0, 0.3], [-0.7, 0.1]], [[0.4, 2.0], [1.0, -1.0]]])

CASES: dict[str, DistCase] = {
    "discrete_hmm": DistCase(
        switching,
        {**LOGITS, "loc": np.array([-1.0, 1.5])},
        switching_reference,
        "loc",
        values=[[0.0, 1.0, -1.0], [3.0, -9.0, 2.0]],
        marginals=switching_laws,
    ),
    "discrete_hmm_of_counts": DistCase(
        counting,
        {**LOGITS, "transition_logits": VARYING, "rate": np.array([1.5, 6.0])},
        counting_reference,
        "rate",
        values=[[0, 1, 3], [30, 2, 0]],
        outside=([1, -1, 3],),
        marginals=counting_laws,
    ),
    "gaussian_hmm": DistCase(
        tracking,
        TRACK,
        lambda **p: dense(*track(**p)),
        "step",
        change=0.1,
        values=TRACK_VALUES,
        marginals=lambda **p: [(lambda x: x[..., -1, 0], entry(*track(**p), -1))],
        pathwise="expectation",
        sharp=False,
        half=False,
    ),
    "gaussian_hmm_of_many_matrices": DistCase(
        tracking,
        {**TRACK, "matrix": np.stack([TRACK["matrix"], 0.5 * TRACK["matrix"].T, np.eye(2)])},
        lambda **p: dense(*track(**p)),
        "matrix",
        change=0.1,
        values=TRACK_VALUES,
        marginals=lambda **p: [(lambda x: x[..., -1, 0], entry(*track(**p), -1))],
        pathwise="expectation",
        sharp=False,
        half=False,
    ),
    "gamma_gaussian_hmm": DistCase(
        scaled_tracking,
        {**TRACK, "rate": np.float64(3.0)},
        scaled_reference,
        "rate",
        values=TRACK_VALUES,
        marginals=scaled_laws,
        pathwise="expectation",
        half=False,
    ),
}
