"""The densities of programs that were run for all values of their enumerated sites, as factors over these sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ModelError, is_concrete, message
from svijax.effects import Factor as FactorSite
from svijax.effects import Sample, Site
from svijax.handlers import Standing, one_value

from ._contraction import Factor, Plates, components, contract, multiplied
from ._elimination import eliminate
from ._log_prob import log_prob, scored_sites
from ._rows import array_of
from ._run import Program

Scored = Sample | FactorSite


@dataclass(frozen=True, eq=False)
class Term:
    """The log density of some sites: masked, not scaled. ``weight``: the scale, one number or over dims of plates."""

    factor: Factor
    weight: Any

    @property
    def value(self) -> Factor:
        """The scaled density."""
        if self.weight is None:
            return self.factor
        return replace(self.factor, array=self.weight * array_of(self.factor.array))


def enumerated_here(trace: Mapping[str, Site], given: Iterable[str] = ()) -> dict[str, frozenset[str]]:
    """The sites that a program enumerated itself, with the names of the plates that they live in."""
    return {
        s.name: frozenset(frame.name for frame in s.plates)
        for s in trace.values()
        if isinstance(s, Sample) and s.enumeration is not None and s.enumeration.dim is not None
        if s.name not in given
    }


def plates_of_traces(nesting: int, *traces: Mapping[str, Site]) -> Plates:
    """Dims and sizes of all the plates around scored sites.

    :raises ModelError: a plate that lies at two dims.
    """
    dims: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for trace in traces:
        for site in scored_sites(trace):
            for frame in site.plates:
                if dims.setdefault(frame.name, frame.dim) != frame.dim:
                    raise ModelError(
                        message(
                            f"plate {frame.name!r} lies at two dims, and sites that are enumerated need one.",
                            expected=f"dim {dims[frame.name]}",
                            got=f"dim {frame.dim} around site {site.name!r}",
                            fix=f"write svijax.plate({frame.name!r}, ..., dim={dims[frame.name]}) everywhere.",
                        )
                    )
                sizes[frame.name] = frame.subsample_size
    return Plates(nesting, dims, sizes)


def term_of(site: Scored, own: bool = False) -> Term:
    """The term of one site. ``own``: it is summed out of its program, where entries that do not exist count as one."""
    density = log_prob(site.having(fn=site.stated) if isinstance(site, Sample) else site)
    if own and isinstance(site, Sample) and site.shared_mask:
        values = jnp.shape(site.value)[site.enumeration.dim - len(site.fn.event_shape)]  # type: ignore[union-attr]
        density = jnp.where(site.mask, density, -np.log(values))
    factor = as_factor(site, density)
    return Term(factor, None if site.scale is None else _checked_scale(site, factor))


def as_factor(site: Scored, density: Any, whole: bool = False) -> Factor:
    """Something per batch element of a site, as a factor over the enumerated sites that it depends on.

    ``whole``: dims that no plate declares stay; else what lies along them is one factor.
    """
    enumeration = site.enumeration
    if enumeration is None:
        raise TypeError(f"site {site.name!r} was not run under enum")
    n = enumeration.nesting
    shape = jnp.shape(density)
    lead = {axis - len(shape): size for axis, size in enumerate(shape[: max(len(shape) - n, 0)])}
    variables = tuple(_owner(site, dim) for dim, size in lead.items() if size != 1)
    inner = (*(1,) * n, *shape)[len(shape) :]
    array = jnp.reshape(density, (*(size for size in lead.values() if size != 1), *inner))
    declared = set(range(-n, 0)) if whole else {frame.dim for frame in site.plates}
    apart = tuple(dim for dim in range(-n, 0) if dim not in declared and inner[dim] != 1)
    array = jnp.sum(array, axis=apart, keepdims=True) if apart else array
    return Factor(array, variables, frozenset(frame.name for frame in site.plates), (site.name,))


def joint_terms(
    terms: Sequence[Term],
    variables: Mapping[str, frozenset[str]],
    plates: Plates,
    kept: Mapping[str, frozenset[str]],
) -> list[Term]:
    """The terms with the variables summed out of each group of them that shares some; the others as they are.

    :raises ModelError: a group that cannot be summed out, or whose sites have different scales.
    """
    by_factor = {id(term.factor): term for term in terms}
    out = []
    for part in components([term.factor for term in terms], variables):
        local = {v: home for v, home in variables.items() if any(v in f.variables for f in part)}
        group = [by_factor[id(f)] for f in part]
        if not local:
            out += group
            continue
        weight = common_weight(group, list(local))
        sites = tuple(name for f in part for name in f.sites)
        out += [
            Term(replace(f, sites=sites), weight) for f in _added(contract(part, local, plates, kept).factors)
        ]
    return out


def common_weight(group: Sequence[Term], variables: Sequence[str]) -> Any:
    """The scale that all terms share: it stands outside of the sum over the variables, which is no sum of their terms.

    Scales that are known when the program is compiled are compared then; traced ones give NaN where they differ.
    """
    weights = [1.0 if term.weight is None else term.weight for term in group]
    first = weights[0]
    for term, weight in zip(group, weights, strict=True):
        if jnp.ndim(weight) > 0 or _differ(first, weight):
            raise ModelError(
                message(
                    f"the enumerated site {variables[0]!r} and the sites that depend on it have no common scale.",
                    expected="one number as the scale of all of them: it stands outside of the sum over "
                    f"the values of {', '.join(map(repr, variables[:6]))}",
                    got=f"{_shown(first)} at site {group[0].factor.sites[0]!r}, {_shown(weight)} at site "
                    f"{term.factor.sites[0]!r}",
                    fix="state them all in the subsampled plate or none of them, and the same handlers.scale around "
                    "all of them.",
                )
            )
    if all(term.weight is None for term in group):
        return None
    for weight in weights[1:]:
        if weight is not first and not (is_concrete(weight) and is_concrete(first)):
            first = jnp.where(first == weight, first, jnp.nan)
    return first


def log_weight(
    names: Sequence[str], log_q: Mapping[str, Factor], around: frozenset[str], plates: Plates
) -> Factor:
    """log q of the named sites at each combination of their values: their joint marginal under the guide's factors.

    Elements of plates stay apart: what is weighed stands in the plates ``around`` it.
    """
    upstream, wanted = list[str](), list(names)
    while wanted:
        v = wanted.pop()
        if v not in upstream:
            upstream.append(v)
            wanted += [u for u in log_q[v].variables if u != v]
    tables = [(log_q[v].array, log_q[v].variables) for v in log_q if v in upstream]
    gone = [v for v in upstream if v not in names]
    if gone:
        tables, _ = eliminate(tables, gone, plates.shape(around))
    factors = [Factor(array, variables, around) for array, variables in tables]
    return _added(factors, tuple(names))[0]


def with_axes(f: Factor, variables: Sequence[str]) -> Any:
    """The factor's array with an axis for each of the variables, of size 1 where it does not depend on it."""
    array = array_of(f.array)
    order = [f.variables.index(v) for v in variables if v in f.variables]
    array = jnp.transpose(array, (*order, *range(len(f.variables), array.ndim)))
    shape = iter(array.shape)
    return array.reshape((*(next(shape) if v in f.variables else 1 for v in variables), *shape))


