"""The first state: programs run once, abstractly checked, their values checked as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from svijax.base import (
    ModelError,
    ParameterError,
    ShapeError,
    as_key,
    check_names,
    join_arguments,
    message,
    pack,
    plan,
    site_key,
    split_arguments,
)
from svijax.density import (
    Check,
    NoiseLayout,
    Program,
    abstractly,
    check_pair,
    check_values,
    first_failure,
    mutable_state,
    run_guide,
    run_model,
    start_densities,
    unconstrain,
)
from svijax.effects import Handler, Mutable, Param, ParamGroup, Sample, Site, no_handlers
from svijax.handlers import Trace, supply
from svijax.objectives import Objective
from svijax.optim import is_elementwise

from ._state import SVIState, optim_view


def run_pair(
    model: Program,
    guide: Program,
    key: jax.Array,
    init_params: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    noise_values: Mapping[str, Any] | None = None,
    enumerates: bool = False,
) -> tuple[Trace, Trace]:
    """(model trace, guide trace) at the programs' own initial parameters.

    ``enumerates``: latents of the model that are marked to be enumerated need no guide site, and are drawn from their
    priors here.

    :raises ModelError: the programs do not fit each other.
    """
    with no_handlers(), starts(data=init_params):
        guide_trace = run_guide(guide, args, kwargs, key=key, noise_values=noise_values)
        values = {s.name: s.value for s in guide_trace.values() if isinstance(s, Param)}
        with supply(data=values):
            state = mutable_state(guide_trace)
            model_key = site_key(key, "model")
            model_trace = run_model(
                model, args, kwargs, guide_trace, key=model_key, plate_key=key, state=state
            )
    check_pair(model_trace, guide_trace, enumerates)
    return model_trace, guide_trace


class starts(supply):
    """Starting values by name over those of the programs; a guide's group of parameters may have some of its own."""

    def process(self, site: Site) -> Site:
        if not isinstance(site, ParamGroup):
            return super().process(site)
        self.meet(site)
        given = self._given(site)

        def init(key: jax.Array) -> Any:
            own = {} if given.keys() == set(site.names) else site.having(value=site.init(key)).split()
            return jnp.concatenate([jnp.ravel({**own, **given}[name]) for name in site.names])

        return site.having(init=init) if given else site

    def _given(self, group: ParamGroup) -> dict[str, Any]:
        given = {name: (self.data or {})[name] for name in group.names if name in (self.data or {})}
        for name, shape in zip(group.names, group.shapes, strict=True):
            if name in given and jnp.shape(given[name]) != shape:
                raise ShapeError(
                    message(
                        f"init_params: the value of {name!r} has not the shape of its parameter.",
                        expected=shape,
                        got=jnp.shape(given[name]),
                        fix="give one number for each of the unconstrained latent's.",
                    )
                )
        return given


