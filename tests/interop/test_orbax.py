"""Orbax saves a state as it saves any pytree; the notebook of checkpoints shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax.guides import AutoNormal

pytestmark = pytest.mark.interop

ocp = pytest.importorskip("orbax.checkpoint")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "checkpoints.py"
Y = np.array([0.3, -0.2, 1.5, 2.0, 0.7], np.float32)


def model(y):
    mu = svijax.sample("mu", dist.Normal(0.0, 5.0))
    tau = svijax.sample("tau", dist.HalfNormal(5.0))
    with svijax.plate("schools", y.shape[0]):
        svijax.sample("y", dist.Normal(mu, tau), obs=y)


@pytest.mark.parametrize(
    "optim", [optax.adam(0.05), optax.chain(optax.clip_by_global_norm(1.0), optax.lamb(0.05))]
)
@pytest.mark.parametrize("chains", [None, 3])
def test_a_state_continues_to_the_same_bits(optim, chains, tmp_path):
    svi = svijax.SVI(model, AutoNormal(model), optim)
    unbroken = svi.run(jax.random.key(0), 150, Y, num_chains=chains, progress_bar=False)
    state = svi.run(jax.random.key(0), 60, Y, num_chains=chains, progress_bar=False).state
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "state", like)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    fit = svi.run(None, 90, Y, init_state=restored, progress_bar=False)
    np.testing.assert_array_equal(fit.losses, unbroken.losses[..., 60:])
    for a, b in zip(jax.tree.leaves(fit.state), jax.tree.leaves(unbroken.state)):
        np.testing.assert_array_equal(a, b)


def test_the_notebook():
    done = subprocess.run(
        [sys.executable, str(NOTEBOOK)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SVIJAX_QUICK": "1", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "same state: True" in lines
    assert "same losses, from the first step on: True" in lines
    assert "same average: True" in lines
    assert "same again: True at 0.0 steps/s" in lines
    assert "is of another run." in done.stdout
    assert "data spec length: expected 500, got 569" in done.stdout
    assert "steps in all: 1600" in lines
    assert "orbax, same further losses: True" in lines
    assert "the manager's last state: 1500 steps, same: True" in lines
