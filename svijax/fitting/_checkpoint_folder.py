"""The folder of one run's checkpoints: what is in it, and the last one that can be read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from svijax.base import DamagedCheckpointError, message

from ._files import Entry, read
from ._losses import LossFile, loss_file
from ._replacing import TEMPORARY, cannot_write

NAME = re.compile(r"step-(\d+)\.svijax")
LOSSES = re.compile(r"losses-[0-9a-f]+\.bin")


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read. ``about``: what its run was about."""

    path: Path
    header: Mapping[str, Any]
    entries: Mapping[str, Entry]
    losses: LossFile
    taken: np.ndarray
    about: Mapping[str, Any]
    step: int


def path_of(folder: Path, step: int) -> Path:
    """The file of the checkpoint after so many steps."""
    return folder / f"step-{step:012d}.svijax"


def is_ours(path: Path) -> bool:
    """Whether a keeper of checkpoints gave the file its name."""
    return bool(NAME.fullmatch(path.name) or LOSSES.fullmatch(path.name))


def steps_in(folder: Path) -> list[int]:
    """The steps of which the folder has checkpoints, in their order."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)))


def prepare(folder: Path) -> None:
    """Make the folder, try to write into it, and delete what a killed process left half written."""
    probe = folder / f".probe.{os.getpid()}{TEMPORARY}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        for path in folder.glob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def last_good(folder: Path, on_damaged: str) -> Found | None:
    """The checkpoint with the most steps, or with the most among those that can be read."""
    steps = steps_in(folder)
    for i, step in enumerate(reversed(steps)):
        try:
            return _read(folder, step)
        except DamagedCheckpointError as error:
            before = steps[: len(steps) - 1 - i]
            if on_damaged == "previous" and before:
                continue
            fix = "there is none before it: Checkpoint(..., resume=False) begins anew."
            if before:
                fix = f"there is one of step {before[-1]}: Checkpoint(..., on_damaged='previous') takes it."
            summary = str(error).split("\n")[0]
            raise DamagedCheckpointError(message(summary, got=_got(error), fix=fix)) from error
    return None


def _got(error: Exception) -> str:
    lines = [line.split(":", 1)[1].strip() for line in str(error).split("\n") if line.startswith("  got:")]
    return lines[0] if lines else ""


def _read(folder: Path, step: int) -> Found:
    path = path_of(folder, step)
    header, found = read(path)
    metadata = header["metadata"]
    if not {"step", "losses", "about"} <= metadata.keys():
        raise DamagedCheckpointError(
            message(
                f"{str(path)!r} is no checkpoint of a run.",
                got="a file that svijax.fitting.save was asked for",
            )
        )
    losses = loss_file(metadata["losses"])
    taken = losses.read(folder)
    return Found(path, header, found, losses, taken, metadata["about"], metadata["step"])
