"""Peak memory of a case, in a process of its own: ``python -m benchmarks._training_memory CASE [DIR]``.

Prints JSON. On a GPU it is what JAX says of the device; on a CPU the peak of the process beyond what it holds once
packages and data are loaded.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from svijax import Trace_ELBO
from svijax.fitting import Batches

from . import _floor, _svijax
from ._problems import PROBLEMS
from ._training_images import BATCH, PLATE, Fit, Floor, from_disk, images
from .speed import fresh

MB = 2**20
PARTICLES = 256
CASES = (
    *("vae floor", "vae svijax", "vae svijax donate", "vae svijax disk"),
    *("vae 256 particles", "vae 256 particles by 8", "vae 256 particles by 8 remat"),
    *("1024 chains floor", "1024 chains svijax"),
)


def measure(folder: str | None, cases: tuple[str, ...] = CASES) -> list[dict[str, Any]]:
    """A row for each case."""
    rest = [] if folder is None else [folder]
    return [{"case": case} | fresh("-m", "benchmarks._training_memory", case, *rest) for case in cases]


def runner(case: str, folder: str | None, scratch: Path) -> Callable[[], Any]:
    """What a case does, once packages and data are there."""
    if case.startswith("1024 chains"):
        problem = PROBLEMS["eight_schools"]()
        made: Any = (_floor.Floor if "floor" in case else _svijax.Svijax)(problem, lanes=1024)
        return partial(made.run, 500)
    rows = images(folder)
    if case == "vae floor":
        return lambda: Floor(rows).run(30)
    if case == "vae svijax disk":
        path = scratch / "images.bin"
        rows.tofile(path)
        disk = partial(from_disk, path, rows.shape)
        stream = partial(Batches, size=BATCH, plate=PLATE, total=len(rows))
        return partial(Fit(rows, lambda: stream(lambda epoch: disk(epoch))).run, 30)
    fit = Fit(rows, lambda: Batches(rows, BATCH, plate=PLATE), donate="donate" in case)
    if "particles" in case:
        options: dict[str, Any] = {"particle_batch": 8} if "by 8" in case else {}
        options |= {"remat": True} if "remat" in case else {}
        fit.svi = type(fit.svi)(
            fit.svi.model, fit.svi.guide, fit.svi.optim, Trace_ELBO(num_particles=PARTICLES, **options)
        )
    return partial(fit.run, 4 if "particles" in case else 30)


def forget_peak() -> None:
    """Where the system can, the peak begins anew at what is held now: reading the data takes more than they do."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Megabytes, so far."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / MB
    status = Path("/proc/self/status")
    if status.exists():
        # Of this program alone: what getrusage says begins at the peak of the process that started this one.
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def main(case: str, folder: str | None = None) -> None:
    """Run a case and print its peak."""
    with tempfile.TemporaryDirectory() as scratch:
        run = runner(case, folder, Path(scratch))
        jax.block_until_ready(jax.numpy.zeros(1) + 1)
        forget_peak()
        before = peak() if jax.default_backend() == "cpu" else 0.0
        run()
        print(json.dumps({"peak_mb": round(peak(), 1), "beyond_data_mb": round(peak() - before, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
