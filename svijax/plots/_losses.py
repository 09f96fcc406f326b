"""The course of the loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ._figure import ACCENT, FAINT, INK, bare

BLOCKS = 60
LEFT_OUT = 0.002  # share of the steps at the start, where the loss plunges


def draw_losses(ax: Any, losses: Any, bound: float | None = None, bound_label: str = "") -> None:
    """Loss against step on a log axis: means of blocks of steps, and for a single run their middle half.

    :param losses: of shape (steps,), or (chains, steps): then one line each.
    :param bound: a loss that none can go below in expectation, such as minus the log evidence.
    """
    runs = np.atleast_2d(np.asarray(losses, np.float64))
    total = runs.shape[1]
    first = max(1, int(LEFT_OUT * total))
    edges = np.unique(np.geomspace(first, total + 1, BLOCKS + 1).astype(int))
    blocks = [runs[:, a - 1 : b - 1] for a, b in pairwise(edges)]
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    means = np.array([np.mean(block, axis=1) for block in blocks]).T
    if len(runs) == 1:
        low, high = np.array([np.quantile(block, [0.25, 0.75]) for block in blocks]).T
        ax.fill_between(centres, low, high, color=FAINT, alpha=0.6, linewidth=0, label="middle half")
    for i, mean in enumerate(means):
        ax.plot(centres, mean, color=INK, linewidth=1.6 if len(runs) == 1 else 0.9, label="" if i else "mean")
    if bound is not None:
        ax.axhline(bound, color=ACCENT, linewidth=1.2, linestyle="--", label=bound_label)
    ax.legend(frameon=False, fontsize=9, loc="upper right")
    ax.set_xscale("log")
    ax.set_xlim(centres[0], total)
    ax.set_ylim(*_limits(means, bound))
    ax.set_xlabel("step")
    ax.set_ylabel("loss = −ELBO (nats)")
    bare(ax)


def _limits(means: Any, bound: float | None) -> tuple[float, float]:
    """A range that shows the descent and, below it, the bound."""
    ok = means[np.isfinite(means)]
    if not ok.size:
        return 0.0, 1.0
    low = float(ok.min() if bound is None else min(bound, ok.min()))
    high = float(np.quantile(ok, 0.9))
    span = max(high - low, 1e-6 * max(1.0, abs(low)))
    return low - 0.25 * span, high + 0.1 * span
