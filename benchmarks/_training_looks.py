"""What it costs to look: a bar, metrics and a checkpoint every second, beside a run without."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from svijax.fitting import Batches, Checkpoint, Metrics

from ._problems import PROBLEMS
from ._svijax import Svijax
from ._training_images import BATCH, PLATE, Fit
from ._training_turns import Row, Run, ratio, turns
from .speed import terminal

LOOKS = ("bar", "metrics", "checkpoint", "all")


def options_of(look: str, folders: Callable[[], Path]) -> dict[str, Any]:
    """Options of a run. Each run has a folder of its own: in the same one it would find that it is done."""
    options: dict[str, Any] = {"progress_bar": look in ("bar", "all")}
    if look in ("metrics", "all"):
        options["metrics"] = Metrics()
    if look in ("checkpoint", "all"):
        options["checkpoint"] = Checkpoint(folders(), every_seconds=1.0)
    return options


def measure(rows: np.ndarray, repeats: int, steps: int, name: str, small_steps: int) -> list[Row]:
    """Steps per second of the autoencoder, and of a model whose step takes a microsecond."""
    found: list[Row] = []
    on_device = jax.device_put(rows)
    schools = PROBLEMS["eight_schools"]()
    with tempfile.TemporaryDirectory() as root:
        numbers = itertools.count()

        def folders() -> Path:
            return Path(root) / str(next(numbers))

        def vae(look: str) -> Run:
            fit = Fit(rows, lambda: Batches(on_device, BATCH, plate=PLATE))

            def run() -> float:
                fit.options = options_of(look, folders)
                with terminal():
                    return float(fit.run(steps)[-50:].mean()) / len(rows)

            run()
            return run

        def small(look: str) -> Run:
            fit = Svijax(schools)
            fit.run(10)

            def run() -> float:
                with terminal():
                    fit.fit = fit.svi.run(
                        jax.random.key(0),
                        small_steps,
                        *fit.data,
                        init_state=fit.fit.state,
                        **options_of(look, folders),
                    )
                return float(np.mean(fit.fit.losses[-2000:]))

            run()
            return run

        for problem, make, count in ((name, vae, steps), ("eight_schools", small, small_steps)):
            makers = {look: (lambda look=look, make=make: make(look)) for look in ("bare", *LOOKS)}
            some = turns(count, makers, repeats, f"looks, {problem}")
            found += [{**row, "part": "looks", "unit": "k steps/s", "steps": count} for row in some]
    return found


def targets(rows: list[Row]) -> list[tuple[str, str, float | None, str, float]]:
    """(problem, what, figure, sign, bound). The small model has no bound: a step of it is shorter than a look."""
    lines = []
    for problem in dict.fromkeys(r["problem"] for r in rows):
        bound = float("inf") if "eight" in problem else 1.02
        for look in LOOKS:
            figure = ratio(rows, problem, look, "bare", "seconds")
            lines.append((problem, f"time with {look}, over none", figure, "<=", bound))
    return lines
