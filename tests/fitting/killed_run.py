"""A run to be killed: ``python killed_run.py CASE FOLDER RESULT``. It writes slowly, so that kills fall there."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax.fitting import Average, Batches, RelativeELBO
from svijax.guides import AutoNormal

STEPS = 600
ROWS = np.random.default_rng(0).normal(size=(53, 2)).astype(np.float32)


def rows_model(x: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with svijax.plate("data", 53):
        svijax.sample("x", dist.Normal(mu, 1.0).to_event(1), obs=x)


def stream() -> Iterator[np.ndarray]:
    for i in range(10_000):
        yield np.random.default_rng(i).normal(size=(8, 2)).astype(np.float32)


SINGLE = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
BY_ROWS = svijax.SVI(rows_model, AutoNormal(rows_model), optax.adam(0.05))


def fit(case: str, **options: Any) -> svijax.SVIRunResult:
    """The run of a case, 600 steps or until its rule fires."""
    key = jax.random.key(0)
    match case:
        case "single":
            return SINGLE.run(key, STEPS, Y, progress_bar=False, **options)
        case "chains":
            watch = {"average": Average(), "stop": RelativeELBO(window=150, tol=1e-3)}
            return SINGLE.run(key, STEPS, Y, progress_bar=False, num_chains=3, **watch, **options)
        case "epochs":
            data = Batches(ROWS, size=8)
            return BY_ROWS.run(key, STEPS, batches=data, progress_bar=False, donate=True, **options)
        case _:
            data = Batches(stream(), size=8, total=53)
            return BY_ROWS.run(key, STEPS, batches=data, progress_bar=False, **options)


def arrays(result: svijax.SVIRunResult) -> dict[str, np.ndarray]:
    """All that a result holds, by name."""
    parts = {"fit": (result.state, result.params, result.losses, result.status, result.skipped)}
    if result.average is not None:
        parts["averaged"] = result.averaged.params
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def slowly(report: Any) -> None:
    """Takes its time at each chunk, and says how far the run is."""
    print(report.step, flush=True)
    time.sleep(0.005)


def main(case: str, folder: str, out: str) -> None:
    sync = os.fsync

    def slow_sync(handle: int) -> None:
        time.sleep(0.01)
        sync(handle)
        time.sleep(0.01)

    os.fsync = slow_sync  # type: ignore[assignment]
    keep = svijax.Checkpoint(folder, every_steps=20)
    result = fit(case, callback=slowly, checkpoint=keep)
    svijax.fitting.save(out, arrays(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
