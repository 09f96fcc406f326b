"""Figures without a window, and saving them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from svijax.base import ArgumentError, message

INK = "#1f4e79"
ACCENT = "#c8501e"
FAINT = "#b8c4d0"


def new_figure(
    width: float, height: float, ratios: Sequence[float] = (1.0,), rows: int = 1
) -> tuple[Any, list[Any]]:
    """A figure in inches and its axes, row by row; ``ratios`` are the widths of the columns.

    :raises ArgumentError: matplotlib is not installed.
    """
    try:
        module = import_module("matplotlib.figure")
    except ImportError as error:
        raise ArgumentError(
            message("drawing needs matplotlib, which is not installed.", fix="pip install 'svijax[examples]'")
        ) from error
    figure = module.Figure(figsize=(width, height), dpi=130, layout="constrained")
    axes = figure.subplots(rows, len(ratios), squeeze=False, gridspec_kw={"width_ratios": list(ratios)})
    return figure, list(axes.ravel())


def save(figure: Any, path: str | Path) -> Path:
    """Write the figure to a file in the format that the name ends with.

    :raises ArgumentError: the folder is missing, or the format unknown.
    """
    target = Path(path)
    try:
        figure.savefig(target, facecolor="white")
    except (OSError, ValueError) as error:
        raise ArgumentError(
            message(f"the picture cannot be written to {target}: {error}", fix="give a name like out.png.")
        ) from error
    return target


def bare(ax: Any) -> None:
    """Only the left and the lower spine, thin."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(width=0.8, labelsize=9)
