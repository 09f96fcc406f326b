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
    figure = _figure_class()(figsize=(width, height), dpi=130, layout="constrained")
    axes = figure.subplots(rows, len(ratios), squeeze=False, gridspec_kw={"width_ratios": list(ratios)})
    return figure, list(axes.ravel())


def check_target(path: str | Path) -> Path:
    """The path, if a figure can be saved there: to be asked before the work that it will show.

    :raises ArgumentError: matplotlib or the folder is missing, or the name ends with no format of pictures.
    """
    target = Path(path).expanduser()
    formats = _figure_class()().canvas.get_supported_filetypes()
    if target.suffix[1:].lower() not in formats:
        raise ArgumentError(
            message(
                f"{target} does not end with a format of pictures.",
                expected=", ".join(f".{name}" for name in sorted(formats)),
                fix=f"write {target.stem}.png.",
            )
        )
    if not target.parent.is_dir():
        raise ArgumentError(f"{target}: the folder {target.parent} does not exist; make it first.")
    return target


def save(figure: Any, path: str | Path) -> Path:
    """Write the figure to a file, in the format that its name ends with.

    :raises ArgumentError: see ``check_target``; or the file cannot be written.
    """
    target = check_target(path)
    try:
        figure.savefig(target, facecolor="white")
    except OSError as error:
        raise ArgumentError(f"{target} cannot be written: {error}") from error
    return target


def _figure_class() -> Any:
    # The class itself, not pyplot: no window, no backend chosen, nothing global.
    try:
        return import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ArgumentError(
            message("drawing needs matplotlib, which is not installed.", fix="pip install 'svijax[examples]'")
        ) from error


def bare(ax: Any) -> None:
    """Only the left and the lower spine, thin."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(width=0.8, labelsize=9)
