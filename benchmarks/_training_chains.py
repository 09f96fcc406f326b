"""Many chains in one program: svijax, NumPyro vmapped by hand, the floor, and as many runs one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from . import _floor, _numpyro, _svijax
from ._problems import PROBLEMS, Problem
from ._training_turns import Row, Run, ratio, turns

STEPS = {("eight_schools", 64): 20_000, ("eight_schools", 1024): 2_000}
STEPS |= {("logistic", 64): 1_000, ("logistic", 1024): 100}
SEQUENTIAL = 64


class Sequential:
    """Single fits, one after another, each continuing its own."""

    def __init__(self, problem: Problem, count: int) -> None:
        self.one = _svijax.Svijax(problem)
        self.fits: list[Any] = [None] * count
        self.lanes = count

    def run(self, steps: int) -> np.ndarray:
        """Losses of ``steps`` further steps of each; chains are the last axis."""
        losses = []
        for k, fit in enumerate(self.fits):
            self.one.fit = fit
            losses.append(self.one.run(steps))
            self.fits[k] = self.one.fit
        return np.stack(losses, axis=-1)


def contenders(problem: Problem, lanes: int) -> dict[str, Callable[[], Any]]:
    """Makers by name."""
    found: dict[str, Callable[[], Any]] = {
        "floor": lambda: _floor.Floor(problem, lanes),
        "svijax": lambda: _svijax.Svijax(problem, lanes=lanes),
        "svijax_diagonal": lambda: _svijax.Svijax(problem, diagonal=True, lanes=lanes),
        "numpyro_normal": lambda: _numpyro.NumPyro(problem, lanes=lanes),
        "numpyro_diagonal": lambda: _numpyro.NumPyro(problem, diagonal=True, lanes=lanes),
    }
    if lanes == SEQUENTIAL:
        found["svijax_sequential"] = lambda: Sequential(problem, lanes)
    return found


def measure(repeats: int, scale: float, lanes: tuple[int, ...] = (64, 1024)) -> list[Row]:
    """Steps of chains per second: chains · steps / seconds."""
    rows = []
    for name in ("eight_schools", "logistic"):
        problem = PROBLEMS[name]()
        for count in lanes:
            steps = max(10, round(STEPS[name, count] * scale))

            def maker(make: Callable[[], Any], steps: int = steps, problem: Problem = problem) -> Run:
                runner = make()
                runner.run(max(10, problem.warm_steps // 20))
                runner.run(steps)
                return lambda: np.asarray(runner.run(steps))[-problem.tail :].mean()

            makers = {
                n: lambda make=make, maker=maker: maker(make)
                for n, make in contenders(problem, count).items()
            }
            some = turns(count * steps, makers, repeats, f"{name} x {count}")
            rows += [
                {**row, "part": "chains", "unit": "k steps/s", "chains": count, "steps": steps}
                for row in some
            ]
            jax.clear_caches()
    return rows


def targets(rows: list[Row]) -> list[tuple[str, str, float | None, str, float]]:
    """(problem, what, figure, sign, bound)."""
    lines = []
    for problem in dict.fromkeys(r["problem"] for r in rows):
        best = [ratio(rows, problem, n, "floor") for n in ("numpyro_normal", "numpyro_diagonal")]
        rival = max((x for x in best if x), default=None)
        ours = ratio(rows, problem, "svijax", "floor")
        against = ours / rival if ours and rival else None
        lines.append((problem, "steps/s over NumPyro's best form", against, ">=", 1.0))
        step = ratio(rows, problem, "floor", "svijax")
        lines.append((problem, "step, over the floor's", step, "<=", 1.2))
        if any(r["contender"] == "svijax_sequential" and r["problem"] == problem for r in rows):
            many = ratio(rows, problem, "svijax", "svijax_sequential")
            lines.append((problem, "steps/s over as many single runs", many, ">=", 1.0))
    return lines
