"""Rows: walks in time."""

from __future__ import annotations

from typing import Any

import numpy as np
from distribution_case import DistCase, Reference
from scipy import stats
from truths import dense, entry

import svijax.distributions as dist

TIMES = np.array([0.0, 0.1, 0.3, 0.35])


def walk(scale: Any, num_steps: int) -> tuple[Any, Any]:
    steps = np.arange(1, num_steps + 1)
    return np.zeros(num_steps), scale**2 * np.minimum(steps[:, None], steps)


def walk_reference(scale: Any, num_steps: int) -> Reference:
    loc, covariance = walk(scale, num_steps)
    entropy = stats.multivariate_normal(loc, covariance).entropy()
    return dense(loc, covariance, variance=np.diag(covariance), entropy=entropy)


def space(transition_matrix: Any, scale_tril: Any, initial_value: Any, num_steps: int) -> tuple[Any, Any]:
    a, n = np.asarray(transition_matrix), len(scale_tril)
    blocks = [
        [
            np.linalg.matrix_power(a, i - j) @ scale_tril if j <= i else np.zeros((n, n))
            for j in range(num_steps)
        ]
        for i in range(num_steps)
    ]
    root = np.block(blocks)
    loc = np.array([np.linalg.matrix_power(a, i + 1) @ initial_value for i in range(num_steps)])
    return loc, root @ root.T


def space_reference(**params: Any) -> Reference:
    loc, covariance = space(**params)
    entropy = stats.multivariate_normal(loc.ravel(), covariance).entropy()
    return dense(loc, covariance, variance=np.diag(covariance).reshape(loc.shape), entropy=entropy)


def ornstein(drift: Any, diffusion: Any, start: Any, validate_args: Any = None) -> Any:
    """dx = -drift x dt + diffusion dw."""
    return dist.EulerMaruyama(
        TIMES, lambda x, t: (-drift * x, diffusion), dist.Normal(0.0, start), validate_args=validate_args
    )


def ornstein_covariance(drift: Any, diffusion: Any, start: Any) -> tuple[Any, Any]:
    rows = [np.array([start, 0.0, 0.0, 0.0])]
    for i, gap in enumerate(np.diff(TIMES)):
        rows.append((1 - gap * drift) * rows[-1] + np.sqrt(gap) * diffusion * np.eye(4)[i + 1])
    root = np.array(rows)
    return np.zeros(4), root @ root.T


def _step_law(drift: Any, diffusion: Any, start: Any) -> Any:
    covariance = ornstein_covariance(drift, diffusion, start)[1]
    return stats.norm(0.0, np.sqrt(covariance[1, 1] + covariance[2, 2] - 2 * covariance[1, 2]))


CASES: dict[str, DistCase] = {
    "random_walk": DistCase(
        dist.GaussianRandomWalk,
        {"scale": 0.7},
        walk_reference,
        "scale",
        fixed={"num_steps": 4},
        values=[[0.1, 0.3, -1.0, 0.2], [3.0, -3.0, 2.0, 9.0]],
        marginals=lambda **p: [(lambda x: x[..., -1], entry(*walk(**p), -1))],
        pathwise="expectation",
    ),
    "state_space": DistCase(
        dist.GaussianStateSpace,
        {
            "transition_matrix": np.array([[0.8, 0.1], [-0.2, 0.9]]),
            "scale_tril": np.array([[1.0, 0.0], [0.3, 0.5]]),
            "initial_value": np.array([1.0, -2.0]),
        },
        space_reference,
        "scale_tril",
        fixed={"num_steps": 3},
        values=[[[0.0, 1.0], [0.5, -0.5], [1.0, 1.0]], [[3.0, -4.0], [5.0, 1.0], [0.0, 0.0]]],
        marginals=lambda **p: [(lambda x: x[..., 2, 1], entry(*space(**p), -1))],
        pathwise="expectation",
    ),
    "euler_maruyama": DistCase(
        ornstein,
        {"drift": 1.3, "diffusion": 0.8, "start": 1.5},
        lambda **p: Reference(dense(*ornstein_covariance(**p)).log_prob),
        "diffusion",
        change=0.05,
        values=[[0.1, 0.3, -0.2, 0.2], [3.0, 2.0, 2.0, 1.0]],
        marginals=lambda **p: [
            (lambda x: x[..., -1], entry(*ornstein_covariance(**p), -1)),
            (lambda x: x[..., 2] - x[..., 1], _step_law(**p)),
        ],
        pathwise="expectation",
    ),
}
