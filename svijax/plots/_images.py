"""Grids of small grey pictures."""

from __future__ import annotations

from typing import Any

import numpy as np


def draw_images(ax: Any, images: Any, columns: int, title: str = "") -> None:
    """Square images in [0, 1], dark on light, row by row with a thin gap.

    :param images: of shape (n, side²).
    """
    tiles = np.asarray(images, np.float64)
    side = round(tiles.shape[1] ** 0.5)
    gap = max(1, side // 12)
    rows = -(-len(tiles) // columns)
    step = side + gap
    sheet = np.full((rows * step - gap, columns * step - gap), np.nan)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * step, (i % columns) * step
        sheet[top : top + side, left : left + side] = tile.reshape(side, side)
    ax.imshow(sheet, cmap="Greys", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_title(title, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
