"""NumPyro in its fastest forms, and in the form that its documentation shows."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import lax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

from ._models import models, vae_guide
from ._problems import Problem, lanes_of


class NumPyro:
    """Runs of one SVI, each continuing the one before.

    ``form`` is ``scan`` (``lax.scan(svi.update)`` under one ``jit``), ``run`` (``svi.run`` without a bar) or
    ``bar`` (with one). The last two compile anew at each call, and what they take for it counts.
    """

    def __init__(self, problem: Problem, diagonal: bool = False, form: str = "scan", lanes: int = 1) -> None:
        model = models(numpyro, dist)[problem.name]
        if problem.name == "vae":
            guide: Any = vae_guide(numpyro, dist)
        else:
            guide = (AutoDiagonalNormal if diagonal else AutoNormal)(model)
        self.svi = SVI(model, guide, optax.adam(problem.learning_rate), Trace_ELBO())
        self.data, self.form, self.lanes, self.state = problem.data, form, lanes, None
        self._scan = jax.jit(self._steps, static_argnums=1)

    def _start(self) -> Any:
        key = jax.random.key(0)
        self.data = jax.device_put(self.data)
        if self.lanes == 1:
            return self.svi.init(key, *self.data)
        return jax.vmap(lambda k: self.svi.init(k, *self.data))(jax.random.split(key, self.lanes))

    def _steps(self, state: Any, count: int, data: Any) -> Any:
        def many(state: Any) -> Any:
            return lax.scan(lambda s, _: self.svi.update(s, *data), state, length=count)

        return many(state) if self.lanes == 1 else jax.vmap(many, out_axes=(0, 1))(state)

    def run(self, steps: int) -> np.ndarray:
        """Losses of ``steps`` further steps; chains, if there are several, are the last axis."""
        if self.state is None:
            self.state = self._start()
        if self.form == "scan":
            self.state, losses = self._scan(self.state, steps, self.data)
            return np.asarray(losses)
        run = partial(self.svi.run, jax.random.key(0), steps, *self.data, init_state=self.state)
        result = run(progress_bar=self.form == "bar")
        self.state = result.state
        return np.asarray(result.losses)


VARIANTS: dict[str, dict[str, Any]] = {
    "numpyro_normal": {},
    "numpyro_diagonal": {"diagonal": True},
    "numpyro_run": {"form": "run"},
    "numpyro_bar": {"form": "bar"},
    "numpyro": {},
}


def build(problem: Problem, variant: str) -> NumPyro:
    """A contender by name; ``numpyro_diagonal`` has AutoDiagonalNormal, the others AutoNormal."""
    name, lanes = lanes_of(variant)
    return NumPyro(problem, **VARIANTS[name], lanes=lanes)