def summed_over_plates(f: Factor, plates: Plates) -> Any:
    """The sum over all elements and all values."""
    return jnp.sum(array_of(multiplied(f, f.plates, plates).array))


def standing_of(run: Any) -> tuple[Standing, Standing]:
    """What plain runs of (model, guide) show, by abstract evaluation; ``run(see_model, see_guide)`` runs them."""
    model, guide = one_value(), one_value()
    jax.eval_shape(lambda: (run(model, guide), 0)[1])
    return model.standing(guide), guide.standing(model)


def watched(program: Program, handler: Any) -> Program:
    """The program under this very handler, which notes what it sees."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with handler:
            return program(*args, **kwargs)

    return call


def _added(factors: Sequence[Factor], order: tuple[str, ...] | None = None) -> list[Factor]:
    """One factor for each set of plates: the sum of those in it."""
    by_plates: dict[frozenset[str], list[Factor]] = {}
    for f in factors:
        by_plates.setdefault(f.plates, []).append(f)
    out = []
    for names, group in by_plates.items():
        variables = order or tuple(dict.fromkeys(v for f in group for v in f.variables))
        array = with_axes(group[0], variables)
        for f in group[1:]:
            array = array + with_axes(f, variables)
        out.append(Factor(array, variables, names, group[0].sites))
    return out


def _owner(site: Scored, dim: int) -> str:
    enumeration: Any = site.enumeration
    if dim in enumeration.owners:
        return str(enumeration.owners[dim])
    stale = enumeration.stale.get(dim)
    raise ModelError(
        message(
            f"site {site.name!r} reads the enumerated site {stale!r}, which is out of the window of its markov."
            if stale is not None
            else f"site {site.name!r} has a batch dim {dim} that is no plate's and no enumerated site's.",
            plates=site.plates,
            expected=f"dims of {sorted(enumeration.owners.values())}",
            got=f"a size that is not 1 at dim {dim}",
            fix="raise history= of svijax.markov." if stale is not None else "declare the dim by a plate.",
        )
    )


def _checked_scale(site: Scored, factor: Factor) -> Any:
    ndim = jnp.ndim(site.scale)
    nesting = jnp.ndim(factor.array) - len(factor.variables)
    declared = {frame.dim for frame in site.plates}
    shape = jnp.shape(site.scale)
    if ndim > nesting or any(n != 1 and d - ndim not in declared for d, n in enumerate(shape)):
        raise ModelError(
            message(
                f"site {site.name!r}: its scale differs where no plate does, and the site is part of an enumeration.",
                plates=site.plates,
                expected="one number, or an entry for each element of a plate",
                got=f"a scale of shape {shape}",
                fix="declare the dim by a plate; a scale may not depend on an enumerated value.",
            )
        )
    return jnp.reshape(site.scale, (*(1,) * (nesting - ndim), *shape)) if ndim else site.scale


def _differ(a: Any, b: Any) -> bool:
    return is_concrete(a) and is_concrete(b) and not np.array_equal(a, b)


def _shown(weight: Any) -> str:
    if jnp.ndim(weight) > 0:
        return f"a scale of shape {jnp.shape(weight)}"
    return f"{float(weight):g}" if is_concrete(weight) else "a traced number"
