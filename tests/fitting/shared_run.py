"""One process of two that share a run: ``python shared_run.py RANK PORT STEPS RESULT [FOLDER]``."""

from __future__ import annotations

import sys

import jax
import numpy as np
import optax
from small_models import normal_guide, normal_model

import svijax
from svijax.fitting import save, share


def main(rank: str, port: str, steps: str, out: str, folder: str | None = None) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(rank))
    mesh = jax.make_mesh((2,), ("rows",))
    y = share(mesh, "rows", np.arange(4, dtype=np.float32) + 4 * int(rank))
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.1))
    fit = svi.run(
        jax.random.key(0),
        int(steps),
        y,
        mesh=mesh,
        data_axis="rows",
        progress_bar=False,
        checkpoint=None if folder is None else svijax.Checkpoint(folder, every_steps=50),
    )
    save(f"{out}-{rank}", {"losses": fit.losses, "rate": fit.timings.steps_per_second})
    save(f"{out}-state", fit.state)


if __name__ == "__main__":
    main(*sys.argv[1:])
