"""Writers: callbacks that keep the reports of a run in a file, a row for each chunk."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from svijax.base import ArgumentError, message

from ._events import record, scalar_event, start_event, version_event
from ._report import Report, mean_of_finite
from ._row_file import RowFile


@dataclass(frozen=True)
class JSONLines:
    """A callback that appends a JSON object a line: step, seconds, steps_per_second, loss, and the metrics.

    ``step`` is that of the state. Numbers that are not finite are null. With chains a metric is a list, one number a
    chain, or with ``chains="mean"`` the mean of those that are finite.

    The file is that of one fit and may be continued: a last line that is torn is cut off, and rows from the first
    step of a resumed run on are replaced. A run that begins before all of its rows is another fit: the file is then
    moved to ``path.1``, ``path.2``, ... Among several processes the first one writes.
    """

    path: str | os.PathLike[str]
    chains: str = "each"

    def __post_init__(self) -> None:
        _check_chains(self)

    def __call__(self, report: Report) -> None:
        """Write the row of a report."""
        if jax.process_index() != 0:
            return
        row = _row(report)
        if self.chains == "mean":
            row = {name: mean_of_finite(x) if np.ndim(x) else x for name, x in row.items()}
        line = json.dumps({name: _json(x) for name, x in row.items()}, allow_nan=False)
        RowFile(Path(self.path), _step_of_json).append(row["step"], line + "\n")


@dataclass(frozen=True)
class CSV:
    """A callback that appends a row of numbers: step, seconds, steps_per_second, loss, and the metrics.

    With chains each has a column of its own, ``loss[0]``, ``loss[1]``, ...; ``chains="mean"`` keeps the mean of those
    that are finite. The first row decides the columns, and one more later on is an error. What is not finite is nan,
    inf or -inf. The file is continued as that of ``JSONLines``.

    :raises ArgumentError: a report has a column that the file has not.
    """

    path: str | os.PathLike[str]
    chains: str = "each"

    def __post_init__(self) -> None:
        _check_chains(self)

    def __call__(self, report: Report) -> None:
        """Write the row of a report."""
        if jax.process_index() != 0:
            return
        row = _flat(report, self.chains)
        file, step = RowFile(Path(self.path), _step_of_csv, header=True), int(row["step"])
        columns, header = list(row), _csv_line(list(row))
        if file.goes_on(step):
            columns, header = next(csv.reader([file.first_line()])), ""
            _check_columns(file.path, columns, list(row))
        cells = [_shortest(row[name]) if name in row else "" for name in columns]
        file.append(step, header + _csv_line(cells))


@dataclass(frozen=True)
class TensorBoard:
    """A callback that writes scalars to a new event file in a folder: ``tensorboard --logdir folder`` shows them.

    With chains it is the mean of those that are finite; ``chains="each"`` writes ``loss[0]``, ``loss[1]``, ... What
    files of earlier runs in the folder have from the first step of this one on is not shown any more. Among several
    processes the first one writes.
    """

    folder: str | os.PathLike[str]
    chains: str = "mean"
    name: str = field(default_factory=lambda: _event_file_name(), compare=False)

    def __post_init__(self) -> None:
        _check_chains(self)

    def __call__(self, report: Report) -> None:
        """Write the scalars of a report."""
        if jax.process_index() != 0:
            return
        path, now = Path(self.folder) / self.name, time.time()
        row = _flat(report, self.chains)
        step = int(row.pop("step"))
        events = [] if path.exists() else [version_event(now), start_event(now, step)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # In one write, so that what is torn by a kill is the end of the file alone.
            file.write(b"".join(record(event) for event in [*events, scalar_event(now, step, row)]))


def _event_file_name() -> str:
    """TensorBoard reads files with "tfevents" in their name, in the order of the names."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return f"events.out.tfevents.{seconds:010d}.{rest:09d}.{os.getpid()}.svijax"


def _check_chains(writer: Any) -> None:
    if writer.chains not in ("each", "mean"):
        raise ArgumentError(
            message(
                f"{type(writer).__name__}: chains is none of its choices.",
                expected='"each" or "mean"',
                got=repr(writer.chains),
            )
        )


def _row(report: Report) -> dict[str, Any]:
    """What is written of a report, by name."""
    return {
        "step": int(np.max(np.asarray(report.state.step))),
        "seconds": round(report.seconds, 6),
        "steps_per_second": round(report.steps_per_second, 3),
        "loss": report.loss,
        **report.metrics,
    }


def _flat(report: Report, chains: str) -> dict[str, float]:
    """The same, every entry one number."""
    flat: dict[str, float] = {}
    for name, value in _row(report).items():
        if np.ndim(value) == 0:
            flat[name] = value
        elif chains == "mean":
            flat[name] = float(mean_of_finite(value))
        else:
            flat |= {f"{name}[{k}]": x for k, x in enumerate(value)}
    return flat


def _json(value: Any) -> Any:
    if np.ndim(value):
        return [_json(x) for x in value]
    return json.loads(_shortest(value)) if math.isfinite(value) else None


def _shortest(value: Any) -> str:
    """The fewest digits that give the number again, in its own precision."""
    return str(value) if isinstance(value, int | np.floating) else repr(float(value))


def _csv_line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _step_of_csv(line: str) -> int:
    return int(line.split(",", 1)[0])


def _step_of_json(line: str) -> int:
    return int(json.loads(line)["step"])


def _check_columns(path: Path, columns: list[str], found: list[str]) -> None:
    new = [name for name in found if name not in columns]
    if new:
        raise ArgumentError(
            message(
                f"CSV: the file {path.name} has no column for {', '.join(new)}; its first row decided the columns.",
                expected=", ".join(columns),
                got=", ".join(found),
                fix="write this run to another file, or use JSONLines, whose rows may differ.",
            )
        )