def make_state(
    model: Program,
    guide: Program,
    optim: optax.GradientTransformation,
    objective: Any,
    key: jax.Array,
    init_params: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[SVIState, jax.Array, jax.Array]:
    """(state, whether values are legal, whether log densities are finite), all traceable.

    The keys of the start and of the steps are separate.
    """
    init_key, run_key = jax.random.split(as_key(key))
    model = _as_scored(model, objective)
    model_trace, guide_trace = _run_checked(
        model, guide, init_key, init_params, args, kwargs, enumerates(objective)
    )
    params = _collect(model_trace, guide_trace)
    check_names(init_params, params, "init_params")
    constraints = {name: site.constraint for name, site in params.items()}
    tree = {name: _as_free(site) for name, site in params.items()}
    packed = bool(tree) and is_elementwise(optim, tree)
    free = pack(tree, plan(tree, packed=packed, groups=_groups(params)))
    checks = check_values(model_trace, guide_trace, init_params)
    densities = start_densities(model_trace, guide_trace)
    own = objective.start(model_trace, guide_trace) if isinstance(objective, Objective) else {}
    state = SVIState(
        free=free,
        constraints=constraints,
        optim_state=_strong(optim.init(optim_view(free))),
        mutable=_strong({**_fresh_mutables(model_trace, guide_trace), **own}),
        key_data=jax.random.key_data(run_key),
        step=jnp.zeros((), jnp.int32),
        key_impl=str(jax.random.key_impl(run_key)),
    )
    legal = _all([check for check in checks if check.error is not ModelError])
    return state, legal, jnp.isfinite(sum(densities, jnp.zeros(())))


def enumerates(objective: Any) -> bool:
    """Whether the objective sums out latents of the model that are marked for it."""
    return bool(getattr(objective, "enumerates", False))


def explain_checks(
    model: Program,
    guide: Program,
    objective: Any,
    key: jax.Array,
    init_params: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Raise the error of the first check that fails.

    :raises ModelError: no single check does, and yet the start is not finite.
    """
    init_key, _ = jax.random.split(as_key(key))
    model = _as_scored(model, objective)
    arrays, static = split_arguments(args, kwargs)

    def traces(key: jax.Array, start: Mapping[str, Any], arrays: tuple[Any, ...]) -> tuple[Trace, Trace]:
        return _run_checked(
            model, guide, key, start, *join_arguments(arrays, static), enumerates=enumerates(objective)
        )

    error = first_failure(traces, init_key, dict(init_params), arrays, given=init_params)
    raise error or ModelError(
        message(
            "the log density of model and guide is not finite at the start, though that of each site is.",
            fix="scale the data, or start elsewhere (init_loc_fn=, init_params=).",
        )
    )


class _without_likelihood(Handler):
    """Nobody asks for the density of an observation: it need not have one."""

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.observed:
            return site.having(log_prob=jnp.zeros((*site.sample_shape, *site.fn.batch_shape)))
        return site


def _as_scored(model: Program, objective: Any) -> Program:
    """The model as the objective scores it."""
    return model if getattr(objective, "needs_likelihood", True) else _without_likelihood(model)


def _collect(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Param]:
    """The params of guide and model by name, the guide's first; a param without a value is an error."""
    found: dict[str, Param] = {}
    for role, sites in (("guide", guide_trace), ("model", model_trace)):
        for site in sites.values():
            if not isinstance(site, Param):
                continue
            if site.value is None and site.name not in found:
                raise ParameterError(
                    message(
                        f"{role} param {site.name!r} has no starting value.",
                        fix=f"give it one: svijax.param({site.name!r}, init_value), "
                        f"or init_params={{{site.name!r}: ...}}.",
                    )
                )
            found.setdefault(site.name, site)
    return found


def _groups(params: Mapping[str, Param]) -> tuple[tuple[str, ...], ...]:
    """Names that were read together, in their order."""
    groups: dict[str, list[str]] = {}
    for name, site in params.items():
        if site.group is not None:
            groups.setdefault(site.group, []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _as_free(site: Param) -> Any:
    def leaf(x: Any) -> Any:
        dtype = jnp.result_type(x)
        if jnp.issubdtype(dtype, jnp.inexact):
            return jax.lax.convert_element_type(x, dtype)
        if jnp.issubdtype(dtype, jnp.integer):
            return jax.lax.convert_element_type(x, jnp.result_type(float))
        raise ParameterError(f"param {site.name!r} has a leaf of dtype {dtype}, which no gradient can move.")

    return unconstrain(jax.tree.map(leaf, site.value), site.constraint)


def _fresh_mutables(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Any]:
    """The mutables as their statements start them; the run of ``init`` counts as no step."""
    return {s.name: s.start for t in (model_trace, guide_trace) for s in t.values() if isinstance(s, Mutable)}


def _strong(tree: Any) -> Any:
    """Arrays without weak types, so that the carry of the loop is a fixed point."""

    def leaf(x: Any) -> Any:
        return jax.lax.convert_element_type(x, jnp.result_type(x)) if hasattr(x, "dtype") else jnp.asarray(x)

    return jax.tree.map(leaf, tree)


def _all(checks: list[Check]) -> jax.Array:
    flags = [check.passed() for check in checks]
    return jnp.all(jnp.stack(flags)) if flags else jnp.ones((), bool)


def _facts(trace: Mapping[str, Site]) -> dict[str, Any]:
    return {
        s.name: (type(s).__name__, jnp.shape(s.value) if isinstance(s, Sample) else None)
        for s in trace.values()
    }


def _run_checked(
    model: Program,
    guide: Program,
    key: jax.Array,
    init_params: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    enumerates: bool = False,
) -> tuple[Trace, Trace]:
    """The pair's traces with the guide's noise at its centre, after an abstract run that finds what noise there is.

    :raises ModelError: the two runs state different sites; such a program cannot be compiled.
    """

    def abstract_run(key: jax.Array) -> tuple[NoiseLayout, dict[str, Any], dict[str, Any]]:
        model_trace, guide_trace = run_pair(
            model, guide, key, init_params, args, kwargs, enumerates=enumerates
        )
        return NoiseLayout.of(guide_trace), _facts(model_trace), _facts(guide_trace)

    layout, *first = abstractly(abstract_run)
    traces = run_pair(model, guide, key, init_params, args, kwargs, layout.centre(), enumerates)
    for role, before, after in zip(("model", "guide"), first, map(_facts, traces), strict=True):
        if before != after:
            changed = [n for n in {**before, **after} if before.get(n) != after.get(n)]
            raise ModelError(
                message(
                    f"the {role} states different sites on different calls: {changed}.",
                    expected=list(before),
                    got=list(after),
                    fix="a program may not depend on chance, counters or globals that change between calls.",
                )
            )
    return traces
