"""Costly tests over long tables: the default run takes a part of their cells, ``-m slow`` the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

_STEP = 20
_crossed = itertools.count()


def thinned(rows: Sequence[tuple[str, Any]]) -> list[Any]:
    """Parameters by name: each twentieth is in the default run, from another start at each call."""
    start = next(_crossed)
    marks = [(pytest.mark.slow,) if (start + i) % _STEP else () for i in range(len(rows))]
    return [pytest.param(row, id=name, marks=mark) for (name, row), mark in zip(rows, marks)]
