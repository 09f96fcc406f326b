"""Posteriors of the discrete sites of a model: marginals, joint draws and the best values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import MissingKeyError, ModelError, as_key, message
from svijax.distributions import Bernoulli, Categorical
from svijax.effects import Sample, Site, has_plates, prng_key, unheard, where
from svijax.handlers import enum, one_value, supply, trace

from ._contraction import Contraction, LogFactor, Plates, contract
from ._elimination import assign
from ._enumeration import (
    enumerated_here,
    is_own,
    plates_of_traces,
    stated_log_prob,
    summed_over_plates,
    terms_of,
    variables_of,
    watched,
)
from ._log_prob import scored_sites
from ._rows import array_of


def marginals(model_trace: Mapping[str, Site], given: Collection[str] = ()) -> dict[str, Any]:
    """The posterior marginal of each site that the model enumerated: d log Z / d log f for a factor f of its own."""
    variables = enumerated_here(model_trace, given)
    factors, plates = factors_of(model_trace, variables)

    def log_z(shift: Mapping[str, Any]) -> Any:
        own = [LogFactor(shift[v], (v,), home, (v,)) for v, home in variables.items()]
        return sum(
            summed_over_plates(f, plates)
            for f in contract([*factors, *own], variables, plates, steps_wanted=False).factors
        )

    sites = [s for s in model_trace.values() if isinstance(s, Sample) and is_own(s, given)]
    counts = {v: _count(s) for s in sites for v in variables_of(s)}
    dtype = jnp.result_type(float, *(array_of(f.array) for f in factors[:1]))
    shift = {v: jnp.zeros((counts[v], *plates.shape(home)), dtype) for v, home in variables.items()}
    found = jax.grad(log_z)(shift)
    return {s.name: _distribution(s, [jnp.moveaxis(found[v], 0, -1) for v in _in_order(s)]) for s in sites}


def _in_order(site: Sample) -> list[str]:
    """The variables of a site in the order of the data."""
    chain = None if site.enumeration is None else site.enumeration.chain
    return variables_of(site)[::-1] if chain is not None and chain.reverse else variables_of(site)


def factors_of(
    model_trace: Mapping[str, Site], variables: Mapping[str, frozenset[str]]
) -> tuple[list[LogFactor], Plates]:
    """The factors of the model that depend on the variables, not scaled."""
    sites = list(scored_sites(model_trace))
    nesting = max((s.enumeration.nesting for s in sites if s.enumeration is not None), default=0)
    found = [term.factor for s in sites for term in terms_of(s)]
    return [f for f in found if f.variables], plates_of_traces(nesting, model_trace)


def infer_discrete(
    fn: Callable[..., Any] | None = None, temperature: int = 1, rng_key: Any = None
) -> Callable[..., Any]:
    """``fn`` with its enumerated sites drawn jointly from their posterior given all its other sites.

    The others have the values that handlers, inside or outside, give them: ``substitute`` of a guide's draws, say, or
    ``replay``. Scales of subsampled plates and of ``handlers.scale`` play no part.

    :param fn: a program with sites that are marked ``infer={"enumerate": "parallel"}``; None to decorate one.
    :param temperature: 1 for draws, 0 for the values that are together the most probable.
    :param rng_key: for draws; without one the enclosing ``seed`` gives it.
    :raises ModelError: called inside a plate, another temperature, or data that were taken away (``Predictive``).
    """
    if temperature not in (0, 1):
        raise ModelError(
            message(
                "infer_discrete: the temperature is neither 0 nor 1.",
                expected="1 for posterior draws, 0 for the most probable values",
                got=repr(temperature),
            )
        )
    if fn is None:
        return lambda function: infer_discrete(function, temperature, rng_key)
    program = fn

    def inferred(*args: Any, **kwargs: Any) -> Any:
        if has_plates():
            raise ModelError(
                message(
                    f"{where()}: infer_discrete is called inside a plate.",
                    fix="state the plate inside of the function that it is given.",
                )
            )
        with unheard():
            shapes = one_value()
            jax.eval_shape(lambda: (watched(program, shapes)(*args, **kwargs), 0)[1])
            with trace() as sites:
                enum(program, shapes.standing(), density=stated_log_prob)(*args, **kwargs)
        _check_data(sites)
        variables = enumerated_here(sites)
        factors, plates = factors_of(sites, variables)
        found = contract(factors, variables, plates, largest=temperature == 0)
        indices = _indices(found, temperature, rng_key)
        own = [s for s in sites.values() if isinstance(s, Sample) and is_own(s)]
        values = {s.name: _value(s, [indices.get(v) for v in _in_order(s)]) for s in own}
        return supply(program, values)(*args, **kwargs)

    return inferred


def _check_data(sites: Mapping[str, Site]) -> None:
    """Raise where a handler took the data away that the posterior is to be given."""
    lost = [s for s in sites.values() if isinstance(s, Sample) and s.infer.get("was_observed", False)]
    if lost:
        raise ModelError(
            message(
                f"{where()} site {lost[0].name!r}: without its data infer_discrete would draw from the prior.",
                plates=lost[0].plates,
                expected="an observed site",
                got="a site under uncondition, which Predictive uses",
                fix="draw the discrete sites with fit.posterior.sample(deterministic=True) and a deterministic "
                "statement, or run infer_discrete under substitute.",
            )
        )


def _indices(found: Contraction, temperature: int, rng_key: Any) -> dict[str, Any]:
    if temperature == 0:
        return assign(found.steps, lambda weights, number: jnp.argmax(weights, axis=1))
    key = prng_key() if rng_key is None else as_key(rng_key)
    if key is None:
        raise MissingKeyError(
            message(
                "infer_discrete draws the enumerated sites and has no random key.",
                fix="pass rng_key=, run it under svijax.handlers.seed, or take temperature=0.",
            )
        )

    def pick(weights: Any, number: int) -> Any:
        return jax.random.categorical(jax.random.fold_in(key, number), weights, axis=1)

    return assign(found.steps, pick)


def _value(site: Any, indices: list[Any]) -> Any:
    """The values of the site at these indices of its support, in its own shape without what is enumerated."""
    values = jnp.asarray(site.fn.enumerate_support(expand=False))
    event = tuple(site.fn.event_shape)
    values = values.reshape((values.shape[0], *event))
    batch = _own_batch(site)

    def one(index: Any) -> Any:
        picked = values[0 if index is None else index]
        picked = picked.reshape(picked.shape[max(picked.ndim - len(event) - len(batch), 0) :])
        return jnp.broadcast_to(picked, (*batch, *event))

    return jnp.stack([one(i) for i in indices]) if site.steps else one(indices[0])


def _own_batch(site: Any) -> tuple[int, ...]:
    """The batch shape of one step without what is enumerated."""
    batch = tuple(site.fn.batch_shape)[len(site.steps) :]
    return batch[max(len(batch) - site.enumeration.nesting, 0) :]


def _count(site: Any) -> int:
    return int(site.value.shape[site.enumeration.dim - len(site.fn.event_shape)])


def _distribution(site: Any, probs: list[Any]) -> Any:
    batch = _own_batch(site)
    each = [p.reshape((*p.shape[p.ndim - 1 - len(batch) : -1], p.shape[-1])) for p in probs]
    whole = jnp.stack(each) if site.steps else each[0]
    return Bernoulli(probs=whole[..., 1]) if isinstance(site.fn, Bernoulli) else Categorical(probs=whole)
