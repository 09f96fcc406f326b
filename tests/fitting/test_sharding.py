"""Runs over eight devices: ``on_eight_devices.py`` in a process that is started with so many."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def on_eight_devices(marks: str) -> None:
    """Fails with the report of the tests that have these marks, if one of them fails."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-m", marks, str(HERE / "on_eight_devices.py")]
    done = subprocess.run(
        command,
        env={**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_runs_over_eight_devices() -> None:
    on_eight_devices("not slow")


@pytest.mark.slow
def test_more_runs_over_eight_devices() -> None:
    on_eight_devices("slow")
