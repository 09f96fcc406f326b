"""Checks of values: as boolean outputs of a compiled program first, explained on concrete values afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import DataError, ModelError, ParameterError, SupportError, SvijaxError, message
from svijax.distributions import Delta
from svijax.effects import Param, Sample, Site
from svijax.handlers import is_enumerated
from svijax.transforms import constraints

from ._log_prob import log_density, log_prob, scored_sites


@dataclass(frozen=True)
class Check:
    """One check: ``ok`` is an array that must be True throughout; the rest serves the message."""

    label: str
    ok: Any
    value: Any
    error: type[SvijaxError]
    summary: str
    expected: str
    fix: str
    plates: tuple[object, ...] = ()

    def passed(self) -> Any:
        """Whether all is well, as one boolean."""
        return jnp.all(self.ok)

    def explain(self) -> SvijaxError:
        """The error that this check, on concrete values, stands for."""
        index, entry = first_bad(np.asarray(self.ok), np.asarray(self.value))
        where = f" at index {index}" if index else ""
        return self.error(
            message(
                self.summary, plates=self.plates, expected=self.expected, got=f"{entry}{where}", fix=self.fix
            )
        )


def first_failure(
    traces: Callable[..., tuple[Mapping[str, Site], Mapping[str, Site]]],
    *arguments: Any,
    given: Collection[str] = (),
) -> SvijaxError | None:
    """The error of the first check that fails for (model trace, guide trace) = ``traces(*arguments)``, or None.

    The programs run compiled, as in a fit, where distributions do not look at their arguments: so the error is that
    of a site, with its name and plates, and what is masked may be anything. ``given``: as in ``check_values``.
    """
    texts: list[Check] = []

    def numbers(*arguments: Any) -> list[tuple[Any, Any]]:
        checks = check_values(*traces(*arguments), given)
        texts[:] = [replace(c, ok=None, value=None, plates=tuple(map(str, c.plates))) for c in checks]
        return [(check.ok, check.value) for check in checks]

    results = jax.jit(numbers)(*arguments)
    for check, (ok, value) in zip(texts, results, strict=True):
        if not np.all(ok):
            return replace(check, ok=ok, value=value).explain()
    return None


def first_bad(ok: np.ndarray, value: np.ndarray) -> tuple[tuple[int, ...], Any]:
    """Index of the first False, and the entry of ``value`` there."""
    if ok.ndim == 0:
        return (), value
    index = tuple(int(i) for i in np.argwhere(~ok)[0])
    aligned = np.broadcast_to(value, (*ok.shape, *value.shape[ok.ndim :])) if value.ndim >= ok.ndim else value
    return index, aligned[index] if aligned.ndim >= len(index) else aligned


def check_values(
    model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], given: Collection[str] = ()
) -> list[Check]:
    """Every check of values that a pair of traces allows, parameters first, log densities last.

    ``given``: names of parameters whose values the user gave over those of the programs.
    """
    checks: list[Check] = []
    for role, sites in (("guide", guide_trace), ("model", model_trace)):
        for site in sites.values():
            # What a guide keeps in a group starts as the guide made it, unless the user gave it.
            if isinstance(site, Param) and (site.group is None or site.name in given):
                checks += _params(role, site)
    for role, sites in (("model", model_trace), ("guide", guide_trace)):
        for site in sites.values():
            if isinstance(site, Sample):
                checks += _arguments(role, site)
    for site in model_trace.values():
        if isinstance(site, Sample):
            checks += _value(site)
    for role, sites in (("model", model_trace), ("guide", guide_trace)):
        checks += _densities(role, sites, guide_trace)
    return checks


def start_densities(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> list[Any]:
    """The log densities that are to be finite at the start."""
    free = _after_enumerated(model_trace, guide_trace)
    return [
        jnp.where(jnp.isneginf(density), 0.0, density) if role == "model" and name in free else density
        for role, sites in (("model", model_trace), ("guide", guide_trace))
        for name, density in log_density(sites).items()
    ]


def _after_enumerated(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> set[str]:
    """Sites of the model that may depend on a latent which is to be summed out: one of its values may be impossible."""
    found: set[str] = set()
    for site in model_trace.values():
        if found or (is_enumerated(site) and site.name not in guide_trace):
            found.add(site.name)
    return found


def _params(role: str, site: Param) -> Iterator[Check]:
    for leaf in jax.tree.leaves(site.value):
        ok = ~jnp.isnan(leaf)
        text = str(site.constraint)
        if site.constraint is not None:
            inside = site.constraint.check(leaf)
            ok = inside & _over_event(ok, jnp.ndim(ok) - jnp.ndim(inside))
        yield Check(
            label=f"{role} param {site.name}",
            ok=ok,
            value=leaf,
            error=ParameterError,
            summary=f"{role} param {site.name!r} starts outside its constraint.",
            expected=text,
            fix="start it inside, or change constraint=.",
        )


def _arguments(role: str, site: Sample) -> Iterator[Check]:
    fn = site.fn
    while not isinstance(fn, Delta):
        for name, constraint in getattr(fn, "arg_constraints", {}).items():
            value = _given(fn, name)
            # Values that could be read were checked when the distribution was made.
            if not isinstance(value, jax.Array) or isinstance(constraint, type(constraints.dependent)):
                continue
            yield Check(
                label=f"{role} site {site.name} argument {name}",
                ok=_unless_masked(constraint.check(value), site),
                value=value,
                error=ParameterError,
                summary=f"{role} site {site.name!r}: argument {name!r} of {type(fn).__name__} is outside its "
                "constraint.",
                expected=str(constraint),
                fix="map it into the constraint (jnp.exp, jax.nn.softplus, ...), or mend the data that it comes from.",
                plates=site.plates,
            )
        fn = getattr(fn, "base_dist", None)
        if fn is None:
            return


def _given(fn: Any, name: str) -> Any:
    """The argument of this name, if it is one that the distribution was made from and not one that follows."""
    fields = getattr(fn, "_fields", None)
    if fields is None:
        return getattr(fn, name, None)
    return next((getattr(fn, field) for field in (name, f"_{name}") if field in fields), None)


def _value(site: Sample) -> Iterator[Check]:
    event_dim = len(site.fn.event_shape)
    if site.observed and jnp.issubdtype(jnp.result_type(site.value), jnp.inexact):
        yield Check(
            label=f"observation {site.name}",
            ok=_unless_masked(_over_event(~jnp.isnan(site.value), event_dim), site),
            value=site.value,
            error=DataError,
            summary=f"model site {site.name!r}: the observation is NaN where it is not masked.",
            expected="numbers",
            fix=f"drop those rows, or leave them out with svijax.sample({site.name!r}, ..., obs_mask=) "
            "or handlers.mask.",
            plates=site.plates,
        )
    if isinstance(site.fn.support, type(constraints.dependent)):
        return
    yield Check(
        label=f"{'observation' if site.observed else 'draw'} {site.name}",
        ok=_unless_masked(site.fn.support.check(site.value), site),
        value=site.value,
        error=DataError if site.observed else SupportError,
        summary=f"model site {site.name!r}: the {'observation' if site.observed else 'draw of the guide'} is "
        f"outside the support of {type(site.fn).__name__}.",
        expected=str(site.fn.support),
        fix="mend the data, or use a distribution with their support."
        if site.observed
        else "use a guide whose support lies inside the prior's.",
        plates=site.plates,
    )


def _densities(role: str, sites: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> Iterator[Check]:
    free = _after_enumerated(sites, guide_trace) if role == "model" else ()
    for site in scored_sites(sites):
        density = log_prob(site)
        yield Check(
            label=f"{role} density {site.name}",
            ok=jnp.isfinite(density) | jnp.isneginf(density) if site.name in free else jnp.isfinite(density),
            value=density,
            error=ModelError,
            summary=f"{role} site {site.name!r}: its log density is not finite at the start.",
            expected="a finite log density",
            fix="start elsewhere (init_loc_fn=, init_params=), or look at the arguments of the distribution.",
            plates=site.plates,
        )


def _over_event(ok: Any, event_dim: int) -> Any:
    return jnp.all(ok, axis=tuple(range(-event_dim, 0))) if event_dim > 0 else ok


def _unless_masked(ok: Any, site: Sample) -> Any:
    if site.mask is None:
        return ok
    # What was checked may have the dims of an event on the right, which the mask has not.
    batch = len(site.sample_shape) + len(site.fn.batch_shape)
    ok = _over_event(ok, jnp.ndim(ok) - batch)
    return jnp.logical_or(ok, jnp.logical_not(site.mask))
