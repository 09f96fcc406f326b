"""Progress on long runs: a bar that looks between compiled chunks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def progress(total: int, show: bool) -> Iterator[Any]:
    """A function ``(steps, losses)`` to call after each chunk; nothing is printed if not ``show``."""
    if not show:
        yield lambda steps, losses: None
        return
    # Not at import: choosing a bar for terminal or notebook loads half of asyncio.
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="step", unit_scale=True, mininterval=0.1, dynamic_ncols=True) as bar:

        def report(steps: int, losses: Any) -> None:
            bar.set_postfix_str(f"loss {describe(losses)}", refresh=False)
            bar.update(steps)

        yield report


def describe(losses: Any) -> str:
    """Mean of the last losses; over chains the range."""
    with np.errstate(all="ignore"):
        tail = np.asarray(losses)[-max(1, len(losses) // 4) :]
        mean = tail.mean(axis=0)
    if np.ndim(mean) == 0:
        return f"{mean:.4g}"
    return f"{np.min(mean):.4g} to {np.max(mean):.4g}"


class Pace:
    """Chunk lengths that take about ``seconds`` each, from the rate seen so far."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self._rate: list[float] = []

    def next(self, left: int) -> int:
        if not self._rate:
            return min(left, self.capacity, 16)
        return max(1, min(left, self.capacity, int(self._rate[-1] * self.seconds)))

    @contextmanager
    def timing(self, steps: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._rate.append(steps / max(time.perf_counter() - start, 1e-9))
