"""How a run ended."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """How a run ended; ``str()`` is a sentence."""

    MAX_STEPS = 0
    NONFINITE = 1
    STOPPED_BY_USER = 2
    BAD_VALUES = 3
    CONVERGED = 4
    MAX_TIME = 5
    END_OF_DATA = 6

    def __str__(self) -> str:
        return {
            Status.MAX_STEPS: "max_steps: all steps were taken",
            Status.NONFINITE: "nonfinite: a loss, gradient or parameter was not finite; "
            "the state is the last finite one",
            Status.STOPPED_BY_USER: "stopped_by_user: interrupted; the state is the last one reached",
            Status.BAD_VALUES: "bad_values: a parameter, an observation or a log density was not legal at the start",
            Status.CONVERGED: "converged: a stop rule was met",
            Status.MAX_TIME: "max_time: the time allowed was over",
            Status.END_OF_DATA: "end_of_data: the batches ended before the steps did",
        }[self]

    @property
    def failed(self) -> bool:
        """Whether the parameters are not those of a fit that went its way."""
        return self in (Status.NONFINITE, Status.BAD_VALUES)
