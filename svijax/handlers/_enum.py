"""Run a program once for all values of its enumerated sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.effects import Enumeration, Factor, Handler, MarkovStep, Sample, Site, where

from ._infer_config import infer_config
from ._window import Window

Shape = tuple[int, ...]


def config_enumerate(
    fn: Callable[..., Any] | None = None, default: str = "parallel", expand: bool = False
) -> Any:
    """Marks the latents of ``fn`` that have finitely many values with ``infer={"enumerate": default}``.

    ``TraceEnum_ELBO`` and ``infer_discrete`` sum them out. Sites that say themselves what is done with them stay.

    :param fn: a program; None to decorate one. :param expand: give each element of a plate its own copy of the values,
        for programs that need them in full shape.
    """
    _check_mode("config_enumerate", default)

    def options(site: Sample) -> Mapping[str, Any] | None:
        if site.observed or "enumerate" in site.infer or not getattr(site.fn, "has_enumerate_support", False):
            return None
        return {"enumerate": default, "expand": expand}

    return (lambda fn: infer_config(fn, options)) if fn is None else infer_config(fn, options)


def is_enumerated(site: Site) -> bool:
    """Whether the site is a latent that is marked to be enumerated."""
    if not isinstance(site, Sample) or site.observed:
        return False
    mode = site.infer.get("enumerate")
    if mode is not None:
        _check_mode(f"{where()} site {site.name!r}", mode)
        if "num_samples" in site.infer:
            raise ModelError(
                message(
                    f"{where()} site {site.name!r}: several draws of one site are not enumerated.",
                    plates=site.plates,
                    expected="infer={'enumerate': 'parallel'}, the sum over all values",
                    got=f"num_samples={site.infer['num_samples']}",
                    fix="leave num_samples out, or raise num_particles of the objective.",
                )
            )
    return mode is not None


@dataclass(frozen=True)
class Standing:
    """What a plain run shows: ``nesting`` is how many batch dims a program uses; shapes (batch, event) by site name."""

    nesting: int
    shapes: Mapping[str, tuple[Shape, Shape]]


class one_value(Handler):
    """Each enumerated site has its first value: a plain run, from which shapes are read (``standing``)."""

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.shapes: dict[str, tuple[Shape, Shape]] = {}
        self.deepest = 0

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample):
            self._note(site, _batch(site), tuple(site.fn.event_shape))
            if is_enumerated(site) and site.value is None:
                return site.having(value=first_value(site), log_prob=None)
        if isinstance(site, Factor):
            self._note(site, _batch(site), ())
        return site

    def _note(self, site: Sample | Factor, batch: Shape, event: Shape) -> None:
        self.shapes[site.name] = (batch, event)
        self.deepest = max([self.deepest, len(batch), *(-frame.dim for frame in site.plates)])

    def standing(self, *others: one_value) -> Standing:
        """What this run showed; the nesting is that of all the runs."""
        return Standing(max(run.deepest for run in (self, *others)), dict(self.shapes))


class enum(Handler):
    """Each enumerated site has all its values at once, along a batch dim of its own left of those of the program.

    What is computed from them broadcasts, so one run gives the densities at every combination of values that meet.

    :param standing: what a plain run of the program showed. :param given: sites by name that take their draws from
        elsewhere, enumerated ones with their dims; those of the program have theirs further left.
    :param density: the log density of a site, for those inside of scans.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        standing: Standing = Standing(0, {}),
        given: Mapping[str, Site] | None = None,
        density: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(fn)
        self.density = density
        self.standing = standing
        self.given = given or {}
        self._window = Window(_first_free(standing.nesting, self.given))

    def fresh(self) -> Handler:
        return enum(self.fn, self.standing, self.given, self.density)

    def process(self, site: Site) -> Site:
        match site:
            case MarkovStep():
                self._window.move(site)
            case Factor():
                self._check_shape(site, _batch(site), ())
                return site.having(enumeration=self._standing())
            case Sample():
                return self._sample(site)
        return site

    def _sample(self, site: Sample) -> Sample:
        self._check_shape(site, _batch(site), tuple(site.fn.event_shape))
        drawn = self.given.get(site.name)
        if isinstance(drawn, Sample) and not site.observed:
            if drawn.enumeration is not None:
                self._window.adopt(drawn.enumeration.owners)
                return site.having(enumeration=self._standing(drawn.enumeration.dim))
        elif is_enumerated(site) and site.value is None:
            return self._enumerated(site)
        return site.having(enumeration=self._standing())

    def _enumerated(self, site: Sample) -> Sample:
        check_enumerable(site, self.standing.shapes[site.name][0])
        if site.steps:
            return self._in_scan(site)
        dim = self._window.take(site.name)
        values = jnp.asarray(site.fn.enumerate_support(expand=False))
        event = tuple(site.fn.event_shape)
        values = values.reshape((values.shape[0], *(1,) * (-dim - 1), *event))
        if site.infer.get("expand", False):
            inner = _last(tuple(site.fn.batch_shape), self.standing.nesting)
            lead = (1,) * (-dim - 1 - self.standing.nesting)
            values = jnp.broadcast_to(values, (values.shape[0], *lead, *inner, *event))
        return site.having(value=values, log_prob=None, noise=None, enumeration=self._standing(dim))

    def _in_scan(self, site: Sample) -> Sample:
        """A site of a scan: a dim for its value in one step, and one for that in the step before."""
        if len(site.steps) > 1:
            raise ModelError(
                message(
                    f"{where()} site {site.name!r} is to be enumerated inside a scan within a scan.",
                    fix="write the outer loop with svijax.markov(range(T)).",
                )
            )
        last = site.steps[0].length - 1
        dim, before = self._window.take(f"{site.name}[{last}]"), self._window.take(f"{site.name}[{last - 1}]")
        event = tuple(site.fn.event_shape)
        values = jnp.asarray(site.fn.enumerate_support(expand=False))
        values = values.reshape((values.shape[0], *(1,) * (-dim - 1), *event))
        return site.having(enumeration=replace(self._standing(dim), values=values, before=before))

    def _standing(self, dim: int | None = None) -> Enumeration:
        owners, stale = self._window.owners()
        return Enumeration(self.standing.nesting, owners, stale, dim, density=self.density)

    def _check_shape(self, site: Sample | Factor, batch: Shape, event: Shape) -> None:
        """Raise where the dims of plates and events are not those that the program has for one value."""
        want_batch, want_event = self.standing.shapes.get(site.name, (batch, event))
        want, got = (_last(shape, self.standing.nesting) for shape in (want_batch, batch))
        if got == want and event == want_event:
            return
        raise ModelError(
            message(
                f"{where()} site {site.name!r} does not broadcast over the values of the enumerated sites.",
                plates=site.plates,
                expected=f"batch shape {want_batch} and event shape {want_event}, as for one value; what is enumerated "
                "has dims left of these",
                got=f"batch shape {batch}, event shape {event}",
                fix="use enumerated values elementwise (table[z], jnp.where(z == 1, a, b)), and those of a plate only "
                "inside of it: a sum over its elements, or z[i], cannot be enumerated.",
            )
        )


