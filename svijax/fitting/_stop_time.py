"""Stop when the time is over."""

from __future__ import annotations

from dataclasses import dataclass

from ._report import Report
from ._stop_options import check_number


@dataclass(frozen=True)
class MaxTime:
    """Stop once the steps have taken ``seconds`` of wall clock, compilation not counted.

    Asked between compiled chunks, about every tenth of a second; a run inside ``jit`` has none and refuses it.

    :raises ArgumentError: no positive number of seconds.
    """

    seconds: float

    def __post_init__(self) -> None:
        check_number(type(self).__name__, "seconds", self.seconds, above=0.0)

    def host_done(self, report: Report) -> bool:
        """Whether the run ends here."""
        return report.seconds >= self.seconds
