"""Means and intervals, one row a quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._figure import ACCENT, INK, bare


@dataclass(frozen=True)
class Interval:
    """One row: its name, a mean, and the ends of an interval."""

    name: str
    mean: float
    low: float
    high: float


def draw_intervals(
    ax: Any,
    intervals: Sequence[Interval],
    reference: Sequence[Interval] = (),
    labels: tuple[str, str] = ("fit", "exact"),
    xlabel: str = "mean and 90 % interval",
) -> None:
    """Points with bars, the first on top; a second set, if given, just below the first."""
    shift = 0.16 if reference else 0.0
    for rows, colour, offset, label in (
        (intervals, INK, -shift, labels[0]),
        (reference, ACCENT, shift, labels[1]),
    ):
        if rows:
            at = [i + offset for i in range(len(rows))]
            ax.hlines(at, [r.low for r in rows], [r.high for r in rows], color=colour, linewidth=1.8)
            ax.plot([r.mean for r in rows], at, "o", color=colour, markersize=4.5, label=label)
    ax.axvline(0.0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(intervals)), [row.name for row in intervals])
    ax.set_ylim(len(intervals) - 0.4, -0.6)
    ax.set_xlabel(xlabel)
    if reference:
        ax.legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    bare(ax)
    ax.tick_params(axis="y", length=0)
