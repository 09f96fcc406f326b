"""``run(checkpoint=Checkpoint(folder))``: saved as it goes, and continued from there when it is run again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from svijax.base import ArgumentError, CheckpointError, message
from svijax.objectives import check_count

from ._checkpoint_folder import is_ours, last_good, path_of, prepare, steps_in
from ._files import Entry, entries, fitted, write
from ._hosts import Hosts
from ._losses import LossFile
from ._replacing import PathLike
from ._structure import describe, differences

SECONDS = 60.0
"""Between two saves, where nothing else is asked for."""

ON_DAMAGED = ("raise", "previous")


@dataclass(frozen=True)
class Checkpoint:
    """Where and when a run is saved. A run that was killed at any moment continues to the same bits.

    :param folder: one run's own; it is made if it is not there.
    :param every_steps: save where the number of steps is a multiple. :param every_seconds: save after so many
        seconds; 60 if neither is given. The end of a run is saved in any case.
    :param keep: how many of the last checkpoints stay.
    :param resume: continue from what is in the folder; if False, begin anew, and replace it at the first save.
    :param on_damaged: what to do where the last file is truncated or damaged: "raise", or take the one before it,
        "previous".
    :raises ArgumentError: a value that cannot be used.
    """

    folder: PathLike
    every_steps: int | None = None
    every_seconds: float | None = None
    keep: int = 3
    resume: bool = True
    on_damaged: str = "raise"

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike):
            raise ArgumentError(message("folder= of Checkpoint is a path.", got=repr(self.folder)))
        if self.every_steps is not None:
            check_count("every_steps", self.every_steps)
        check_count("keep", self.keep)
        seconds = self.every_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ArgumentError(
                message("every_seconds= of Checkpoint is a positive number.", got=repr(seconds))
            )
        if self.on_damaged not in ON_DAMAGED:
            raise ArgumentError(
                message(
                    "on_damaged= of Checkpoint is none of its choices.",
                    expected=ON_DAMAGED,
                    got=repr(self.on_damaged),
                )
            )


class Keeper:
    """The checkpoints of one run under way: what it found in the folder, when to save, and the saving.

    ``step``: steps that the checkpoint to continue from has taken, 0 if there is none. ``losses``: theirs, in parts.
    """

    def __init__(
        self, options: Checkpoint, hosts: Hosts | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``hosts``: the processes of the run, of which the first one writes.

        :raises CheckpointError: the folder cannot be written. :raises DamagedCheckpointError: see ``on_damaged``.
        """
        self.options, self._clock = options, clock
        self._hosts = Hosts(None) if hosts is None else hosts
        self.folder = Path(options.folder)
        if self._hosts.leads:
            prepare(self.folder)
        self._hosts.first(0)  # nobody looks before it is prepared
        self._found = last_good(self.folder, options.on_damaged) if options.resume else None
        found = self._found
        self.step = 0 if found is None else found.step
        self.losses = [] if found is None else [found.taken]
        self._check_agreement()
        self._file = LossFile(f"losses-{os.urandom(8).hex()}.bin") if found is None else found.losses
        self._known = [] if found is None else [s for s in steps_in(self.folder) if s <= found.step]
        self._saved, self._when = self.step, clock()
        self._about: Mapping[str, Any] = {}
        self._structure: Mapping[str, Any] = {}
        self._pool = ThreadPoolExecutor(1, "svijax-checkpoint")
        self._pending: Future[None] | None = None

    def start(self, first: Any, about: Mapping[str, Any], num_steps: int) -> Any:
        """What the run starts from: ``first``, or what the checkpoint has in its place.

        :raises CheckpointError: it is another run's; the message says what differs.
        """
        self._about, self._structure, self._when = about, describe(first), self._clock()
        found = self._found
        if found is None:
            return first
        lines = differences(about, found.about)
        if lines:
            raise CheckpointError(
                message(
                    f"the checkpoint {str(found.path)!r} is of another run."
                    + "".join(f"\n    {line}" for line in lines),
                    fix="give the model, data and key of that run, or Checkpoint another folder; "
                    "Checkpoint(..., resume=False) begins anew and replaces what is there.",
                )
            )
        if found.step > num_steps:
            raise CheckpointError(
                message(
                    f"the checkpoint {str(found.path)!r} is beyond the end of this run.",
                    expected=f"at most {num_steps} steps",
                    got=f"{found.step} steps",
                    fix="num_steps counts from the start of the run, what was taken before included.",
                )
            )
        carry = fitted(found.path, found.header, found.entries, first)
        self._found = None  # its arrays are no longer needed
        return carry

    def _check_agreement(self) -> None:
        """Raise, on all processes, unless they found the same."""
        least, most = -self._hosts.most(-self.step), self._hosts.most(self.step)
        if least != most:
            raise CheckpointError(
                message(
                    f"the processes of this run found different checkpoints in {str(self.folder)!r}.",
                    expected="one folder that all of them see",
                    got=f"from step {least} to step {most}",
                    fix="name a folder on a disk that they share.",
                )
            )

    def steps_to_next(self, step: int) -> int:
        """How many steps may be taken until one is to be saved."""
        every = self.options.every_steps
        return np.iinfo(np.int32).max if every is None else every - step % every

    def due(self, step: int) -> bool:
        """Whether to save here. By the clock only if the last one is on the disk."""
        every, seconds = self.options.every_steps, self.options.every_seconds
        if every is not None and step % every == 0 and step > self._saved:
            return True
        if seconds is None:
            if every is not None:
                return False
            seconds = SECONDS
        busy = self._pending is not None and not self._pending.done()
        late = not busy and step > self._saved and self._clock() - self._when >= seconds
        return bool(self._hosts.first(late))

    def save(self, step: int, carry: Any, losses: Sequence[np.ndarray]) -> None:
        """Write in the background. ``losses``: of all steps so far, in parts; what was written is not written again.

        :raises CheckpointError: the save before this one failed.
        """
        self.wait()
        found = entries(carry, copy=True)
        self._saved, self._when = step, self._clock()
        if self._hosts.leads:
            self._pending = self._pool.submit(self._write, step, found, self._file.rest_of(losses))

    def finish(self, step: int, carry: Any, losses: Sequence[np.ndarray]) -> None:
        """Save the end of the run, unless it is saved; all is on the disk when this returns."""
        # An interrupt may fall between the end of a chunk and the note of its losses: then the last save stands.
        taken = int(np.max(carry.state.step)) - self._about["first step"]
        if self._saved < step >= taken:
            self.save(step, carry, losses)
        self.wait()

    def wait(self) -> None:
        """Until the last save is on the disk; what it raised is raised here."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """No write goes on after this, however the run ended."""
        self._pool.shutdown()

    def _write(self, step: int, found: Mapping[str, Entry], new: np.ndarray | None) -> None:
        # The losses first: a checkpoint that is there has its losses.
        self._file = self._file.append(self.folder, new)
        metadata = {"step": step, "losses": self._file.as_json(), "about": self._about}
        write(path_of(self.folder, step), found, self._structure, metadata)
        self._known = [*(s for s in self._known if s != step), step][-self.options.keep :]
        self._forget()

    def _forget(self) -> None:
        """Delete what is not of the last checkpoints of this run; the newest is whole by now."""
        stay = {path_of(self.folder, step).name for step in self._known} | {self._file.name}
        for path in sorted(self.folder.iterdir()):
            if is_ours(path) and path.name not in stay:
                path.unlink(missing_ok=True)


@contextmanager
def keeping(options: Checkpoint | None, hosts: Hosts) -> Iterator[Keeper | None]:
    """The keeper of a run, if it has ``checkpoint=``."""
    if options is None:
        yield None
        return
    keeper = Keeper(options, hosts)
    try:
        yield keeper
    finally:
        keeper.close()
