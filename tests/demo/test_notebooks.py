"""The notebooks run, in their quick mode, and what they print is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_amortised_inference() -> None:
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "amortised_inference.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SVIJAX_QUICK": "1", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    bound = re.search(r"ELBO (-\S+) ± (\S+); greatest log likelihood (-\S+)", done.stdout)
    assert bound is not None, done.stdout
    elbo, error, best = map(float, bound.groups())
    assert best - 60 < elbo < best + 4.5 * error + 0.1
    gap = re.search(r"means differ by at most (\S+) sd, standard deviations by at most (\d+)%", done.stdout)
    assert gap is not None, done.stdout
    assert float(gap[1]) < 0.5
    assert int(gap[2]) < 20
    assert "draws of z for 37 new rows: (4000, 37, 2)" in done.stdout


def test_new_distribution() -> None:
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "new_distribution.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SVIJAX_QUICK": "1", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WRONG") == 1
    assert "mass          WRONG" in done.stdout
    for fitted, true in re.findall(r"fitted (\S+), true (\S+)", done.stdout):
        assert abs(float(fitted) / float(true) - 1) < 0.35
    divergence = re.search(r"closed form (\S+), over draws (\S+)", done.stdout)
    assert divergence is not None, done.stdout
    assert abs(float(divergence[1]) - float(divergence[2])) < 0.01
