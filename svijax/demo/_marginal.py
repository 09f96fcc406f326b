"""The numbers that stand for a posterior marginal in tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Marginal:
    """Mean, standard deviation, 5 % and 95 % quantiles of one number."""

    mean: float
    sd: float
    low: float
    high: float

    @property
    def columns(self) -> dict[str, float]:
        """The four numbers under the names that a summary gives them."""
        return {"mean": self.mean, "sd": self.sd, "5 %": self.low, "95 %": self.high}
