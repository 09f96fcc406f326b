"""What ``import svijax`` costs: no backend, no array, no optional package."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ROOMS = "svijax, svijax.distributions, svijax.guides, svijax.handlers, svijax.optim"
OPTIONAL = (
    "flax",
    "equinox",
    "tensorflow_probability",
    "distrax",
    "numpyro",
    "arviz",
    "matplotlib",
    "sklearn",
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.parametrize(
    ("code", "fails"), [(f"import {ROOMS}", False), ("import jax; jax.numpy.zeros(3)", True)]
)
def test_import_starts_no_backend(code: str, fails: bool) -> None:
    # On a platform that does not exist, whatever starts a backend fails; the second case shows that it does.
    done = python(code, JAX_PLATFORMS="no_such_platform")
    assert (done.returncode != 0) == fails, done.stderr
    assert ("no_such_platform" in done.stderr) == fails


def test_import_leaves_no_array() -> None:
    done = python(f"import jax, {ROOMS}; print(len(jax.live_arrays()))", JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_import_loads_no_optional_package() -> None:
    code = "import sys, jax, optax; before = set(sys.modules); "
    done = python(f"{code}import {ROOMS}; print(*(set(sys.modules) - before))")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "svijax" in loaded
    assert loaded.isdisjoint(OPTIONAL)


def test_import_changes_no_setting() -> None:
    code = (
        "import jax, optax, logging, warnings; "
        "look = lambda: (dict(jax.config.values), list(warnings.filters), list(logging.root.handlers)); "
        f"before = look(); import {ROOMS}; print(look() == before)"
    )
    done = python(code)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
