"""What holds of every objective: terms by site, mutable state, options, its place in jit, vmap and chains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import ArgumentError
from svijax.guides import AutoDelta, Particles
from svijax.objectives import (
    SVGD,
    EnergyDistance,
    ImportanceWeightedELBO,
    RBFKernel,
    RenyiELBO,
    ReweightedWakeSleep,
    SteinELBO,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)

sample, param = svijax.sample, svijax.param
Normal = dist.Normal

EVERY = [
    Trace_ELBO(3),
    TraceGraph_ELBO(3),
    TraceMeanField_ELBO(3),
    TraceEnum_ELBO(3),
    RenyiELBO(0.5, 3),
    ImportanceWeightedELBO(3),
    ReweightedWakeSleep(3),
    TraceTailAdaptive_ELBO(3),
    EnergyDistance(num_particles=3),
    Trace_MMD(RBFKernel(), num_particles=3),
    SteinELBO(RBFKernel(), 3),
    SVGD(RBFKernel()),
]
every = pytest.mark.parametrize("objective", EVERY, ids=lambda o: type(o).__name__)


def model() -> None:
    held = svijax.mutable("seen", {"steps": jnp.zeros(()), "z": jnp.zeros(())})
    z = sample("z", Normal(0.0, 1.0))
    sample("y", Normal(z + 0.1 * held["steps"], 1.0), obs=np.array(0.7))
    held["steps"] = held["steps"] + 1
    held["z"] = z


def plain() -> None:
    z = sample("z", Normal(0.0, 1.0))
    sample("y", Normal(z, 1.0), obs=np.array(0.7))


def guide() -> None:
    sample("z", Normal(param("m", 0.2), param("s", 0.8, constraint=dist.constraints.positive)))


def guide_for(objective: Any, program: Any) -> Any:
    if isinstance(objective, SVGD):
        return Particles(AutoDelta(program), 4)
    return Particles(own_start, 4) if isinstance(objective, SteinELBO) else guide


def own_start() -> None:
    sample("z", Normal(param("m", lambda key: jax.random.normal(key)), 0.8))


@every
def test_mutable_state(objective: Any) -> None:
    """One step forward whatever the number of particles, from what the state holds, in update and evaluate alike."""
    svi = SVI(model, guide_for(objective, model), optax.adam(1e-2), objective)
    state = svi.init(jax.random.key(0))
    assert state.mutable["seen"]["steps"] == 0
    for step in (1, 2):
        loss = svi.evaluate(state)
        state, again = svi.update(state)
        np.testing.assert_allclose(loss, again, rtol=1e-6)
        assert state.mutable["seen"]["steps"] == step
    late = state.having(mutable={"seen": {**state.mutable["seen"], "steps": jnp.array(30.0)}})
    assert abs(svi.evaluate(late) - svi.evaluate(state)) > 0.1
    kept = svi.run(jax.random.key(0), 5, progress_bar=False).state.mutable["seen"]
    assert kept["steps"] == 5 and np.isfinite(kept["z"])


@every
def test_terms_by_site(objective: Any) -> None:
    svi = SVI(plain, guide_for(objective, plain), 1e-2, objective)
    state = svi.init(jax.random.key(0))
    found = svijax.fitting.differentiate(svi, state)[0]
    # Where there is no likelihood it has no log density either.
    observed = set() if isinstance(objective, EnergyDistance) else {"y"}
    assert {"z"} | observed <= set(found.log_p) and "z" in found.log_q
    assert all(np.isfinite(x) and jnp.shape(x) == () for x in (*found.log_p.values(), *found.log_q.values()))


@every
def test_memory_options_change_nothing(objective: Any) -> None:
    svi = SVI(plain, guide_for(objective, plain), 1e-2, objective)
    state = svi.init(jax.random.key(0))
    want = svijax.fitting.differentiate(svi, state)
    for options in ({"particle_batch": 2}, {"remat": True}, {"vectorize_particles": False}):
        other = SVI(plain, svi.guide, 1e-2, replace(objective, **options))
        got = svijax.fitting.differentiate(other, state)
        for a, b in zip(jax.tree.leaves((got[0].loss, got[1])), jax.tree.leaves((want[0].loss, want[1]))):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@every
def test_jit_vmap_and_chains(objective: Any) -> None:
    svi = SVI(plain, guide_for(objective, plain), optax.adam(1e-2), objective)
    keys = jax.random.split(jax.random.key(0), 2)
    both = jax.jit(jax.vmap(lambda k: svi.run(k, 4).losses))(keys)
    alone = svi.run(keys[1], 4, progress_bar=False).losses
    np.testing.assert_allclose(both[1], alone, rtol=1e-4, atol=1e-5)
    chains = svi.run(jax.random.key(0), 4, num_chains=2, progress_bar=False)
    np.testing.assert_allclose(chains.losses, both, rtol=1e-4, atol=1e-5)


@every
def test_objectives_are_values(objective: Any) -> None:
    again = replace(objective)
    assert again == objective and hash(again) == hash(objective)
    assert replace(objective, particle_batch=2) != objective


def test_wake_sleep_has_no_fixed_draws() -> None:
    with pytest.raises(ArgumentError, match="ReweightedWakeSleep differentiates through no draw"):
        ReweightedWakeSleep(3, fixed_draws=4)
