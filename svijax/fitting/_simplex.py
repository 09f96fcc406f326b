"""Weights of a mixture of given densities that make data most probable."""

from __future__ import annotations

import numpy as np

from svijax.base import DataError, message

_STEPS = 200
_CENTRED = 1e-3


def mixture_weights(log_densities: np.ndarray, tolerance: float = 1e-8) -> tuple[np.ndarray, float]:
    """(w, gap): w maximises F(w) = Σ_i log Σ_k w_k p_ik / n over the simplex, and max F − F(w) ≤ gap.

    F is concave, so max F − F(w) ≤ max_k g_k − 1 with g_k = Σ_i p_ik / (Σ_j w_j p_ij) / n: the gap certifies w.
    Newton's method on −F(w) + Σ w − μ Σ log w, whose solution has gap ≤ K μ, for falling μ; densities that are equal
    get equal weights.

    :param log_densities: (n, K), log p_ik up to a constant for each i. :param tolerance: of the gap, nats a point.
    :raises DataError: an entry is NaN or ∞, or a point has density 0 under all.
    """
    p = _scaled(log_densities)
    n, num = p.shape
    w = np.full(num, 1.0 / num)
    mu = 1.0
    best, gap = w, _gap(p, w)
    for _ in range(_STEPS):
        if gap <= tolerance:
            break
        ratio = p / (p @ w)[:, None]
        # In units of w the system has no eigenvalue below μ.
        scaled = ratio * w
        gradient = w - scaled.mean(0) - mu
        step = np.linalg.solve(scaled.T @ scaled / n + mu * np.eye(num), -gradient)
        decrement = -float(gradient @ step)
        w = _line_search(p, w, step, mu, decrement)
        if decrement <= _CENTRED * mu:
            mu *= 0.1
            on_simplex = w / w.sum()
            found = _gap(p, on_simplex)
            if found < gap:
                best, gap = on_simplex, found
            elif mu < 1e-15:
                break
    return best, gap


def _scaled(log_densities: np.ndarray) -> np.ndarray:
    """Densities, each row with maximum 1."""
    log_p = np.asarray(log_densities, np.float64)
    top = log_p.max(axis=1)
    wrong = np.flatnonzero(~np.isfinite(top) | np.isnan(log_p).any(axis=1))
    if wrong.size:
        raise DataError(
            message(
                "a point has no finite log density to weigh chains by.",
                got=f"{wrong.size} of {len(top)} points, the first is number {wrong[0]}: {log_p[wrong[0]]}",
                fix="look at this observation; leave it out, or let the likelihood have heavier tails.",
            )
        )
    return np.exp(log_p - top[:, None])


def _gap(p: np.ndarray, w: np.ndarray) -> float:
    return max(float((p / (p @ w)[:, None]).mean(0).max()) - 1.0, 0.0)


def _line_search(p: np.ndarray, w: np.ndarray, step: np.ndarray, mu: float, decrement: float) -> np.ndarray:
    """w (1 + t step), t the first of 1, ½, ¼, ... (shortened to stay inside) that descends enough."""

    def value(v: np.ndarray) -> float:
        return float(-np.log(p @ v).mean() + v.sum() - mu * np.log(v).sum())

    lowest = float(step.min())
    t = 1.0 if lowest > -0.95 else -0.95 / lowest
    start = value(w)
    for _ in range(40):
        after = w * (1.0 + t * step)
        if value(after) <= start - 0.1 * t * decrement + 1e-15 * abs(start):
            return after
        t *= 0.5
    return w
