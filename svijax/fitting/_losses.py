"""The losses of a run on the disk: one file that only grows, so that a save costs what is new.

A checkpoint knows how many bytes of it are its own, and their CRC-32. What follows them, after a kill, is written over.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from svijax.base import DamagedCheckpointError, message

from ._replacing import cannot_write


@dataclass(frozen=True)
class LossFile:
    """The first ``rows`` losses of a run, rows of shape ``row`` (one number, or one a chain)."""

    name: str
    dtype: str = ""
    row: tuple[int, ...] = ()
    rows: int = 0
    crc: int = 0

    @property
    def row_bytes(self) -> int:
        """The bytes of one step."""
        return np.dtype(self.dtype).itemsize * int(np.prod(self.row, dtype=int))

    def rest_of(self, parts: Sequence[np.ndarray]) -> np.ndarray | None:
        """What this file lacks of the losses so far, which come in parts; None if nothing."""
        missing, tail = sum(map(len, parts)) - self.rows, []
        for part in reversed(parts):
            if missing <= 0:
                break
            tail.append(part[max(0, len(part) - missing) :])
            missing -= len(part)
        return np.concatenate(tail[::-1]) if tail else None

    def append(self, folder: Path, new: np.ndarray | None) -> LossFile:
        """The longer file, which is on the disk when this returns."""
        if new is None or not len(new):
            return self
        if not self.rows:
            after = replace(self, dtype=new.dtype.name, row=tuple(new.shape[1:]))
        else:
            after, new = self, new.astype(self.dtype, copy=False)
        data, place = np.ascontiguousarray(new).reshape(-1).view(np.uint8).data, folder / self.name
        try:
            with open(place, "r+b" if self.rows else "wb") as file:
                file.seek(self.rows * after.row_bytes)
                file.write(data)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(place, error) from error
        return replace(after, rows=self.rows + len(new), crc=zlib.crc32(data, self.crc))

    def read(self, folder: Path) -> np.ndarray:
        """The losses.

        :raises DamagedCheckpointError: the file is shorter, or holds other bytes.
        """
        place, size = folder / self.name, self.rows * self.row_bytes
        try:
            with open(place, "rb") as file:
                data = file.read(size)
        except OSError as error:
            raise _damaged(place, f"{type(error).__name__}: {error.strerror or error}") from error
        if len(data) < size:
            raise _damaged(place, f"{len(data)} bytes of {size}")
        if zlib.crc32(data) != self.crc:
            raise _damaged(place, "other bytes than were written")
        return np.frombuffer(data, self.dtype).reshape(self.rows, *self.row)

    def as_json(self) -> dict[str, Any]:
        """The record in words of JSON."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "row": list(self.row),
            "rows": self.rows,
            "crc": self.crc,
        }


def loss_file(record: dict[str, Any]) -> LossFile:
    """The record again."""
    return LossFile(**{**record, "row": tuple(record["row"])})


def _damaged(place: Path, got: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        message(f"the losses {str(place)!r} of a checkpoint are truncated or damaged.", got=got)
    )
