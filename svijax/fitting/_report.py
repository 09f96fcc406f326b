"""What the host knows between two compiled chunks, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ._state import SVIState


@dataclass(frozen=True)
class Report:
    """The run up to the end of a chunk.

    ``step``: steps of this run that are done. ``num_steps``: of how many, None where nobody knows. ``losses``: of this
    chunk alone, in nats, (n,) or (n, chains), NaN where a chain took no step. ``metrics``: by name, what ``metrics=``
    asked for; a number, or one a chain. ``seconds``: since the first step. ``steps_per_second``: of the whole run.
    ``state``: after the chunk. ``status``: a ``Status``, or one a chain; ``MAX_STEPS`` while it moves.
    """

    step: int
    num_steps: int | None
    losses: np.ndarray
    seconds: float
    steps_per_second: float
    state: SVIState
    status: Any
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_chains(self) -> int | None:
        """How many chains; None for a single fit."""
        return self.losses.shape[1] if self.losses.ndim == 2 else None

    @property
    def loss(self) -> Any:
        """Mean of the chunk's losses that are finite; one a chain. NaN where there are none."""
        return mean_of_finite(self.losses)


class Callback(Protocol):
    """A function of a ``Report``, called between compiled chunks, about every tenth of a second.

    If it returns True the run ends, with ``Status.STOPPED_BY_USER``; anything else lets it go on. What it raises is
    raised by ``run``.
    """

    def __call__(self, report: Report, /) -> object: ...


def mean_of_finite(losses: Any) -> Any:
    """Mean over the first axis of the entries that are finite, in double precision; NaN where there are none."""
    values = np.asarray(losses, float)
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[()]
