"""The models of ``_enumeration`` in Pyro; the chain is a loop under ``pyro.markov``."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, TraceEnum_ELBO
from torch.distributions import constraints

from ._enumeration import BITS, DATA, First, Steps, start


def parallel() -> dict[str, str]:
    """A new dictionary each time: the library writes into it."""
    return {"enumerate": "parallel"}


def mixture(data: Any, init: Any) -> None:
    weights = pyro.param("weights", init["weights"], constraint=constraints.simplex)
    locs = pyro.param("locs", init["locs"])
    with pyro.plate("data", len(data)):
        z = pyro.sample("z", dist.Categorical(weights), infer=parallel())
        pyro.sample("x", dist.Normal(locs[z], 1.0), obs=data)


def chain(data: Any, init: Any) -> None:
    transition = pyro.param("transition", init["transition"], constraint=constraints.simplex)
    locs = pyro.param("locs", init["locs"])
    z: Any = 0
    for t in pyro.markov(range(len(data))):
        z = pyro.sample(f"z_{t}", dist.Categorical(transition[z]), infer=parallel())
        pyro.sample(f"x_{t}", dist.Normal(locs[z], 0.5), obs=data[t])


def bits(data: Any, init: Any) -> None:
    probs = pyro.param("probs", init["probs"], constraint=constraints.unit_interval)
    locs = pyro.param("locs", init["locs"])
    with pyro.plate("data", len(data)):
        mean: Any = 0.0
        for i in range(BITS):
            mean = mean + locs[i] * pyro.sample(f"z{i}", dist.Bernoulli(probs[i]), infer=parallel())
        pyro.sample("x", dist.Normal(mean, 0.3), obs=data)


def guide(data: Any, init: Any) -> None:
    pass


def build(problem: str) -> tuple[First, Steps]:
    model = {"mixture": mixture, "chain": chain, "bits": bits}[problem]
    nesting = 0 if problem == "chain" else 1
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), TraceEnum_ELBO(max_plate_nesting=nesting))
    data = torch.as_tensor(DATA[problem]())
    init = {name: torch.as_tensor(value) for name, value in start(problem).items()}

    def first() -> float:
        return float(svi.step(data, init))

    def steps(count: int) -> float:
        return [float(svi.step(data, init)) for _ in range(count)][-1]

    return first, steps
