"""Estimators of the gradient at one latent of the guide, chosen per objective or per site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.density import NoiseSource, PlainNoise, has_pathwise_gradient
from svijax.distributions import Delta
from svijax.effects import Sample, Site

from ._baselines import Baseline


@dataclass(frozen=True)
class Estimator(ABC):
    """How the gradient at a latent of the guide is estimated. All are unbiased; they differ in variance and cost.

    Given to an objective alone, ``Trace_ELBO(estimator=...)``, it holds at the sites where it applies; by site name,
    ``estimator={"z": ...}``, or by ``svijax.handlers.estimator`` in the guide, at those sites, and must apply there.
    """

    weighs: ClassVar[bool] = False
    """Whether it is made for bounds that weigh particles against each other."""

    @abstractmethod
    def obstacle(self, site: Sample) -> str | None:
        """Why it cannot be used at this site; None if it can."""

    def takes(self, site: Sample) -> bool:
        """Whether an objective that has it for all sites uses it here."""
        return self.obstacle(site) is None

    def cuts(self, site: Sample) -> bool:
        """Whether the draw is cut off from the parameters: their gradient then comes by another way."""
        return not has_pathwise_gradient(site)

    def refuse(self, site: Sample, why: str) -> NoReturn:
        """Raise that this estimator cannot be used here."""
        raise ModelError(
            message(
                f"guide site {site.name!r}: {type(self).__name__} cannot be used here.",
                plates=site.plates,
                got=f"{type(site.fn).__name__}: {why}",
                fix="leave the estimator out for the default, or choose another for this site.",
            )
        )


@dataclass(frozen=True)
class Pathwise(Estimator):
    """∇ f(T(e; φ)): the derivative through the draw. The default where a draw has one."""

    def obstacle(self, site: Sample) -> str | None:
        return None if has_pathwise_gradient(site) else "its draws have no pathwise derivative"


@dataclass(frozen=True)
class PathDerivative(Estimator):
    """∇ [log p(z) − log q_{sg φ}(z)], z = T(e; φ): sticking the landing, of variance 0 at an exact guide.

    The parameters are held fixed in log q, and the derivative goes through the draw alone (Roeder et al. 2017, eq. 8).
    The guide runs a second time for it.
    """

    def obstacle(self, site: Sample) -> str | None:
        return None if has_pathwise_gradient(site) else "its draws have no pathwise derivative"


@dataclass(frozen=True)
class ClosedFormEntropy(Estimator):
    """∇ H(q(z | draws before it)) in place of −log q(z) (Kucukelbir et al. 2017, eq. 5)."""

    def obstacle(self, site: Sample) -> str | None:
        if isinstance(site.fn, Delta):
            return "a point has no entropy"
        try:
            site.fn.entropy()
        except (ArgumentError, AttributeError) as error:
            return f"it has no entropy in closed form ({str(error).splitlines()[0]})"
        return None


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """f(z) ∇ log q(z), with a baseline; second derivatives are right too. The default without pathwise derivative.

    :param baseline: ``LeaveOneOut()``, ``RunningMean()``, ``Learned(...)`` or ``NoBaseline()``; by default
        ``LeaveOneOut`` with two particles or more, none with one; ``VIMCO()`` where particles are weighed against each
        other.

    An objective that has it for all sites uses it where draws have no pathwise derivative; at sites that are named it
    replaces the pathwise one.
    """

    baseline: Baseline | None = None

    def obstacle(self, site: Sample) -> str | None:
        return "a point has no score" if isinstance(site.fn, Delta) else None

    def takes(self, site: Sample) -> bool:
        return not has_pathwise_gradient(site)

    def cuts(self, site: Sample) -> bool:
        return True


Estimators = Estimator | Mapping[str, Estimator] | tuple[tuple[str, Estimator], ...] | None


def unfit_for_means(estimator: Estimator) -> str | None:
    """Why an objective that is a mean over particles cannot use it; None if it can."""
    baseline = estimator.baseline if isinstance(estimator, ScoreFunction) else None
    if estimator.weighs or (baseline is not None and baseline.weighs):
        return "it is made for bounds that weigh particles against each other, like RenyiELBO"
    return None


def estimator_of(
    site: Sample, chosen: Estimators, unfit: Callable[[Estimator], str | None] = unfit_for_means
) -> Estimator | None:
    """The estimator asked for at a latent of the guide; None for the default.

    ``unfit``: why the objective cannot use an estimator, wherever.

    :raises ModelError: one that cannot be used there.
    """
    named = site.estimator
    if named is None and isinstance(chosen, tuple):
        named = dict(chosen).get(site.name)
    found = chosen if named is None and isinstance(chosen, Estimator) else named
    if found is None:
        return None
    why = unfit(found)
    if why is None and named is None and not found.takes(site):
        return None
    why = why or found.obstacle(site)
    if why is not None:
        found.refuse(site, why)
    return found


def check_independent(
    estimator: Estimator, site: Sample, noise: NoiseSource, fixed_draws: int | None
) -> None:
    """Raise unless the draws are independent between particles and new at each step.

    :raises ModelError: the estimator is right for such draws only.
    """
    if fixed_draws is not None:
        estimator.refuse(site, "it is right over new draws, and fixed_draws are the same at each step")
    if not isinstance(noise, PlainNoise) and getattr(site.fn, "noise_spec", None) is not None:
        estimator.refuse(site, f"{type(noise).__name__} makes its draws depend on those of other particles")


def as_estimators(owner: str, chosen: Any) -> Estimators:
    """An estimator, None, or pairs in the place of a dictionary: what an objective can hold and be hashed.

    :raises ArgumentError: something else.
    """
    pairs = tuple(chosen.items()) if isinstance(chosen, Mapping) else chosen
    values = [value for _, value in pairs] if isinstance(pairs, tuple) else [] if pairs is None else [pairs]
    for value in values:
        if not isinstance(value, Estimator):
            kind = isinstance(value, type) and issubclass(value, Estimator)
            raise ArgumentError(
                message(
                    f"{owner}: estimator must be an estimator, or a dictionary of them by site name.",
                    expected="PathDerivative(), ScoreFunction(), ... of svijax.objectives",
                    got=repr(value),
                    fix=f"write {value.__name__}()." if kind else None,
                )
            )
    return pairs


def entropy_site(site: Sample) -> Sample:
    """The site with −H in the place of log q."""
    return site.having(log_prob=-jnp.asarray(site.fn.entropy()))


def refuse_all(objective: str, guide_trace: Mapping[str, Site]) -> None:
    """Raise where the guide asks for an estimator, under an objective whose gradient is fixed."""
    for site in guide_trace.values():
        if isinstance(site, Sample) and site.estimator is not None:
            site.estimator.refuse(site, f"{objective} has a gradient of its own")
