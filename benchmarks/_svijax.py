"""svijax, as its users call it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

import svijax
import svijax.distributions as dist
from svijax import SVI, Trace_ELBO
from svijax.guides import AutoDiagonalNormal, AutoNormal

from ._models import models, vae_guide
from ._problems import Problem, lanes_of


class Svijax:
    """Runs of one SVI, each continuing the one before."""

    def __init__(self, problem: Problem, diagonal: bool = False, bar: bool = False, lanes: int = 1) -> None:
        model = models(svijax, dist)[problem.name]
        if problem.name == "vae":
            guide: Any = vae_guide(svijax, dist)
        else:
            guide = (AutoDiagonalNormal if diagonal else AutoNormal)(model)
        self.svi = SVI(model, guide, optax.adam(problem.learning_rate), Trace_ELBO())
        self.data, self.bar, self.lanes = problem.data, bar, lanes
        self.options: dict[str, Any] = {} if lanes == 1 else {"num_chains": lanes}
        self.fit: Any = None

    def run(self, steps: int) -> np.ndarray:
        """Losses of ``steps`` further steps; chains, if there are several, are the last axis."""
        options = dict(self.options)
        if self.fit is None:
            self.data = jax.device_put(self.data)
        else:
            options["init_state"] = self.fit.state
        self.fit = self.svi.run(jax.random.key(0), steps, *self.data, progress_bar=self.bar, **options)
        jax.block_until_ready(self.fit.state)
        losses = np.asarray(self.fit.losses)
        return losses if self.lanes == 1 else losses.reshape(self.lanes, -1).T


VARIANTS: dict[str, dict[str, Any]] = {
    "svijax": {},
    "svijax_diagonal": {"diagonal": True},
    "svijax_bar": {"bar": True},
}


def build(problem: Problem, variant: str) -> Svijax:
    """A contender by name; ``svijax_diagonal`` has AutoDiagonalNormal, the others AutoNormal."""
    name, lanes = lanes_of(variant)
    return Svijax(problem, **VARIANTS[name], lanes=lanes)
