"""The models of ``_enumeration`` in NumPyro with funsor, steps in ``lax.scan`` over ``svi.update``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints
from numpyro.infer import SVI, TraceEnum_ELBO

from ._enumeration import BITS, DATA, First, Steps, start


def parallel() -> dict[str, str]:
    """A new dictionary each time: the library writes into it."""
    return {"enumerate": "parallel"}


def mixture(data: Any, init: Any) -> None:
    weights = numpyro.param("weights", init["weights"], constraint=constraints.simplex)
    locs = numpyro.param("locs", init["locs"])
    with numpyro.plate("data", len(data)):
        z = numpyro.sample("z", dist.Categorical(weights), infer=parallel())
        numpyro.sample("x", dist.Normal(locs[z], 1.0), obs=data)


def chain(data: Any, init: Any) -> None:
    transition = numpyro.param("transition", init["transition"], constraint=constraints.simplex)
    locs = numpyro.param("locs", init["locs"])

    def step(z: Any, x: Any) -> Any:
        z = numpyro.sample("z", dist.Categorical(transition[z]), infer=parallel())
        numpyro.sample("x", dist.Normal(locs[z], 0.5), obs=x)
        return z, None

    scan(step, 0, data)


def bits(data: Any, init: Any) -> None:
    probs = numpyro.param("probs", init["probs"], constraint=constraints.unit_interval)
    locs = numpyro.param("locs", init["locs"])
    with numpyro.plate("data", len(data)):
        mean: Any = 0.0
        for i in range(BITS):
            mean = mean + locs[i] * numpyro.sample(f"z{i}", dist.Bernoulli(probs[i]), infer=parallel())
        numpyro.sample("x", dist.Normal(mean, 0.3), obs=data)


def guide(data: Any, init: Any) -> None:
    pass


def build(problem: str) -> tuple[First, Steps]:
    model = {"mixture": mixture, "chain": chain, "bits": bits}[problem]
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), TraceEnum_ELBO(max_plate_nesting=1))
    data = jnp.asarray(DATA[problem]())
    init = jax.tree.map(jnp.asarray, start(problem))
    held: list[Any] = []

    @partial(jax.jit, static_argnums=1)
    def run(state: Any, count: int) -> Any:
        return jax.lax.scan(lambda s, _: svi.update(s, data, init), state, None, length=count)

    def first() -> float:
        held.append(svi.init(jax.random.key(0), data, init))
        return float(run(held[0], 1)[1][0])

    def steps(count: int) -> float:
        return float(run(held[0], count)[1][-1])

    return first, steps
