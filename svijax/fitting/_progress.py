"""Progress on long runs: a bar that looks between compiled chunks, or plain lines where there is no screen."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

from ._report import Report
from ._status import Status

DECAY = 0.8
"""What is left of a chunk's weight in the smoothed ELBO when the next one comes."""

LINE_SECONDS, LINE_FRACTION, LINE_LIMIT = 10.0, 0.1, 600.0
"""A log file gets a line after so many seconds; later when so much of the time so far has passed; and at the latest."""

Tell = Callable[[Report], None]


@contextmanager
def progress(
    total: int | None, show: bool, name: str = "ELBO", stream: TextIO | None = None
) -> Iterator[Tell]:
    """A function to call with the ``Report`` of each chunk; nothing is printed if not ``show``.

    ``total``: how many steps there are, None where nobody knows. ``name``: "ELBO" shows −loss, another name the loss
    under it. ``stream``: standard error. In a terminal or a notebook it is tqdm's bar, elsewhere a few plain lines.
    """
    if not show:
        yield lambda report: None
        return
    stream = sys.stderr if stream is None else stream
    with (_bar if _is_notebook() or stream.isatty() else _lines)(total, Smoothed(name), stream) as tell:
        yield tell


@contextmanager
def _bar(total: int | None, smoothed: Smoothed, stream: TextIO) -> Iterator[Tell]:
    # Not at import: choosing a bar for terminal or notebook loads half of asyncio.
    from tqdm.auto import tqdm

    seen: list[Report] = []
    with tqdm(
        total=total, unit="step", unit_scale=True, mininterval=0.1, dynamic_ncols=True, file=stream
    ) as bar:

        def tell(report: Report) -> None:
            seen[:] = [report]
            smoothed.add(report.losses)
            bar.set_postfix_str(_joined(str(smoothed), _counts(report.status)), refresh=False)
            bar.update(report.step - bar.n)

        try:
            yield tell
        finally:
            if seen and total is not None and seen[-1].step < total:
                # The bar of a run that ended early is done, not broken off.
                bar.set_postfix_str(_joined(str(smoothed), _end(seen[-1])), refresh=False)
                bar.total = bar.n
            bar.refresh()


@contextmanager
def _lines(total: int | None, smoothed: Smoothed, stream: TextIO) -> Iterator[Tell]:
    begin = time.perf_counter()
    printed, seen = [begin], list[Report]()

    def tell(report: Report) -> None:
        seen[:] = [report]
        smoothed.add(report.losses)
        now = time.perf_counter()
        if now - printed[-1] >= np.clip(LINE_FRACTION * (now - begin), LINE_SECONDS, LINE_LIMIT):
            printed[:] = [now]
            if report.step != total:
                print(_line(report, smoothed), file=stream, flush=True)

    try:
        yield tell
    finally:
        if seen:
            print(_last_line(seen[-1], smoothed), file=stream, flush=True)


def _line(report: Report, smoothed: Smoothed) -> str:
    of, left = "", ""
    if report.num_steps is not None:
        of = f" of {report.num_steps:,} ({100 * report.step // report.num_steps} %)"
        left = f"{duration((report.num_steps - report.step) / max(report.steps_per_second, 1e-9))} left"
    text = _joined(str(smoothed), _counts(report.status), rate(report.steps_per_second), left)
    return f"step {report.step:,}{of}: {text}"


def _last_line(report: Report, smoothed: Smoothed) -> str:
    early = report.num_steps is None or report.step < report.num_steps
    text = _joined(
        str(smoothed), rate(report.steps_per_second), _end(report) if early else _counts(report.status)
    )
    return f"{report.step:,} steps in {duration(report.seconds)}: {text}"


def _end(report: Report) -> str:
    """Why a run ended before its last step, and after how many."""
    status = np.atleast_1d(report.status)
    words = _counts(report.status) if (status != Status.MAX_STEPS).any() else ""
    after = "" if report.num_steps is None else f"ended at {report.step:,} of {report.num_steps:,}"
    return _joined(words, after)


def _counts(status: Any) -> str:
    """Names of the ways in which chains ended; with several chains, how many of each."""
    ended = Counter(Status(int(s)).name.lower() for s in np.atleast_1d(status) if s != Status.MAX_STEPS)
    single = np.ndim(status) == 0
    return ", ".join(name if single else f"{count} {name}" for name, count in sorted(ended.items()))


class Smoothed:
    """Σ_c d^(C−c) Σ losses of chunk c over Σ_c d^(C−c) n_c, d = ``DECAY``: recent chunks count, by finite losses."""

    def __init__(self, name: str = "ELBO") -> None:
        self.name = name
        self._sums: list[Any] = []

    def add(self, losses: Any) -> None:
        """One more chunk of losses, (n,) or (n, chains). A chain without finite ones stays as it is."""
        values = np.asarray(losses, float)
        finite = np.isfinite(values)
        count, total = finite.sum(axis=0), np.where(finite, values, 0.0).sum(axis=0)
        old_total, old_count = self._sums or (0.0, 0.0)
        decay = np.where(count > 0, DECAY, 1.0)
        self._sums[:] = [decay * old_total + total, decay * old_count + count]

    @property
    def value(self) -> Any:
        """The smoothed loss, or ELBO if that is its name; one a chain. NaN before the first."""
        total, count = self._sums or (0.0, 0.0)
        sign = -1.0 if self.name == "ELBO" else 1.0
        return np.where(np.greater(count, 0), sign * np.divide(total, np.maximum(count, 1e-300)), np.nan)[()]

    def __str__(self) -> str:
        value = self.value
        if np.ndim(value) == 0:
            return f"{self.name} {number(value)}"
        finite = value[np.isfinite(value)]
        if not finite.size:
            return f"{self.name} of {value.size} chains nan"
        best = finite.max() if self.name == "ELBO" else finite.min()
        return f"{value.size} chains, {self.name} best {number(best)}, median {number(np.median(finite))}"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def number(value: float) -> str:
    """Five digits, or more where the integer part has more: -37.213, -1,234.5, -104,560."""
    if not np.isfinite(value) or value == 0 or not 1e-4 <= abs(value) < 1e9:
        return f"{value:.5g}"
    digits = max(0, 4 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def rate(steps_per_second: float) -> str:
    """Steps per second, or seconds per step where those are longer."""
    if 0 < steps_per_second < 1:
        return f"{1 / steps_per_second:.3g} s/step"
    return f"{number_of(steps_per_second)} steps/s"


def number_of(value: float) -> str:
    """Three digits and a letter for thousands: 12.3k."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """0.3 s, 42 s, 3 min 20 s, 5 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _is_notebook() -> bool:
    """Whether a Jupyter kernel runs this: then tqdm has a bar for it."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


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
