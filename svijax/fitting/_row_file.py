"""Text files of rows by step, one fit each, that outlive the runs that write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from svijax.base import ArgumentError, message

TAIL = 1 << 14
"""Bytes at the end of a file that are read to find its last row, at first."""


@dataclass(frozen=True)
class RowFile:
    """Lines in the order of their steps. ``step_of``: the step of a line. ``header``: whether the first line has none.

    It is opened for each row, so a row is with the system once ``append`` is back, and nothing need be closed.
    """

    path: Path
    step_of: Callable[[str], int]
    header: bool = False

    def goes_on(self, step: int) -> bool:
        """Whether the file has rows from before this step, so that a row of this step continues it."""
        if not self.path.exists():
            return False
        with self.path.open(newline="") as file:
            first = [file.readline() for _ in range(1 + self.header)][-1]
        return first.endswith("\n") and self._step(first) < step

    def append(self, step: int, text: str) -> None:
        """Add the row of a step; later ones, and a last line that is torn, leave the file before.

        A file that does not go on at this step is moved to ``path.1``, ``path.2``, ...
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.goes_on(step):
            self._move_away()
        elif not self._ends_before(step):
            self._cut(step)
        with self.path.open("a", newline="") as file:
            file.write(text)

    def first_line(self) -> str:
        """The header."""
        with self.path.open(newline="") as file:
            return file.readline().rstrip("\r\n")

    def _step(self, line: str) -> int:
        try:
            return self.step_of(line)
        except (ValueError, KeyError, TypeError) as error:
            raise ArgumentError(
                message(
                    f"the file {self.path.name} was not made by this writer: a row of it has no step.",
                    got=line.strip()[:80],
                    fix="write to another path, or move the file away.",
                )
            ) from error

    def _ends_before(self, step: int) -> bool:
        """Whether the last line is whole, and of a step before this one."""
        last = self._last_line()
        return last.endswith("\n") and self._step(last) < step

    def _last_line(self) -> str:
        size, length = self.path.stat().st_size, TAIL
        with self.path.open("rb") as file:
            while True:
                file.seek(max(0, size - length))
                tail = file.read()
                begin = tail.rfind(b"\n", 0, -1) + 1
                if begin or length >= size:
                    return tail[begin:].decode()
                length *= 4

    def _cut(self, step: int) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        with self.path.open(newline="") as old, beside.open("w", newline="") as new:
            for i, line in enumerate(old):
                if line.endswith("\n") and ((self.header and i == 0) or self._step(line) < step):
                    new.write(line)
        # In place of the old one at once, so that the file is whole at any moment.
        os.replace(beside, self.path)

    def _move_away(self) -> None:
        if not self.path.exists():
            return
        number = 1
        while (other := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        os.rename(self.path, other)
