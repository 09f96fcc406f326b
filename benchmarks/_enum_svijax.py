"""The models of ``_enumeration`` in svijax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import svijax
import svijax.distributions as dist
from svijax.distributions import constraints

from ._enumeration import BITS, DATA, First, Steps, start

PARALLEL = {"enumerate": "parallel"}


def mixture(data: Any, init: Any) -> None:
    weights = svijax.param("weights", init["weights"], constraint=constraints.simplex)
    locs = svijax.param("locs", init["locs"])
    with svijax.plate("data", len(data)):
        z = svijax.sample("z", dist.Categorical(weights), infer=PARALLEL)
        svijax.sample("x", dist.Normal(locs[z], 1.0), obs=data)


def chain(data: Any, init: Any) -> None:
    transition = svijax.param("transition", init["transition"], constraint=constraints.simplex)
    locs = svijax.param("locs", init["locs"])

    def step(z: Any, x: Any) -> Any:
        z = svijax.sample("z", dist.Categorical(transition[z]), infer=PARALLEL)
        svijax.sample("x", dist.Normal(locs[z], 0.5), obs=x)
        return z, None

    svijax.scan(step, 0, data)


def bits(data: Any, init: Any) -> None:
    probs = svijax.param("probs", init["probs"], constraint=constraints.unit_interval)
    locs = svijax.param("locs", init["locs"])
    with svijax.plate("data", len(data)):
        mean: Any = 0.0
        for i in range(BITS):
            mean = mean + locs[i] * svijax.sample(f"z{i}", dist.Bernoulli(probs[i]), infer=PARALLEL)
        svijax.sample("x", dist.Normal(mean, 0.3), obs=data)


def guide(data: Any, init: Any) -> None:
    pass


def build(problem: str) -> tuple[First, Steps]:
    model = {"mixture": mixture, "chain": chain, "bits": bits}[problem]
    svi = svijax.SVI(model, guide, optax.adam(1e-3), svijax.TraceEnum_ELBO())
    data, init = jnp.asarray(DATA[problem]()), start(problem)

    def first() -> float:
        fit = svi.run(jax.random.key(0), 1, data, init, progress_bar=False)
        return float(fit.losses[0])

    def steps(count: int) -> float:
        fit = svi.run(jax.random.key(0), count, data, init, progress_bar=False)
        return float(np.asarray(fit.losses)[-1])

    return first, steps
