"""Pareto-smoothed importance sampling against reference values and exact answers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from svijax.base import ArgumentError
from svijax.posterior import effective_sample_size, khat_threshold, khat_words, psis_khat, psis_weights

pytestmark = pytest.mark.usefixtures("x64")

REFERENCE = {
    0.5: 0.9080815512205151,
    0.7: 0.6371459500343336,
    0.9: 0.27494481323913184,
    0.99: 0.08018355166699344,
}


def normal_weights(s: float, size: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
    """(z, log N(z; 0, 1) − log N(z; 0, s²)), z from the narrower normal in three dimensions."""
    z = s * np.random.default_rng(42).normal(size=(size, 3))
    return z, (-0.5 * z**2 + 0.5 * (z / s) ** 2 + np.log(s)).sum(-1)


@pytest.mark.parametrize("s", REFERENCE)
def test_reference_values(s: float) -> None:
    log_w = normal_weights(s)[1]
    np.testing.assert_allclose(psis_khat(log_w), REFERENCE[s], rtol=0, atol=1e-10)
    # Up to a constant, whatever its size.
    np.testing.assert_allclose(psis_khat(log_w - 1e4), REFERENCE[s], atol=1e-6)


def test_single_precision_is_close() -> None:
    k = psis_khat(jnp.asarray(normal_weights(0.7)[1], jnp.float32))
    assert k.dtype == jnp.float32
    np.testing.assert_allclose(k, REFERENCE[0.7], atol=1e-3)


def test_jit_and_vmap_change_nothing() -> None:
    batch = np.stack([normal_weights(s, 2_000)[1] for s in (0.5, 0.7, 0.99)])
    single = [float(psis_khat(row)) for row in batch]
    np.testing.assert_allclose(jax.jit(jax.vmap(psis_khat))(batch), single, rtol=1e-12)
    weights = jax.vmap(psis_weights)(batch)
    np.testing.assert_allclose(weights[1], psis_weights(batch[1]), rtol=1e-12)


def test_the_order_of_the_draws_does_not_matter() -> None:
    log_w = normal_weights(0.7, 1_000)[1]
    shuffle = np.random.default_rng(1).permutation(1_000)
    np.testing.assert_allclose(psis_khat(log_w[shuffle]), psis_khat(log_w), rtol=1e-12)
    np.testing.assert_allclose(psis_weights(log_w[shuffle]), psis_weights(log_w)[shuffle], rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, -3.2, -1e5])
def test_equal_weights(value: float) -> None:
    log_w = np.full(400, value)
    assert psis_khat(log_w) == -np.inf
    assert psis_khat(log_w + 1e-15 * abs(value) * np.random.default_rng(0).normal(size=400)) == -np.inf
    np.testing.assert_allclose(psis_weights(log_w), -np.log(400.0))
    np.testing.assert_allclose(effective_sample_size(log_w), 400.0)


def test_ties_and_impossible_draws_are_no_tail() -> None:
    rng = np.random.default_rng(0)
    # Discrete latents: few distinct weights. Entries at the cutoff are not in the tail.
    tied = np.round(2.0 * rng.normal(size=500)) / 2.0
    np.testing.assert_allclose(psis_khat(tied), 0.072, atol=0.2)
    impossible = np.concatenate([np.full(50, -np.inf), rng.normal(size=150)])
    assert np.isfinite(psis_khat(impossible))
    assert np.isfinite(np.asarray(psis_weights(impossible))[50:]).all()


def test_what_cannot_be_fitted() -> None:
    assert psis_khat(np.arange(10.0)) == np.inf
    assert np.isnan(psis_khat(np.array([0.0] * 99 + [np.nan])))
    assert psis_khat(np.zeros(1)) == -np.inf
    with pytest.raises(ArgumentError, match=r"got shape \(3, 4\)"):
        psis_khat(np.zeros((3, 4)))


def test_smoothed_weights_estimate_better_than_raw_ones() -> None:
    # E|z|² = 3 under N(0, 1); raw weights of a guide of half the scale miss the tail.
    errors: dict[str, list[float]] = {"raw": [], "smoothed": []}
    for seed in range(40):
        z = 0.6 * np.random.default_rng(seed).normal(size=(500, 3))
        log_w = (-0.5 * z**2 + 0.5 * (z / 0.6) ** 2).sum(-1)
        raw = np.exp(log_w - log_w.max())
        smooth = np.exp(np.asarray(psis_weights(log_w)))
        np.testing.assert_allclose(smooth.sum(), 1.0, rtol=1e-12)
        for name, w in (("raw", raw / raw.sum()), ("smoothed", smooth)):
            errors[name].append(float(w @ (z**2).sum(-1)) - 3.0)
    rms = {name: np.sqrt(np.mean(np.square(x))) for name, x in errors.items()}
    assert rms["smoothed"] < rms["raw"]


def test_smoothing_touches_only_the_tail_and_keeps_its_order() -> None:
    log_w = normal_weights(0.6, 1_000)[1]
    smooth = np.asarray(psis_weights(log_w))
    order = np.argsort(log_w)
    count = int(np.ceil(3 * np.sqrt(1_000)))
    assert (np.diff(smooth[order][-count:]) >= 0).all()
    body = order[:-count]
    np.testing.assert_allclose(smooth[body] - log_w[body], (smooth - log_w)[body[0]], rtol=1e-12)


def test_effective_sample_size() -> None:
    np.testing.assert_allclose(effective_sample_size(np.log([1.0, 1.0, 2.0])), 16.0 / 6.0)
    np.testing.assert_allclose(effective_sample_size(np.array([0.0, -np.inf, -np.inf])), 1.0)
    np.testing.assert_allclose(effective_sample_size(np.array([-900.0, -900.0])), 2.0)


@pytest.mark.parametrize(
    ("k", "draws", "words"),
    [
        (-np.inf, 1000, "exact: all weights are equal"),
        (0.1, 1000, "good"),
        (0.6, 1000, "ok: close to the posterior; its weights are uneven"),
        (0.69, 1000, "high: do not trust the variances"),
        (0.69, 4000, "ok: close to the posterior; its weights are uneven"),
        (0.9, 4000, "high: do not trust the variances"),
        (1.2, 4000, "bad: far from the posterior"),
        (np.inf, 10, "unknown: too few draws for a tail"),
        (np.nan, 4000, "unknown: a log weight is not a number"),
    ],
)
def test_words(k: float, draws: int, words: str) -> None:
    assert khat_words(k, draws) == words


def test_threshold() -> None:
    expected: list[Any] = [1 - 1 / 2, 1 - 1 / 3, 0.7]
    np.testing.assert_allclose([khat_threshold(n) for n in (100, 1_000, 100_000)], expected)
    assert khat_threshold(1) == 0.0
