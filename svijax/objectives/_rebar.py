"""The score function with a relaxation of the draw for control variate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, is_concrete, message
from svijax.distributions import OneHotCategorical
from svijax.effects import Sample
from svijax.handlers import Trace

from ._finite import elements, family, not_drawn_at_once, per_element
from ._first_order import first_order
from ._relaxation import Relaxation, linear_log_prob, relaxation_of
from ._rerun import Place, Surrogate
from ._surrogate import belonging
from ._terms import add_up

Control = Callable[[Any, Any], tuple[Any, Any]]
"""c(z, what is learnt of it) as (its sum over all elements, its part for each element)."""


@dataclass(frozen=True)
class Rebar(Surrogate):
    """[f(b) − c(z̃)] ∇ log q(b) + ∇ c(z) − ∇ c(z̃), c(z) = scale · f(soft(z / temperature)), z̃ given b.

    At Bernoulli and OneHotCategorical sites, whole vectors at once: the programs run once more, on relaxed draws, and
    are differentiated in them; b = H(z), z and z̃ one number by two ways (Tucker et al. 2017, eq. 5). Unbiased where
    the programs are smooth in the relaxed draws: no rounding, comparing or indexing by them.

    :param temperature: above 0; a number, or a param of the guide, which then descends on the variance: set the
        estimator in the guide, by ``svijax.handlers.estimator``. :param scale: of the control variate; the same.

    It has no second derivatives.
    """

    temperature: Any = 0.5
    scale: Any = 1.0

    def __post_init__(self) -> None:
        check_temperature("Rebar", self.temperature)

    def obstacle(self, site: Sample) -> str | None:
        return not_relaxed(site)

    def surrogate(self, place: Place) -> Any:
        relaxed = relaxed_costs(place)

        def control(z: Any, learnt: Any) -> tuple[Any, Any]:
            total, parts = relaxed(z, learnt[0])
            return learnt[1] * total, learnt[1] * parts

        return with_control(place, control, (self.temperature, self.scale))


def with_control(place: Place, control: Control, learnt: Any) -> Any:
    """The surrogate of the gradient g = [f(b) − c(z̃)] ∇ log q(b) + ∇ c(z) − ∇ c(z̃), z̃ equal to z.

    What is learnt of c descends on Σ g², an unbiased estimate of the variance but for a constant.
    """
    site, noise = place.site, _known(place.site)
    b = jnp.asarray(site.value, float)
    logits = noise.logits(site)
    here = jax.lax.stop_gradient(logits)
    v = place.uniforms(logits.shape)
    z = noise.given(here, b, v)
    f = per_element(place.costs(place.first.terms), site)

    def gradient(learnt: Any) -> Any:
        slope, parts = jax.grad(control, has_aux=True)(z, learnt)

        def linear(a: Any) -> Any:
            by_score = jnp.sum((f - parts) * noise.log_q(a, b))
            return by_score + jnp.sum(slope * (noise.location(a) - noise.given(a, b, v)))

        return jax.grad(linear)(here)

    out = first_order(place.reason, gradient(learnt), logits)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(learnt)):
        learnt = jax.tree.map(lambda x: jnp.asarray(x, float), learnt)
        down = jax.grad(lambda x: jnp.sum(gradient(x) ** 2))(jax.lax.stop_gradient(learnt))
        out = out + first_order(place.reason, down, learnt)
    return out


def relaxed_costs(place: Place) -> Callable[[Any, Any], tuple[Any, Any]]:
    """f at soft(z / temperature) as (sum over elements, part of each element)."""
    site, noise = place.site, _known(place.site)
    fixed = _draws_of_another(place)

    def change(trace: Trace) -> Trace:
        return Trace((name, _linear(s) if name == site.name else s) for name, s in trace.items())

    def at(z: Any, temperature: Any) -> tuple[Any, Any]:
        soft = noise.soft(z, temperature)
        try:
            terms = place.pass_at({site.name: soft, **fixed}, change).terms
        except TypeError as error:
            raise _not_continuous(site, str(error).splitlines()[0]) from error
        total = add_up([jnp.sum(cost.value) for cost in place.linked(terms)])
        return total, per_element(belonging(terms.costs, place.score), site)

    _check_twin(place)
    return at


def _draws_of_another(place: Place) -> dict[str, Any]:
    """Values for later draws without pathwise gradient, as they are made after an independent draw of this one.

    After a relaxed one they would jump as it moves, and the derivative of c would miss it; after the draw itself they
    would tell it to c.
    """
    names = [s.name for s in place.later() if not place.run.pathwise(s)]
    if not names:
        return {}
    other = place.site.fn.sample(place.key("another draw"))
    trace = place.pass_at({place.name: jax.lax.stop_gradient(other)}).guide_trace
    return {name: jax.lax.stop_gradient(trace[name].value) for name in names}


def _linear(site: Any) -> Any:
    """A site of one-hot vectors with its density at relaxed ones; coins have it themselves."""
    if not isinstance(site, Sample) or not isinstance(family(site.fn), OneHotCategorical):
        return site
    return site.having(log_prob=linear_log_prob(site.fn, site.value))


def not_relaxed(site: Sample) -> str | None:
    """Why the draws are no function of a noise that is known here; None if they are."""
    if relaxation_of(site) is None:
        return (
            "Bernoulli and OneHotCategorical have a relaxation (a Categorical has one as OneHotCategorical)"
        )
    return not_drawn_at_once(site)


def _known(site: Sample) -> Relaxation:
    found = relaxation_of(site)
    if found is None:
        raise TypeError(f"{site.name!r} has no relaxation")
    return found


def _check_twin(place: Place) -> None:
    """Raise unless the model's density of the draw extends to relaxed ones."""
    twin = place.first.model_trace.get(place.name)
    if not isinstance(twin, Sample) or type(relaxation_of(twin)) is type(relaxation_of(place.site)):
        return
    raise _not_continuous(place.site, f"the model's {type(family(twin.fn)).__name__} has no density there")


def _not_continuous(site: Sample, why: str) -> ModelError:
    return ModelError(
        message(
            f"guide site {site.name!r}: its relaxed draws do not go through the programs.",
            plates=site.plates,
            expected=f"programs that are smooth in values of shape {elements(site)} between 0 and 1",
            got=why,
            fix="use DisARM(), MeasureValued() or Enumerate(), or Relax with a control of your own.",
        )
    )


def check_temperature(owner: str, temperature: Any) -> None:
    """Raise for a temperature that is known and not above 0."""
    if is_concrete(temperature) and not np.all(np.asarray(temperature) > 0):
        raise ArgumentError(
            message(
                f"{owner}: temperature must be above 0.", got=repr(temperature), fix="write temperature=0.5."
            )
        )
