# %% [markdown]
# # Several hosts: one fit, each process with its share of the data
#
# JAX runs one program over the devices of many machines: each starts the same script, `jax.distributed.initialize`
# makes them know each other, and an array may have its rows spread over all of them. A fit needs three lines more than
# on one device: a mesh of all devices, `share`, and `run(mesh=, data_axis=)`. The gradient of each step is summed over
# the processes by one all-reduce; everything else they compute alike.
#
# Here the machines are processes of this one, over the loopback:
#
#     python notebooks/several_hosts.py --processes 2 --checkpoint folder
#
# On real hosts each runs `several_hosts.py --process i --processes n --address first-host:port`. Where one of them
# dies, the others raise within seconds and end; started again, the script continues from the last checkpoint.

# %%
import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.fitting import Checkpoint, share
from svijax.guides import AutoNormal

ROWS, COLUMNS = 20_000, 8


# %% [markdown]
# ## The model and the data
#
# `rows(first, last)` is all that a process ever reads.

# %%


def model(X, y):
    w = svijax.sample("w", dist.Normal(0.0, 1.0).expand([X.shape[1]]).to_event(1))
    with svijax.plate("data", X.shape[0]):
        svijax.sample("y", dist.Bernoulli(logits=X @ w), obs=y)


def rows(first, last):
    """Rows of a made-up table: each can be made by itself, as it could be read from a file."""
    number = np.arange(first, last, dtype=np.float64)[:, None]
    X = np.sin(number * np.arange(1.0, COLUMNS + 1.0) + np.arange(COLUMNS)).astype(np.float32)
    chance = 0.5 + 0.5 * np.sin(12.9898 * number[:, 0])
    y = (X @ np.linspace(-2, 2, COLUMNS) + np.log(chance / (1.0001 - chance) + 1e-4) > 0).astype(np.float32)
    return X, y


LOGISTIC = SVI(model, AutoNormal(model), optax.adam(0.01))


# %% [markdown]
# ## What each process does


# %%
def one_process(options):
    jax.distributed.initialize(
        options.address,
        options.processes,
        options.process,
        initialization_timeout=60,  # seconds to wait for the others at the start,
        heartbeat_timeout_seconds=10,  # until a process that says nothing counts as dead,
        shutdown_timeout_seconds=10,  # and to wait for the others at the end
    )
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    each = ROWS // options.processes
    X, y = share(mesh, "data", rows(options.process * each, (options.process + 1) * each))
    checkpoint = Checkpoint(options.checkpoint, every_steps=50) if options.checkpoint else None
    fit = LOGISTIC.run(
        jax.random.key(0), options.steps, X, y, mesh=mesh, data_axis="data", checkpoint=checkpoint
    )
    # Parameters are whole on each device, so that every process can read them.
    found = {name: np.asarray(value).tolist() for name, value in fit.params.items()}
    found["losses"] = fit.losses.tolist()
    Path(options.out, f"process-{options.process}.json").write_text(json.dumps(found))


# %% [markdown]
# ## Start them, and compare


# %%
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(options, out, **pipes):
    """The processes of a run on this machine."""
    address = f"127.0.0.1:{free_port()}"
    common = ["--processes", options.processes, "--steps", options.steps, "--address", address, "--out", out]
    common += ["--checkpoint", options.checkpoint] if options.checkpoint else []
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            [sys.executable, __file__, "--process", str(i), *map(str, common)],
            env=environment,
            **pipes,
        )
        for i in range(options.processes)
    ]


def several(options):
    """Runs them all, and one fit of all the data beside. 0 if they agree."""
    with tempfile.TemporaryDirectory() as out:
        codes = [process.wait() for process in start(options, out)]
        if any(codes):
            print(f"exit codes {codes}")
            return 1
        found = [json.loads(Path(out, f"process-{i}.json").read_text()) for i in range(options.processes)]
    alone = LOGISTIC.run(jax.random.key(0), options.steps, *rows(0, ROWS), progress_bar=False)
    same = all(one == found[0] for one in found)
    gap = max(float(np.max(np.abs(np.asarray(found[0][n]) - x))) for n, x in alone.params.items())
    print(f"parameters identical on {options.processes} processes: {same}")
    print(f"largest difference from one process with all the data: {gap:.1e}")
    return 0 if same and gap < 1e-3 else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200 if os.environ.get("SVIJAX_QUICK") == "1" else 2_000)
    parser.add_argument("--checkpoint", default=None, help="a folder that all processes see")
    parser.add_argument("--process", type=int, default=None, help="which of the processes this is")
    parser.add_argument("--address", default=None, help="host:port of process 0")
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    if options.process is None:
        raise SystemExit(several(options))
    one_process(options)


if __name__ == "__main__":
    main()
