"""A file that takes the place of another when it is whole and on the disk, not before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from svijax.base import CheckpointError, message

PathLike = str | os.PathLike[str]

TEMPORARY = ".tmp"
"""How the names of files end that are being written; they begin with a dot."""


@contextmanager
def replacing(path: PathLike) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path`` when it is whole and on the disk."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: PathLike, error: OSError) -> CheckpointError:
    """What to raise where the system refuses to write."""
    return CheckpointError(
        message(
            f"the checkpoint {os.fspath(path)!r} cannot be written.",
            got=f"{type(error).__name__}: {error.strerror or error}",
            fix="make room, or name a folder that exists and may be written to.",
        )
    )
