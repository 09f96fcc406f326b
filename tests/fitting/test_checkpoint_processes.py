"""Two processes with one run: the first writes, both continue, and both must see the same folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svijax.fitting import restore

SCRIPT = Path(__file__).parent / "shared_run.py"


def both(steps, out, *folders):
    """The ends of two processes: (return code, errors)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(SCRIPT),
                str(rank),
                str(port),
                str(steps),
                str(out),
                *map(str, folders[rank : rank + 1]),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, errors, strict=True)]


@pytest.mark.slow
def test_two_processes(tmp_path):
    folder, whole, out = tmp_path / "run", tmp_path / "whole", tmp_path / "out"
    assert [code for code, _ in both(300, whole)] == [0, 0]
    for steps in (120, 300):
        assert [code for code, _ in both(steps, out, folder, folder)] == [0, 0]
    for name in ("-0", "-1"):
        np.testing.assert_array_equal(
            restore(f"{out}{name}")["['losses']"], restore(f"{whole}{name}")["['losses']"]
        )
    state, expected = restore(f"{out}-state"), restore(f"{whole}-state")
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
    assert len(list(folder.glob("losses*"))) == 1
    shutil.copytree(folder, tmp_path / "mine")
    for code, text in both(300, out, tmp_path / "mine", tmp_path / "other"):
        assert code != 0
        assert "the processes of this run found different checkpoints" in text
        assert "from step 0 to step 300" in text
