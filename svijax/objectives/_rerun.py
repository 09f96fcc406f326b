"""Estimators that run the programs again with other values at one latent of the guide.

They have the place of the score function at their site: its score is in no magic box, and what they say of the costs
downstream is added to the particle's loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import site_key
from svijax.density import detach_params
from svijax.effects import Sample
from svijax.handlers import Trace

from ._estimators import Estimator
from ._first_order import only_first
from ._particles import Run
from ._surrogate import downstream
from ._terms import Cost, Score, Terms, add_up

MakeTerms = Callable[[Run, Trace, Trace], Terms]
Values = Mapping[str, Any]
Change = Callable[[Trace], Trace]


@dataclass(frozen=True)
class Pass:
    """The programs run once: their sites, and the terms of the bound."""

    model_trace: Trace
    guide_trace: Trace
    terms: Terms


@dataclass(frozen=True)
class Place:
    """A latent of the guide in one pass of a particle. ``make``: the terms of two traces, as the objective has them."""

    estimator: Rerun
    site: Sample
    score: Score
    run: Run
    first: Pass
    make: MakeTerms

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def reason(self) -> str:
        """Why estimators of the first derivative have no second one here."""
        return only_first(f"guide site {self.name!r}: {type(self.estimator).__name__}")

    def key(self, purpose: str) -> jax.Array:
        """A key of this particle and site."""
        return site_key(self.run.key, f"{self.name}/{purpose}")

    def uniforms(self, shape: tuple[int, ...], purpose: str = "uniforms") -> jax.Array:
        """Uniforms on (0, 1) that no draw of the programs is made of."""
        tiny = float(jnp.finfo(float).tiny)
        return jax.random.uniform(self.key(purpose), shape, minval=tiny)

    def again(self, value: Any) -> Terms:
        """The terms with another draw here, at the same randomness, their parameters as constants."""
        return self.pass_at({self.name: value}).terms

    def pass_at(self, values: Values, change: Change | None = None) -> Pass:
        """The pass with other draws, by name, its parameters as constants."""
        model, guide = (detach_params(program, self.reason) for program in (self.run.model, self.run.guide))
        run = self.run.having(model=model, guide=guide)
        return pass_of(run, self.make, values, change)

    def costs(self, terms: Terms) -> Any:
        """For each batch element the sum of the costs that depend on its draw."""
        return downstream(terms.costs, self.score)

    def linked(self, terms: Terms) -> list[Cost]:
        """The costs that depend on the draw."""
        return [cost for cost in terms.costs if any(link.score == self.name for link in cost.links)]

    def later(self) -> list[Sample]:
        """The latents that the guide states after this one."""
        latents = [s for s in self.first.guide_trace.values() if isinstance(s, Sample) and s.latent]
        return latents[[s.name for s in latents].index(self.name) + 1 :]


@dataclass(frozen=True)
class Rerun(Estimator):
    """An estimator that runs the programs again."""

    def cuts(self, site: Sample) -> bool:
        return True


@dataclass(frozen=True)
class Surrogate(Rerun):
    """An estimator of the first derivative alone.

    The derivative of log q(z) at the draw itself, of expectation 0, is left out.
    """

    @abstractmethod
    def surrogate(self, place: Place) -> Any:
        """A number of value 0 whose derivative is the gradient that comes by way of the draw."""


@dataclass(frozen=True)
class Branching(Rerun):
    """An estimator that puts other terms in the place of those that depend on the draw."""

    @abstractmethod
    def branched(self, place: Place, terms: Terms, branch: Callable[[Any], Terms]) -> Terms:
        """The terms with those that it puts in.

        :param terms: of the place's pass, with what the sites after it put in. :param branch: the same with another
            value here, and its own draws of what the guide states later.
        """


def revised(run: Run, make: MakeTerms, estimator_at: Callable[[Sample], Estimator | None]) -> Terms:
    """The terms of a particle, with what the estimators that run the programs again make of them."""
    first = pass_of(run, make)
    latents = [s for s in first.guide_trace.values() if isinstance(s, Sample) and s.latent]
    chosen = {site.name: estimator_at(site) for site in latents}
    branching = [(name, e) for name, e in chosen.items() if isinstance(e, Branching)]
    # One draw of the other sites is enough for an expectation: these look at the first pass, not into branches.
    places = [(e, _place(e, run, make, first, n)) for n, e in chosen.items() if isinstance(e, Surrogate)]
    extra = [part for e, place in places for part in (e.surrogate(place), _without_own(place))]
    terms = _branched(run, make, first, branching, {})
    return replace(terms, extra=add_up(extra)) if extra else terms


def _without_own(place: Place) -> Any:
    """Minus the derivative of log q of the draw itself, whose expectation is 0: nothing is left that varies with it."""
    own = [c.value for c in place.linked(place.first.terms) if (c.role, c.name) == ("q", place.name)]
    value = add_up([jnp.sum(x) for x in own])
    return jax.lax.stop_gradient(value) - value


def _branched(
    run: Run, make: MakeTerms, first: Pass, sites: list[tuple[str, Branching]], values: Values
) -> Terms:
    """The terms of a pass with what these sites put in."""
    if not sites:
        return first.terms
    (name, estimator), *rest = sites

    def branch(value: Any) -> Terms:
        given = {**values, name: value}
        return _branched(run, make, pass_of(run, make, given), rest, given)

    terms = _branched(run, make, first, rest, values)
    return estimator.branched(_place(estimator, run, make, first, name), terms, branch)


def _place(estimator: Rerun, run: Run, make: MakeTerms, first: Pass, name: str) -> Place:
    site = first.guide_trace[name]
    if not isinstance(site, Sample):
        raise TypeError(f"{name!r} is no random variable")
    score = next(score for score in first.terms.scores if score.name == name)
    return Place(estimator, site, score, run, first, make)


def pass_of(run: Run, make: MakeTerms, values: Values | None = None, change: Change | None = None) -> Pass:
    """One pass with some draws given by name; ``change`` is applied to the sites before their terms are made."""
    model_trace, guide_trace = run.traces(values)
    if change is not None:
        model_trace, guide_trace = change(model_trace), change(guide_trace)
    return Pass(model_trace, guide_trace, make(run, model_trace, guide_trace))
