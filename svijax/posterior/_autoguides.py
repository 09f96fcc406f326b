"""Autoguides at arguments other than those of the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.density import Program, abstractly
from svijax.effects import Sample, Site, label
from svijax.guides import AutoContinuous, AutoGuide, Particles
from svijax.handlers import block, seed, trace
from svijax.transforms import biject_to


def for_these_arguments(
    guide: Program,
    model: Program,
    params: Mapping[str, Any] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Program:
    """The guide; an autoguide without sites that the fit observed and these arguments do not (``y=None``).

    :raises ArgumentError: the latents at these arguments are not those of the fit.
    """
    if isinstance(guide, Particles):
        return replace(guide, guide=for_these_arguments(guide.guide, model, params, args, kwargs))
    if not isinstance(guide, AutoGuide) or params is None:
        return guide
    latents = _latents(guide.model, args, kwargs)
    if isinstance(guide, AutoContinuous):
        _check_size(guide, latents, params)
        return guide
    known = {name for name in latents if any(p.startswith(f"{name}_{guide.prefix}_") for p in params)}
    if not known or len(known) == len(latents):
        return guide

    def hides(site: Site) -> bool:
        return isinstance(site, Sample) and site.latent and site.name not in known

    return replace(guide, model=block(guide.model, hide_fn=hides))


def _latents(model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, int | None]:
    """Size of the unconstrained value of each latent; None where there is none."""

    def facts(key: jax.Array) -> dict[str, int | None]:
        with trace() as sites, seed(rng_seed=key), label(role="model"):
            model(*args, **kwargs)
        return {s.name: _free_size(s) for s in sites.values() if isinstance(s, Sample) and s.latent}

    return abstractly(facts)


def _free_size(site: Sample) -> int | None:
    if site.fn.support.is_discrete:
        return None
    return math.prod(biject_to(site.fn.support).inverse_shape(site.shape))


def _check_size(guide: AutoContinuous, latents: Mapping[str, int | None], params: Mapping[str, Any]) -> None:
    loc = params.get(f"{guide.prefix}_loc")
    sizes = list(latents.values())
    if loc is None or (None not in sizes and sum(s or 0 for s in sizes) == jnp.shape(loc)[-1]):
        return
    raise ArgumentError(
        message(
            f"{type(guide).__name__} was fitted for other latents than the model has at these arguments.",
            expected=f"latents of {jnp.shape(loc)[-1]} numbers in all",
            got=", ".join(f"{n} ({'discrete' if size is None else size})" for n, size in latents.items()),
            fix="where data that the fit observed is left out (y=None), its site is a latent here: pass "
            "posterior_samples=fit.posterior.sample(1000) instead of guide and params.",
        )
    )
