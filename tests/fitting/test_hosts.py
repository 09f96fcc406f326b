"""Several processes: what they share, and two real ones over the loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from svijax.base import ArgumentError, DataError
from svijax.fitting import share
from svijax.fitting._hosts import Hosts, gathered, read, spanned

SCRIPT = Path(__file__).parents[2] / "notebooks" / "several_hosts.py"
ONE = Mesh(np.array(jax.devices()[:1]), ("data",))


# One process is a run of several with one of them


def test_share_of_the_only_process_is_all() -> None:
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    shared = share(ONE, "data", {"X": X, "y": y})
    np.testing.assert_array_equal(shared["X"], X)
    np.testing.assert_array_equal(shared["y"], y)
    assert shared["X"].sharding.mesh == ONE


@pytest.mark.parametrize("array", [np.zeros((0, 2)), np.float32(1.0)])
def test_share_without_rows(array: Any) -> None:
    with pytest.raises(
        DataError, match=r"array\['X'\] do not fit.*\n.*a multiple of 1.*\n.*0 rows\n.*1 rows"
    ):
        share(ONE, "data", {"X": array})


def test_share_along_no_axis() -> None:
    with pytest.raises(ArgumentError, match=r"no axis of the mesh(.|\n)*\('data',\)(.|\n)*'model'"):
        share(ONE, "model", np.zeros(3))


def test_one_process_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax.experimental.multihost_utils, "process_allgather", None)
    monkeypatch.setattr(jax.experimental.multihost_utils, "broadcast_one_to_all", None)
    hosts = Hosts(ONE)
    before = signal.getsignal(signal.SIGINT)
    assert (spanned(ONE), hosts.leads, hosts.first(7), hosts.most(7)) == (1, True, 7, 7)
    with hosts.interrupts() as interrupted:
        assert signal.getsignal(signal.SIGINT) is before
        assert not interrupted()


def test_an_interrupt_of_one_of_several_is_heard_between_chunks() -> None:
    hosts = Hosts(None)
    hosts.several = True
    before = signal.getsignal(signal.SIGINT)
    with hosts.interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_arrays_of_this_process_are_read_as_they_are() -> None:
    x = jax.numpy.arange(3)
    assert gathered({"x": x})["x"] is x
    np.testing.assert_array_equal(read(x), [0, 1, 2])


# Two of them


def environment() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}


def run_script(folder: Path, steps: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--processes", "2", "--steps", str(steps)]
    return subprocess.run(
        [*command, "--checkpoint", str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def saved_steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:17]) for path in folder.glob("step-*.svijax"))


@pytest.mark.slow
def test_two_processes_end_alike(tmp_path: Path) -> None:
    done = run_script(tmp_path, 200)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "identical on 2 processes: True" in done.stdout
    assert saved_steps(tmp_path) == [100, 150, 200]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_the_checkpoint_is_usable(tmp_path: Path, victim: int) -> None:
    namespace: dict[str, Any] = {"__name__": "several_hosts", "__file__": str(SCRIPT)}
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), namespace)
    steps = 4_000
    options = Namespace(processes=2, steps=steps, checkpoint=str(tmp_path))
    processes = namespace["start"](options, str(tmp_path), stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(step >= 100 for step in saved_steps(tmp_path)), 120)
        processes[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        _, errors = processes[1 - victim].communicate(timeout=60)
        assert time.monotonic() - killed < 30
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1 - victim].returncode not in (0, None)
    assert "Error" in errors or "UNAVAILABLE" in errors
    reached = saved_steps(tmp_path)[-1]
    assert 100 <= reached < steps

    done = run_script(tmp_path, reached + 100)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "identical on 2 processes: True" in done.stdout
    assert saved_steps(tmp_path)[-1] == reached + 100


def wait_for(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
