"""The latents of a model, found abstractly, and the model run with a guide's draws in their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, SupportError, message
from svijax.density import Program, abstractly
from svijax.distributions import ImproperUniform
from svijax.effects import (
    Asked,
    Frame,
    Handler,
    KeyRequest,
    MaskQuery,
    Mutable,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    Subsample,
    ask,
    label,
    outside,
    perform,
    tell,
    where,
)
from svijax.handlers import Trace, first_value, is_enumerated, seed, trace
from svijax.transforms import biject_to


@dataclass(frozen=True)
class Latent:
    """Static facts about one latent: shapes are of the unconstrained value, ``full`` with whole plates."""

    name: str
    shape: tuple[int, ...]
    full: tuple[int, ...]
    event_dim: int
    masked: bool
    local: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def find_latents(model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Latent, ...]:
    """The model's latents in order, without those that are marked to be enumerated.

    :raises ModelError: the model has none, or a discrete or point-mass one. :raises SupportError: a latent whose
        support has no bijection from the reals.
    """

    def facts(key: jax.Array) -> tuple[Latent, ...]:
        sites = prior_trace(model, args, kwargs, key)
        latents = [s for s in sites.values() if isinstance(s, Sample) and s.latent]
        return tuple(_facts(s) for s in latents if not is_enumerated(s))

    found = abstractly(facts)
    if not found:
        raise ModelError(
            message(
                "the model has no latent site, so there is nothing for an autoguide to approximate.",
                fix="a model with param sites only is fitted with the empty guide: lambda *args, **kwargs: None.",
            )
        )
    return found


def prior_trace(model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Any) -> Trace:
    """The model's sites at draws from the prior; at some value in the support where a prior has no draws."""
    with trace() as sites, seed(rng_seed=key), _stand_in(), label(role="model"):
        model(*args, **kwargs)
    return sites


class _stand_in(Handler):
    """A latent of infinite mass stands at unconstrained zero."""

    def process(self, site: Site) -> Site:
        if (
            not isinstance(site, Sample)
            or site.observed
            or site.value is not None
            or not _is_improper(site.fn)
        ):
            return site
        bijection = biject_to(site.fn.support)
        return site.having(value=bijection(jnp.zeros(bijection.inverse_shape(site.shape))))


def _is_improper(fn: Any) -> bool:
    while fn is not None and not isinstance(fn, ImproperUniform):
        fn = getattr(fn, "base_dist", None)
    return fn is not None


def _facts(site: Sample) -> Latent:
    support = site.fn.support
    if support.is_discrete:
        raise ModelError(
            message(
                f"model site {site.name!r} is a discrete latent, for which an autoguide has no family.",
                plates=site.plates,
                got=f"{type(site.fn).__name__} with support {support}",
                fix="write the guide yourself with a discrete distribution there (Trace_ELBO gives it score-function "
                "gradients), or sum it out: svijax.handlers.config_enumerate(model) with TraceEnum_ELBO().",
            )
        )
    try:
        bijection = biject_to(support)
    except SupportError as error:
        raise SupportError(f"model site {site.name!r}: {error}") from error
    shape = tuple(bijection.inverse_shape(site.shape))
    event_dim = len(shape) - len(site.fn.batch_shape)
    full = list(shape)
    for frame in site.plates:
        full[frame.dim - event_dim] = frame.size
    local = any(frame.subsampled for frame in site.plates)
    return Latent(site.name, shape, tuple(full), event_dim, site.mask is not None, local)


def gather(full: Any, plates: tuple[Frame, ...], event_dim: int) -> Any:
    """The rows in play of a table over whole plates."""
    for frame in plates:
        if frame.subsampled:
            full = jnp.take(full, frame.rows, axis=frame.dim - event_dim)
    return full


def tile(value: Any, full: tuple[int, ...]) -> Any:
    """A value for whole plates from one for the rows in play, repeated as often as needed."""
    repeats = [-(-want // have) if have else 1 for want, have in zip(full, jnp.shape(value), strict=True)]
    return jnp.tile(value, repeats)[tuple(slice(0, n) for n in full)] if full else value


class run_with(Handler):
    """Runs a model as part of a guide: each latent is drawn by ``draw(site)`` and stated outside as the guide's.

    What the model observes, factors or names is hidden from outside; its plates and parameters are not. So the
    guide's sites stand in the plates and under the masks of the model's, and see its current supports.
    """

    def __init__(self, draw: Callable[[Sample], Sample]) -> None:
        super().__init__()
        self.draw = draw
        self.values: dict[str, Any] = {}
        self._drawn: dict[str, Asked] = {}

    def process(self, site: Site) -> Site:
        match site:
            case Sample() if is_enumerated(site):
                # Others may have their shapes and supports from it, and those are the same at all its values.
                return site.having(value=first_value(site), stop=True)
            case Sample() if site.latent and site.ahead:
                infer = {**site.infer, "fixed_support": True}
                return site.having(value=self._draw_ahead(site), infer=infer, stop=True)
            case Sample() if site.latent:
                with outside(self):
                    drawn = perform(self.draw(site))
                self.values[site.name] = drawn.value
                return site.having(value=drawn.value, stop=True)
            case Mutable():
                # The model's own run writes the state; this one only reads it.
                with outside(self):
                    return site.having(value=perform(site).value, stop=True)
            case Param() | ParamGroup() | PlateIndices() | KeyRequest() | MaskQuery() | Subsample():
                return site
        return site.having(stop=True)

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.name in self._drawn:
            record, reached = self._drawn.pop(site.name)
            with outside(self):
                tell(record.having(mask=site.mask), reached)
        return site

    def _draw_ahead(self, site: Sample) -> Any:
        """The value of a latent inside a scan or cond, whose mask comes after it."""
        _check_constant_support(site)
        with outside(self):
            record, reached = ask(self.draw(site))
            drawn = record.resolve(where())
        self._drawn[site.name] = Asked(drawn, reached)
        self.values[site.name] = drawn.value
        return drawn.value


def _check_constant_support(site: Sample) -> None:
    bounds = jax.tree.leaves(site.fn.support)
    if any(isinstance(bound, jax.Array) for bound in bounds):
        raise ModelError(
            message(
                f"model site {site.name!r}: inside svijax.scan or svijax.cond the support of a latent must be the "
                "same at each step, and in both branches, for an autoguide.",
                plates=site.plates,
                expected="bounds that are numbers",
                got=f"{type(site.fn).__name__} with bounds that are computed",
                fix="draw it on a fixed support, and move it to its bounds in the body.",
            )
        )


def run_model_with(
    model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], draw: Callable[[Sample], Sample]
) -> dict[str, Any]:
    """Values by site name of the latents, drawn by ``draw`` in the model's own surroundings."""
    handler = run_with(draw)
    with handler, label(role="model"):
        model(*args, **kwargs)
    return handler.values


def of_guide(site: Sample, fn: Any, **changes: Any) -> Sample:
    """The guide's record at a site of the model: its plates and mask, the scale of its subsampled plates."""
    scale = None
    for frame in site.plates:
        if not frame.is_whole:
            scale = frame.ratio if scale is None else scale * frame.ratio
    return Sample(
        name=site.name, fn=fn, plates=site.plates, steps=site.steps, mask=site.mask, scale=scale, **changes
    )
