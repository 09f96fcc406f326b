"""What the host does between compiled chunks: it reads losses, reports, saves, and decides whether to go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import LoaderError

from ._checkpoint import Keeper
from ._chunk import Chunk
from ._hosts import Hosts, gathered, read
from ._loop import Carry
from ._options import Options
from ._progress import Pace, progress
from ._report import Report
from ._status import Status
from ._supply import Supply

CHUNK_SECONDS = 0.1
"""How long a chunk shall take, so that a bar moves and an interrupt is heard."""


@dataclass(frozen=True)
class Reached:
    """The end of a chunk, in one piece, so that an interrupt finds all of it or nothing.

    ``place``, ``done``: how many chunks and steps were before.
    """

    carry: Carry
    losses: Any
    count: int
    place: int
    done: int


class Fit:
    """A run under way: its carry, its losses so far, and where its data come from."""

    def __init__(
        self, chunk: Chunk, carry: Carry, supply: Supply, options: Options, keeper: Keeper | None
    ) -> None:
        self.chunk, self.carry, self.supply, self.options, self.keeper = chunk, carry, supply, options, keeper
        self.feed, self.left = supply.first, 0
        self.hosts = Hosts(None if chunk.placement is None else chunk.placement.mesh)
        self.pace = Pace(chunk.capacity, CHUNK_SECONDS)
        self.parts: list[np.ndarray] = list(keeper.losses) if keeper is not None else []
        self.begun = self.done = sum(len(part) for part in self.parts)
        self.reached: Reached | None = None
        self.ending = Status.MAX_STEPS
        self.error: LoaderError | None = None
        self.seconds = 0.0

    def drive(self, num_steps: int) -> None:
        """Take chunk after chunk until the steps are done, no chain moves, or something ends the run."""
        show = self.options.progress_bar is not False and self.hosts.leads
        name = "ELBO" if getattr(self.chunk.svi.objective, "is_bound", False) else "loss"
        with progress(num_steps, show, name) as bar, self.hosts.interrupts() as interrupted:
            start = time.perf_counter()
            try:
                while self.done < num_steps and self.ending == Status.MAX_STEPS and self._moves():
                    if not self._next_feed():
                        break
                    losses = self._advance(num_steps)
                    self.seconds = time.perf_counter() - start
                    self._after(self._report(losses, num_steps), bar)
                    self._agree(interrupted())
            except KeyboardInterrupt:
                self.ending = Status.STOPPED_BY_USER
                self._settle()
            self.seconds = time.perf_counter() - start
        if self.keeper is not None:
            self.keeper.finish(self.done, gathered(self.carry), self.parts)

    @property
    def taken(self) -> int:
        """Steps of this run, without those of a checkpoint."""
        return self.done - self.begun

    def losses(self) -> np.ndarray:
        """Of all steps so far."""
        shape = (0, *jnp.shape(self.carry.status))
        return np.concatenate(self.parts) if self.parts else np.zeros(shape, np.float32)

    def _moves(self) -> bool:
        return bool((read(self.carry.status) == 0).any())

    def _next_feed(self) -> bool:
        """Whether there are data for a step."""
        if self.left:
            return True
        try:
            self.feed, self.left = next(self.supply.feeds, (self.feed, 0))
        except LoaderError as error:
            self.error, self.ending = error, Status.END_OF_DATA
            return False
        if not self.left:
            self.ending = Status.END_OF_DATA
        return bool(self.left)

    def _advance(self, num_steps: int) -> np.ndarray:
        count = min(self.pace.next(num_steps - self.done), self.left)
        if self.keeper is not None:
            count = min(count, self.keeper.steps_to_next(self.done))
        count = self.hosts.first(count)
        with self.pace.timing(count):
            self._steps(count)
        self.left -= count
        return self._settle()

    def _settle(self) -> np.ndarray:
        """Carry and losses of the last chunk in their places, however often it is begun."""
        if self.reached is not None:
            end = self.reached
            losses = read(end.losses)[: end.count]
            self.parts[end.place :], self.carry, self.done = [losses], end.carry, end.done + len(losses)
            self.reached = None
        return self.parts[-1] if self.parts else np.zeros(0, np.float32)

    def _steps(self, count: int) -> None:
        before, place = self.carry, (len(self.parts), self.done)
        steps = read(before.state.step)
        after, buffer = self.chunk(self.feed, before, count)
        if self.chunk.donate:
            # What was before is gone, so an interrupt must find what comes after.
            self.reached = Reached(after, buffer, count, *place)
        losses = read(buffer)[:count]
        moved = read(after.state.step) - steps
        if self.chunk.guard == "mark" and not _sound(after, losses, moved):
            # Once more from where the chunk began, stopping before the step that went wrong.
            after, buffer = self.chunk.careful(self.feed, before, count)
            losses, moved = read(buffer)[:count], read(after.state.step) - steps
        status = read(after.status)
        if (status == Status.CONVERGED).any() and (status != 0).all():
            # The last chain has converged: nobody took the rest of the steps.
            count = int(moved.max())
        self.reached = Reached(after, losses, count, *place)

    def _agree(self, interrupted: bool) -> None:
        """What ends the run on one of several hosts ends it on all."""
        if interrupted:
            self.ending = Status.STOPPED_BY_USER
        self.ending = Status(self.hosts.most(self.ending))

    def _report(self, losses: np.ndarray, num_steps: int) -> Report:
        metrics = self.options.metrics
        rate = self.taken / max(self.seconds, 1e-9)
        found = {} if metrics is None else metrics.read(self.carry.memory[-1], self.carry.state)
        return Report(
            step=self.done,
            num_steps=num_steps,
            losses=losses,
            seconds=self.seconds,
            steps_per_second=rate,
            state=self.carry.state,
            status=read(self.carry.status),
            metrics=found,
        )

    def _after(self, report: Report, bar: Any) -> None:
        bar(report)
        for callback in self.options.callbacks:
            if callback(report) is True:
                self.ending = Status.STOPPED_BY_USER
        if any(rule.host_done(report) for rule in self.options.host_rules):
            self.ending = Status.MAX_TIME
        if self.keeper is not None and self.keeper.due(self.done):
            self.keeper.save(self.done, gathered(self.carry), self.parts)


def _sound(after: Carry, losses: np.ndarray, moved: np.ndarray) -> bool:
    """Whether every step that was taken was finite, as losses and parameters tell."""
    steps = np.arange(len(losses)).reshape(-1, *(1,) * moved.ndim)
    return bool(np.isfinite(losses[np.broadcast_to(steps < moved, losses.shape)]).all()) and all(
        bool(np.isfinite(read(x)).all()) for x in after.state.free.arrays
    )
