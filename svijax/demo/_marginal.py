"""The numbers that stand for a posterior marginal in tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Marginal:
    """Mean, standard deviation, 5 % and 95 % quantiles of one number."""

    mean: float
    sd: float
    low: float
    high: float

    @property
    def cells(self) -> list[str]:
        """The four numbers as a table shows them."""
        return [f"{x:.2f}" for x in (self.mean, self.sd, self.low, self.high)]


def of_draws(draws: Any) -> Marginal:
    """The marginal of one number, from draws of it."""
    x = np.asarray(draws, np.float64)
    low, high = np.quantile(x, [0.05, 0.95])
    return Marginal(float(x.mean()), float(x.std()), float(low), float(high))