def first_value(site: Sample) -> Any:
    """The first value of the support, in the shape of the site."""
    check_enumerable(site, None)
    values = site.fn.enumerate_support(expand=False)
    return jnp.broadcast_to(values[0], site.shape)


def check_enumerable(site: Sample, batch: Shape | None) -> None:
    """Raise unless the site has finitely many values and, for its ``batch`` shape, a plate for each batch dim."""
    summary = f"{where()} site {site.name!r} cannot be enumerated."
    if not getattr(site.fn, "has_enumerate_support", False):
        raise ModelError(
            message(
                summary,
                plates=site.plates,
                expected="a discrete distribution with finitely many values, its batch dims declared by plates",
                got=f"{type(site.fn).__name__}, event shape {tuple(site.fn.event_shape)}",
                fix='leave infer={"enumerate": ...} out there, or enumerate before .to_event().',
            )
        )
    inside = {frame.dim for frame in site.plates}
    open_dims = [d for d in range(-len(batch or ()), 0) if (batch or ())[d] != 1 and d not in inside]
    if open_dims or site.sample_shape:
        raise ModelError(
            message(
                summary,
                plates=site.plates,
                expected="a plate for each batch dim: its elements are enumerated each on its own",
                got=f"batch shape {batch}, with no plate at dim {', '.join(map(str, open_dims))}"
                if open_dims
                else f"sample_shape {site.sample_shape}",
                fix="state it inside svijax.plate(...), or make one event of the dim with .to_event().",
            )
        )


def _first_free(nesting: int, given: Mapping[str, Site]) -> int:
    taken = [
        dim
        for s in given.values()
        if isinstance(s, Sample | Factor) and s.enumeration is not None
        for dim in s.enumeration.owners
    ]
    return min([-nesting, *taken]) - 1


def _check_mode(what: str, mode: Any) -> None:
    if mode != "parallel":
        raise ArgumentError(
            message(
                f"{what}: there is no such way to enumerate.",
                expected='"parallel"',
                got=repr(mode),
                fix='write infer={"enumerate": "parallel"}, or leave it out.',
            )
        )


def _batch(site: Sample | Factor) -> Shape:
    """The batch shape, of one step where the site is in a scan."""
    shape = jnp.shape(site.value) if isinstance(site, Factor) else (*site.sample_shape, *site.fn.batch_shape)
    return shape[len(site.steps) :]


def _last(shape: Shape, n: int) -> Shape:
    """The last n sizes, 1 where there are fewer."""
    full = (*(1,) * n, *shape)
    return full[len(full) - n :]
