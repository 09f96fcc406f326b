"""The course of the loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ._figure import ACCENT, FAINT, INK, bare


def draw_losses(ax: Any, losses: Any, bound: float | None = None, bound_label: str = "") -> None:
    """Loss against step (log axis): the single steps faint, block means bold.

    :param losses: of shape (steps,), or (chains, steps): then one bold line each.
    :param bound: a loss that none can go below in expectation, such as minus the log evidence.
    """
    runs = np.atleast_2d(np.asarray(losses, np.float64))
    steps = np.arange(1, runs.shape[1] + 1)
    edges = np.unique(np.geomspace(1, runs.shape[1] + 1, 80).astype(int))
    means = np.array([[np.nanmean(run[a - 1 : b - 1]) for a, b in pairwise(edges)] for run in runs])
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    if len(runs) == 1:
        ax.plot(steps, runs[0], color=FAINT, linewidth=0.5, rasterized=True)
    for mean in means:
        ax.plot(centres, mean, color=INK, linewidth=1.6 if len(runs) == 1 else 0.9)
    if bound is not None:
        ax.axhline(bound, color=ACCENT, linewidth=1.2, linestyle="--")
        ax.annotate(
            bound_label,
            (0.98, bound),
            xycoords=("axes fraction", "data"),
            xytext=(0, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            color=ACCENT,
            fontsize=9,
        )
    low = np.nanmin(means) if bound is None else min(bound, np.nanmin(means))
    high = np.nanmax(means[:, centres >= 0.005 * len(steps)])  # the first plunge may leave the picture
    ax.set_ylim(low - 0.12 * (high - low), high + 0.05 * (high - low))
    ax.set_xscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("loss = −ELBO (nats)")
    bare(ax)
