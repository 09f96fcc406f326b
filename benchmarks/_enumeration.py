"""Discrete latents summed out, the same three models in each library: parameters only, and an empty guide.

So the loss is −log p(data) exactly, one number for all. Every module function ``build(problem)`` gives
(first, steps): the loss of the first step from nothing compiled, and a function that takes n steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

First = Callable[[], float]
Steps = Callable[[int], float]

COMPONENTS, POINTS = 3, 100_000
STATES, TIMES = 16, 1_000
BITS, ROWS = 6, 2_000


def mixture_data() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=POINTS) + np.array([-3.0, 0.0, 4.0])[rng.integers(3, size=POINTS)]).astype(
        np.float32
    )


def chain_data() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (0.5 * rng.normal(size=TIMES) + rng.integers(STATES, size=TIMES) / 4).astype(np.float32)


def bits_data() -> np.ndarray:
    rng = np.random.default_rng(2)
    weights = 2.0 ** np.arange(BITS)
    return (rng.integers(2, size=(ROWS, BITS)) @ weights / 8 + 0.3 * rng.normal(size=ROWS)).astype(np.float32)


def start(problem: str) -> dict[str, Any]:
    """Constrained starting values."""
    rng = np.random.default_rng(3)
    values: dict[str, dict[str, Any]] = {
        "mixture": {"weights": np.full(COMPONENTS, 1 / COMPONENTS), "locs": np.array([-1.0, 0.5, 2.0])},
        "chain": {
            "transition": rng.dirichlet(np.ones(STATES), STATES),
            "locs": np.linspace(0.0, 4.0, STATES),
        },
        "bits": {"probs": np.linspace(0.3, 0.7, BITS), "locs": 2.0 ** np.arange(BITS) / 10},
    }
    return {name: value.astype(np.float32) for name, value in values[problem].items()}


DATA: dict[str, Callable[[], np.ndarray]] = {"mixture": mixture_data, "chain": chain_data, "bits": bits_data}
