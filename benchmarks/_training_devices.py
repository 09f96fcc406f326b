"""Eight virtual devices in a process of its own: ``python -m benchmarks._training_devices``.

Prints JSON: how far the run on the mesh is from that on one device, and the collectives of its compiled steps.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DEVICES = 8
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
FLAGS = f"--xla_force_host_platform_device_count={DEVICES}"


def measure(steps: int) -> dict[str, Any]:
    """What a fresh process finds."""
    with tempfile.TemporaryDirectory() as folder:
        dump = f"--xla_dump_to={folder} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_steps"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION_CACHE")}
        environment |= {"XLA_FLAGS": f"{FLAGS} {dump}", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-m", "benchmarks._training_devices", str(steps), folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540)
    if done.returncode:
        return {"error": (done.stderr.strip() or "no output").splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(steps: int) -> dict[str, Any]:
    """The run with its rows on eight devices against that on one."""
    import jax
    import numpy as np
    import optax

    import svijax
    import svijax.distributions as dist
    from svijax import SVI
    from svijax.guides import AutoNormal

    rng = np.random.default_rng(8)
    x = rng.normal(size=(1024, 16)).astype(np.float32)
    y = (rng.random(1024) < 1 / (1 + np.exp(-x @ rng.normal(size=16)))).astype(np.float32)

    def model(x: Any, y: Any) -> None:
        w = svijax.sample("w", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        with svijax.plate("rows", x.shape[0]):
            svijax.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    svi = SVI(model, AutoNormal(model), optax.adam(1e-2))
    mesh = jax.make_mesh((DEVICES,), ("data",))
    key = jax.random.key(0)
    on_mesh = svi.run(key, steps, x, y, mesh=mesh, data_axis="data", progress_bar=False)
    on_one = svi.run(key, steps, x, y, progress_bar=False)
    names = list(on_one.params)
    return {
        "devices": jax.device_count(),
        "steps": steps,
        "losses_differ_by": float(np.max(np.abs(on_mesh.losses / on_one.losses - 1))),
        "params_differ_by": max(
            float(np.max(np.abs(np.asarray(on_mesh.params[n]) - np.asarray(on_one.params[n])))) for n in names
        ),
    }


def collectives(folder: Path) -> dict[str, int]:
    """How many of each kind there are in the compiled steps of the run on the mesh, the program that has most."""
    found: list[dict[str, int]] = [{}]
    for path in folder.glob("*after_optimizations.txt"):
        kinds = re.findall(rf"= \S.*? ({KINDS})(?:-start)?\(", path.read_text())
        found.append({kind: kinds.count(kind) for kind in dict.fromkeys(kinds)})
    return max(found, key=lambda kinds: sum(kinds.values()))


def targets(result: dict[str, Any]) -> list[tuple[str, str, float | None, str, float]]:
    """(problem, what, figure, sign, bound)."""
    kinds = result.get("collectives")
    reduced = None if kinds is None else float(kinds.get("all-reduce", 0))
    others = None if kinds is None else float(sum(kinds.values()) - kinds.get("all-reduce", 0))
    where = f"{DEVICES} virtual devices"
    return [
        (where, "losses, relative to one device's", result.get("losses_differ_by"), "<=", 1e-4),
        (where, "all-reduces in a step", reduced, "<=", 1),
        (where, "other collectives in a step", others, "<=", 0),
    ]


if __name__ == "__main__":
    count, where = sys.argv[1:]
    print(json.dumps(compare(int(count)) | {"collectives": collectives(Path(where))}))
