"""The problems: data, learning rates and run lengths, the same for every contender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHAINS = 64


@dataclass(frozen=True)
class Problem:
    """One problem with its data.

    ``warm_steps`` are run before anything is timed, so that the losses of the timed runs tell the quality
    reached; ``tail`` is how many of the last losses are averaged for it.
    """

    name: str
    data: tuple[np.ndarray, ...]
    learning_rate: float = 1e-2
    warm_steps: int = 20_000
    tail: int = 2_000
    chains: bool = True


def eight_schools() -> Problem:
    """Rubin's eight schools, non-centred: 10 unconstrained dimensions in 3 sites."""
    y = np.array([28, 8, -3, 7, -1, 1, 18, 12], np.float32)
    sigma = np.array([15, 10, 16, 11, 9, 11, 10, 18], np.float32)
    return Problem("eight_schools", (y, sigma))


def logistic() -> Problem:
    """Logistic regression on the 569 rows of the breast cancer data, standardised, with an intercept."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    return Problem("logistic", (x.astype(np.float32), y.astype(np.float32)))


def twenty_sites() -> Problem:
    """Twenty scalar latents written one by one, and one likelihood of their weighted sum."""
    rng = np.random.default_rng(20)
    weights = rng.normal(size=20)
    y = weights @ rng.normal(size=20) + rng.normal(size=10)
    return Problem("twenty_sites", (weights.astype(np.float32), y.astype(np.float32)))


def hierarchical() -> Problem:
    """A regression with 2,000 group intercepts, 10 rows a group: arrays of shape (10, 2000)."""
    rng = np.random.default_rng(2000)
    x = rng.normal(size=(10, 2000))
    y = 1.0 + 0.5 * rng.normal(size=2000) + 0.8 * x + 0.7 * rng.normal(size=x.shape)
    return Problem("hierarchical", (x.astype(np.float32), y.astype(np.float32)), warm_steps=4_000, tail=500)


def vae() -> Problem:
    """A 784-400-20 variational autoencoder on 10,000 synthetic binary rows, 128 of them a step."""
    rng = np.random.default_rng(784)
    code = rng.normal(size=(10_000, 20)).astype(np.float32)
    logits = code @ rng.normal(size=(20, 784)).astype(np.float32) - 1.0
    rows = (rng.random(size=logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return Problem("vae", (rows,), learning_rate=1e-3, warm_steps=200, tail=100, chains=False)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    f.__name__: f for f in (eight_schools, logistic, twenty_sites, hierarchical, vae)
}


def lanes_of(contender: str) -> tuple[str, int]:
    """A contender's name without its number of chains, and that number: ``svijax_64`` is 64 chains of ``svijax``."""
    name, _, lanes = contender.rpartition("_")
    return (name, int(lanes)) if lanes.isdigit() else (contender, 1)


VAE_BATCH = 128
VAE_LATENT = 20


def vae_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Starting weights of encoder and decoder, Glorot normal; biases start at zero."""
    rng = np.random.default_rng(seed)
    sizes = {"enc": (784, 400), "loc": (400, 20), "scale": (400, 20), "hid": (20, 400), "out": (400, 784)}
    weights: dict[str, np.ndarray] = {}
    for name, (m, n) in sizes.items():
        weights[f"{name}_w"] = rng.normal(scale=np.sqrt(2 / (m + n)), size=(m, n)).astype(np.float32)
        weights[f"{name}_b"] = np.zeros(n, np.float32)
    return weights
