"""Costly tests: the default run takes a part of their cells, ``-m slow`` the others."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

_STEP = 20
_TEXTS = {"error", "text"}
_crossed = itertools.count()


def thinned(rows: Sequence[tuple[str, Any]]) -> list[Any]:
    """Parameters by name: each twentieth is in the default run, from another start at each call."""
    start = next(_crossed)
    marks = [(pytest.mark.slow,) if (start + i) % _STEP else () for i in range(len(rows))]
    return [pytest.param(row, id=name, marks=mark) for (name, row), mark in zip(rows, marks)]


def keep_each(items: Iterable[pytest.Item], folder: Path, step: int) -> None:
    """Of the cells of each test in a folder that are not slow yet, one of ``step`` stays in the default run.

    Cells of error texts all stay.
    """
    seen = Counter[str]()
    for item in items:
        if (
            folder not in item.path.parents
            or not hasattr(item, "callspec")
            or not _TEXTS.isdisjoint(item.callspec.params)
            or item.get_closest_marker("slow")
        ):
            continue
        name = item.nodeid.partition("[")[0]
        if seen[name] % step:
            item.add_marker(pytest.mark.slow)
        seen[name] += 1
