"""The sleep phase: log q of the model's own draws, the guide looking at the data that come with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, message, site_key
from svijax.density import log_density, run_model
from svijax.effects import Sample, Site
from svijax.handlers import uncondition

from ._evaluation import Evaluation
from ._particles import ParticleObjective, Run, mean_over_particles, with_shared_masks
from ._terms import add_up

KEYWORD = "observations"
"""The name under which programs take the data."""


@partial(jax.tree_util.register_dataclass, data_fields=["log_q"], meta_fields=[])
@dataclass(frozen=True)
class Dream:
    """log q by site of one simulation."""

    log_q: dict[str, Any]


@dataclass(frozen=True)
class Sleep(ParticleObjective):
    """−E log q(z | x), (x, z) drawn from the model, both as constants."""

    def one(self, run: Run) -> Dream:
        dreamt = run_model(
            uncondition(run.model),
            run.args,
            run.kwargs,
            {},
            key=site_key(run.key, "sleep"),
            plate_key=run.plate_key,
            state=run.mutable,
        )
        sites = [site for site in dreamt.values() if isinstance(site, Sample)]
        latents = {s.name: jax.lax.stop_gradient(s.value) for s in sites if not was_observed(s)}
        data = dict(run.kwargs[KEYWORD])
        data |= {s.name: _in_place(s, data[s.name]) for s in sites if was_observed(s) and s.name in data}
        kwargs = {**run.kwargs, KEYWORD: data}
        guide_trace = run.having(kwargs=kwargs, noise={}).guide_trace(latents)
        return Dream(log_density(with_shared_masks(dreamt, guide_trace)))

    def combine(self, particles: Dream, mutable: Mapping[str, Any]) -> Evaluation:
        log_q = mean_over_particles(particles.log_q)
        return Evaluation(-add_up(log_q.values()), {}, log_q, {})


def was_observed(site: Sample) -> bool:
    """Whether the site is observed when the program is awake."""
    return bool(site.infer.get("was_observed", False))


def check_observations(model_trace: Mapping[str, Site], kwargs: Mapping[str, Any]) -> None:
    """Raise unless the programs were called with their data where the sleep phase can put others.

    :raises ModelError: no keyword ``observations``, or no observed site's name in it.
    """
    observed = [s.name for s in model_trace.values() if isinstance(s, Sample) and s.observed]
    given = kwargs.get(KEYWORD)
    if not observed or (isinstance(given, Mapping) and any(name in given for name in observed)):
        return
    raise ModelError(
        message(
            "ReweightedWakeSleep: in the sleep phase the guide must see simulated data, and they have no place to go.",
            expected=f"programs called with {KEYWORD}=, a dictionary with some of the observed sites {observed}",
            got=f"{KEYWORD} with {list(given)}" if isinstance(given, Mapping) else f"no {KEYWORD}",
            fix=f"write model(..., {KEYWORD}) and guide(..., {KEYWORD}), and call "
            f"svi.run(..., {KEYWORD}={{{observed[0]!r}: data}}); or use insomnia=1.0.",
        )
    )


def _in_place(site: Sample, data: Any) -> Any:
    """The simulated values in the shape of the data: of plates that subsample, the rows in play among the others."""
    value = jax.lax.stop_gradient(site.value)
    axes = [range(n) for n in jnp.shape(value)]
    for frame in site.plates:
        axis = frame.dim - len(site.fn.event_shape)
        if frame.subsampled and jnp.shape(data)[axis] == frame.size:
            axes[axis] = frame.rows
    if jnp.shape(data) == jnp.shape(value):
        return value
    return jnp.asarray(data, value.dtype).at[jnp.ix_(*map(jnp.asarray, axes))].set(value)
