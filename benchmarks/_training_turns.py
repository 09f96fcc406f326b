"""Contenders by turns: the best turn of each counts, so that what else the machine does falls on all alike."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Row = dict[str, Any]
Run = Callable[[], float]
"""One timed run, warm: it returns the loss that it reached."""


def turns(work: float, runs: dict[str, Callable[[], Run]], repeats: int, problem: str) -> list[Row]:
    """Rows with the best seconds of each contender, and ``work`` over them. ``runs``: makers, which warm up too.

    A contender that fails has a row that says how.
    """
    rows: list[Row] = [{"problem": problem, "contender": name} for name in runs]
    ready: dict[str, Run] = {}
    for row in rows:
        name = row["contender"]
        with failures(row):
            ready[name] = runs[name]()
    for _ in range(repeats):
        for row in rows:
            run = ready.get(row["contender"])
            if run is None or "error" in row:
                continue
            with failures(row):
                begin = time.perf_counter()
                loss = run()
                seconds = time.perf_counter() - begin
                row["seconds"] = min(row.get("seconds", math.inf), seconds)
                row["per_second"], row["loss"] = work / row["seconds"], float(loss)
    return rows


@contextlib.contextmanager
def failures(row: Row) -> Iterator[None]:
    """An exception becomes a line of the row; paths are of no use to a reader elsewhere."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        row["error"] = text.replace(os.getcwd(), ".")
        print(f"{row['problem']}, {row.get('contender')}: {row['error']}", file=sys.stderr)


def ratio(rows: list[Row], problem: str, top: str, bottom: str, key: str = "per_second") -> float | None:
    """The figure of one contender over that of another; None where one has none."""
    found = {r["contender"]: r.get(key) for r in rows if r["problem"] == problem}
    a, b = found.get(top), found.get(bottom)
    return a / b if a and b else None
