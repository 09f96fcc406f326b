"""Held-out scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from svijax.demo import held_out


def test_scores_average_probabilities_and_not_logits() -> None:
    intercept, weights = np.array([0.0, 1.0]), np.array([[2.0], [-1.0]])
    x, y = np.array([[1.0], [-2.0]]), np.array([1.0, 1.0])
    p = 1 / (1 + np.exp(-(intercept[:, None] + weights @ x.T)))  # (draws, rows)
    scores = held_out(intercept, weights, x, y)
    assert scores.log_score == pytest.approx(np.log(p.mean(axis=0)).mean(), rel=1e-6)
    assert scores.accuracy == np.mean(p.mean(axis=0) > 0.5) == 0.5
