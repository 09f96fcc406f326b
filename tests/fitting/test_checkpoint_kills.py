"""Processes that are killed at any moment, in the middle of writing too, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killed_run import STEPS, arrays, fit

from svijax.fitting import read_metadata, restore

SCRIPT = Path(__file__).parent / "killed_run.py"


def start(case, folder):
    """The run in a process of its own, once it takes steps."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), case, str(folder / "checkpoints"), str(folder / "result")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def kill_after(process, seconds):
    """Whether it was killed before its end, so many seconds after its first chunk."""
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def finish(process):
    """The steps that the last process reported."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return [int(line) for line in out.split()]


def check(case, folder):
    """The result is that of the unbroken run, bit by bit."""
    found = restore(folder / "result")
    expected = arrays(fit(case))
    assert found.keys() == {f"[{name!r}]" for name in expected}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[f"[{name!r}]"], value, err_msg=name)
    assert not list((folder / "checkpoints").glob(".*"))
    assert len(list((folder / "checkpoints").glob("losses*"))) == 1


def saved(folder):
    """The step of the last checkpoint."""
    return read_metadata(max((folder / "checkpoints").glob("step*")))["step"]


def test_killed_once(tmp_path):
    assert kill_after(start("single", tmp_path), 0.35)
    before = saved(tmp_path)
    assert 0 < before < STEPS
    steps = finish(start("single", tmp_path))
    assert steps[0] > before
    check("single", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["single", "chains", "epochs", "stream"])
def test_killed_again_and_again(case, tmp_path):
    rng, kills, half_written = np.random.default_rng(len(case)), 0, 0
    for _ in range(8):
        kills += kill_after(start(case, tmp_path), rng.uniform(0.0, 0.4))
        half_written += bool(list((tmp_path / "checkpoints").glob(".step*")))
    finish(start(case, tmp_path))
    check(case, tmp_path)
    assert kills >= 3
    assert half_written >= 1
