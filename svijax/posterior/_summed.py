"""Models with sites that are marked to be enumerated, run on draws of a guide that lacks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.density import (
    Program,
    check_pair,
    enumerated_here,
    infer_discrete,
    joint_terms,
    plates_of_traces,
    scored_sites,
    stated_log_prob,
    summed_over_plates,
    terms_of,
    watched,
)
from svijax.effects import Site
from svijax.guides import latent_values
from svijax.handlers import Trace, enum, is_enumerated, one_value, supply

RunModel = Callable[[Program], Trace]
"""The trace of a program on one draw of the guide."""


def leaves_out(guide: Mapping[str, Site], model: Mapping[str, Site]) -> bool:
    """Whether the model has a site that is marked to be enumerated, and the guide has none of its name."""
    return any(is_enumerated(site) and site.name not in guide for site in model.values())


def log_joint(model: Program, run: RunModel, guide: Trace) -> Any:
    """log Σ_d p(x, z, d), d the enumerated sites that the guide lacks."""
    seen = one_value()
    jax.eval_shape(lambda: (run(watched(model, seen)), 0)[1])
    standing = seen.standing()
    sites = run(enum(model, standing, guide, stated_log_prob))
    check_pair(sites, guide, enumerates=True)
    plates = plates_of_traces(standing.nesting, sites)
    terms = [term for site in scored_sites(sites) for term in terms_of(site, guide)]
    terms = joint_terms(terms, enumerated_here(sites, guide), plates, {})
    return sum((summed_over_plates(term.value, plates) for term in terms), jnp.zeros(()))


def drawn_jointly(model: Program, guide: Trace) -> Program:
    """The model with d ~ p(d | x, z)."""
    return infer_discrete(supply(model, latent_values(guide)))
