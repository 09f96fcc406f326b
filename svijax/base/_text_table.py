"""Tables of numbers in plain text, aligned at the decimal point."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number_cells(values: Sequence[float | None], spread: float) -> list[str]:
    """Numbers of one row with one number of decimals: three significant digits of their spread."""
    known = [abs(v) for v in values if v is not None and math.isfinite(v)]
    scale = abs(spread) if spread and math.isfinite(spread) else max(known, default=1.0)
    largest = max(known, default=0.0)
    if largest >= 1e7 or 0.0 < scale < 1e-6:
        return ["" if v is None else f"{v:.3e}" for v in values]
    decimals = 2 if scale == 0.0 else min(max(2 - math.floor(math.log10(scale)), 0), 8)
    return ["" if v is None else _fixed(v, decimals) for v in values]


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers at their decimal points. A row of one cell is a note."""
    full = [row for row in rows if len(row) == len(header)]
    columns = [_at_point([row[i] for row in full]) for i in range(1, len(header))]
    names = [row[0] for row in rows] + [header[0]]
    first = max(len(name) for name in names)
    widths = [max([len(label), *map(len, cells)]) for label, cells in zip(header[1:], columns, strict=True)]
    lines = [
        _line(header[0].ljust(first), [label.rjust(w) for label, w in zip(header[1:], widths, strict=True)])
    ]
    lines.append("-" * len(lines[0]))
    position = 0
    for row in rows:
        if len(row) != len(header):
            lines.append(row[0])
            continue
        cells = [column[position].rjust(w) for column, w in zip(columns, widths, strict=True)]
        lines.append(_line(row[0].ljust(first), cells))
        position += 1
    return "\n".join(lines)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else str(value)


def _at_point(cells: Sequence[str]) -> list[str]:
    """Cells padded on the right so that their decimal points stand below one another."""
    after = [len(cell) - cell.index(".") if "." in cell else 0 for cell in cells]
    most = max(after, default=0)
    return [cell + " " * (most - n) if cell else cell for cell, n in zip(cells, after, strict=True)]


def _line(first: str, cells: Sequence[str]) -> str:
    return "  ".join([first, *cells]).rstrip()
