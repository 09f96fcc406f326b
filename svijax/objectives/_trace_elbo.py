"""The evidence lower bound, estimated by draws from the guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_jax, as_key, check_names, message, site_key
from svijax.density import (
    Draws,
    NoiseLayout,
    Program,
    check_pair,
    draw,
    log_density,
    mutable_state,
    noise_layout,
    run_guide,
    run_model,
)
from svijax.effects import Sample, Site
from svijax.handlers import both, supply

from ._evaluation import Evaluation
from ._score import guide_terms, model_terms, scores_of


@dataclass(frozen=True)
class Trace_ELBO:
    """−ELBO = −E_q[log p(x, z) − log q(z)], the mean over ``num_particles`` draws of the guide.

    Right for every guide site: pathwise gradients where its distribution is reparameterised, score-function
    terms elsewhere (discrete, or declared non-reparameterised), the two mixed as they come; second derivatives
    too. Log densities are scaled and masked once, score functions never. All particles share one minibatch.

    :param num_particles: draws per evaluation.
    :param vectorize_particles: True for ``vmap``, False for one after another (``lax.map``), or a function
        that is used as ``how(f)(particles)``, like ``jax.pmap``.
    """

    num_particles: int = 1
    vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True

    def __post_init__(self) -> None:
        check_count("num_particles", self.num_particles)

    def loss(
        self,
        key: jax.Array,
        params: Mapping[str, Any],
        model: Program,
        guide: Program,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """The loss at constrained ``params`` by site name; differentiable any number of times.

        :raises UnknownNameError: a name that no param of model or guide has.
        """
        return self.evaluate(key, params, model, guide, *args, **kwargs).loss

    def evaluate(
        self,
        key: jax.Array,
        params: Mapping[str, Any],
        model: Program,
        guide: Program,
        *args: Any,
        **kwargs: Any,
    ) -> Evaluation:
        """Loss, and log p and log q by site, at constrained ``params`` by site name.

        :raises UnknownNameError: a name that no param of model or guide has.
        """
        args, kwargs = as_jax(args, kwargs)
        bound_model, bound_guide = supply(model, params), supply(guide, params)
        layout = noise_layout(bound_guide, args, kwargs)
        draws = draw(as_key(key), layout, self.num_particles)
        result = self.from_draws(draws, bound_model, bound_guide, args, kwargs, {}, layout)
        check_names(params, (*bound_model.met, *bound_guide.met), "params")
        return result

    def from_draws(
        self,
        draws: Draws,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        mutable: Mapping[str, Any],
        layout: NoiseLayout | None = None,
    ) -> Evaluation:
        """The evaluation of programs that have their parameters, at given randomness.

        :param mutable: the mutable state before. :param layout: that of the guide's noise, if it is known already.
        """
        layout = noise_layout(guide, args, kwargs) if layout is None else layout

        def particle(normal: Any, uniform: Any, key: jax.Array) -> Evaluation:
            noise = layout.split(normal, uniform)
            plate_key = draws.key
            guide_trace = run_guide(
                guide, args, kwargs, key=key, plate_key=plate_key, noise_values=noise, state=mutable
            )
            state = {**mutable, **mutable_state(guide_trace)}
            model_key = site_key(key, "model")
            model_trace = run_model(
                model, args, kwargs, guide_trace, key=model_key, plate_key=plate_key, state=state
            )
            return estimate(model_trace, guide_trace)

        keys = jax.vmap(lambda k: jax.random.fold_in(draws.key, k))(jnp.arange(self.num_particles))
        return _over_particles(particle, (draws.normal, draws.uniform, keys), self.vectorize_particles)


def estimate(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> Evaluation:
    """−(Σ log p − Σ log q) of one pair of traces, with score terms where the guide needs them.

    :raises ModelError: guide and model do not fit each other.
    """
    guide_trace = _with_shared_masks(model_trace, guide_trace)
    check_pair(model_trace, guide_trace)
    scores = scores_of(guide_trace, model_trace)
    log_p, log_q = log_density(model_trace), log_density(guide_trace)
    if scores:
        surrogate_p = model_terms(model_trace, guide_trace, scores)
        surrogate_q = guide_terms(guide_trace, scores)
    else:
        surrogate_p, surrogate_q = log_p, log_q
    loss = _sum(surrogate_q) - _sum(surrogate_p)
    return Evaluation(loss, log_p, log_q, mutable_state(guide_trace, model_trace))


def check_count(name: str, number: Any) -> None:
    """Raise unless ``number`` is an int of at least 1."""
    if isinstance(number, jax.core.Tracer):
        raise ArgumentError(
            message(
                f"{name} must be known before the program is compiled.",
                got="a traced value",
                fix=f"pass {name} as a Python int, outside the arguments that jit or vmap trace.",
            )
        )
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ArgumentError(
            message(f"{name} must be an int of at least 1.", got=repr(number), fix=f"pass {name}=1.")
        )


def _sum(terms: Mapping[str, Any]) -> Any:
    result = None
    for term in terms.values():
        result = term if result is None else result + term
    return jnp.zeros(()) if result is None else result


def _with_shared_masks(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Site]:
    """The guide's sites, each without the entries that the model says do not exist."""
    out = {}
    for name, site in guide_trace.items():
        twin = model_trace.get(name)
        if isinstance(site, Sample) and isinstance(twin, Sample) and twin.shared_mask:
            site = site.having(mask=both(site.mask, twin.mask))
        out[name] = site
    return out


def _over_particles(particle: Callable[..., Evaluation], inputs: tuple[Any, ...], how: Any) -> Evaluation:
    count = inputs[2].shape[0]
    if count == 1:
        normal, uniform, keys = inputs
        # The sum of one entry leaves a batch axis of vmap where it is, last; indexing would move it in front.
        return particle(jnp.sum(normal, axis=0), jnp.sum(uniform, axis=0), keys[0])
    if how is True:
        results = jax.vmap(particle)(*inputs)
    elif how is False:
        results = jax.lax.map(lambda x: particle(*x), inputs)
    else:
        results = how(lambda x: particle(*x))(inputs)
    means = (results.loss, results.log_p, results.log_q)
    loss, log_p, log_q = jax.tree.map(lambda x: jnp.mean(x, axis=0), means)
    first = jax.tree.map(lambda x: x[0], results.mutable)
    return Evaluation(loss, log_p, log_q, first)
