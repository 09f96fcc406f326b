"""The densities of programs that were run for all values of their enumerated sites, as factors over these sites."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ModelError, is_concrete, message
from svijax.effects import Factor as FactorSite
from svijax.effects import Sample, Site
from svijax.handlers import Standing, one_value

from ._contraction import LogFactor, Plates, components, contract, multiplied
from ._elimination import eliminate
from ._log_prob import log_prob, scored_sites
from ._rows import array_of, rows_of
from ._run import Program

Scored = Sample | FactorSite


@dataclass(frozen=True, eq=False)
class Term:
    """The log density of some sites: masked, not scaled. ``weight``: the scale, one number or over dims of plates."""

    factor: LogFactor
    weight: Any

    @property
    def value(self) -> LogFactor:
        """The scaled density."""
        if self.weight is None:
            return self.factor
        return replace(self.factor, array=self.weight * array_of(self.factor.array))


def enumerated_here(trace: Mapping[str, Site], given: Collection[str] = ()) -> dict[str, frozenset[str]]:
    """The variables that a program enumerated itself, with the names of the plates that they live in."""
    return {
        v: frozenset(frame.name for frame in s.plates)
        for s in trace.values()
        if isinstance(s, Sample) and is_own(s, given)
        for v in variables_of(s)
    }


def is_own(site: Site, given: Collection[str] = ()) -> bool:
    """Whether the program enumerated this site itself."""
    if not isinstance(site, Sample) or site.name in given:
        return False
    return site.enumeration is not None and site.enumeration.dim is not None


def variables_of(site: Sample) -> list[str]:
    """The variable of an enumerated site; inside a scan one for each step, in the order of the loop."""
    chain = None if site.enumeration is None else site.enumeration.chain
    return [site.name] if chain is None else [f"{site.name}[{i}]" for i in range(chain.length)]


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


def terms_of(site: Scored, given: Collection[str] = ()) -> list[Term]:
    """The term of one site; of each step, for one inside a scan that is enumerated.

    :param given: names of sites that the program did not enumerate itself. Of those that it did, entries that do not
        exist count as one.
    """
    if site.enumeration is not None and site.enumeration.chain is not None:
        factors = _chain_factors(site, site.enumeration.chain, is_own(site, given))
    else:
        factors = [as_factor(site, _density(site, is_own(site, given)))]
    return [Term(f, None if site.scale is None else _checked_scale(site, f)) for f in factors]


def _density(site: Scored, own: bool) -> Any:
    density = stated_log_prob(site)
    if own and isinstance(site, Sample) and site.shared_mask:
        density = jnp.where(site.mask, density, -np.log(_number_of_values(site)))
    return _where_there(site, density, own)


def _where_there(site: Scored, density: Any, own: bool) -> Any:
    """The density of an enumerated site, its values equally likely in rows of a plate that are no data."""
    for frame in site.plates:
        if own and isinstance(site, Sample) and frame.padding is not None:
            there = frame.padding.mask(frame.dim)
            density = jnp.where(there, density, -np.log(_number_of_values(site)))
    return density


def _number_of_values(site: Sample) -> int:
    return jnp.shape(site.value)[site.enumeration.dim - len(site.fn.event_shape)]  # type: ignore[union-attr, operator]


def stated_log_prob(site: Scored) -> Any:
    """Log density per batch element, masked and not scaled; not repeated along plates where its elements are alike."""
    return log_prob(site.having(fn=site.stated) if isinstance(site, Sample) else site)


def _chain_factors(site: Scored, chain: Any, own_site: bool) -> list[LogFactor]:
    """A factor for each step, the later ones rows of one array."""
    own = {dim: name for name, (dim, _) in chain.dims.items()}
    before = {dim: name for name, (_, dim) in chain.dims.items()}
    first = np.arange(chain.length)[-1 if chain.reverse else 0]
    rest = np.arange(chain.length)[::-1][1:] if chain.reverse else np.arange(1, chain.length)
    plates = frozenset(frame.name for frame in site.plates)

    def named(dims: tuple[int, ...], i: int) -> tuple[str, ...]:
        return tuple(
            f"{own[d]}[{i}]" if d in own else f"{before[d]}[{i - 1}]" if d in before else _owner(site, d)
            for d in dims
        )

    def density(part: Any, steps: Any) -> Any:
        return _where_there(site, _masked_at(site, part, steps), own_site)

    array, dims = _by_dims(site, density(chain.first, first), False)
    out = [LogFactor(array, named(dims, 0), plates, (site.name,))]
    if chain.rest is None:
        return out
    stack, dims = _by_dims(site, density(chain.rest, rest), False, lead=1)
    if not any(d in own or d in before for d in dims):
        return [*out, LogFactor(jnp.sum(stack, axis=0), named(dims, 0), plates, (site.name,))]
    return out + [
        LogFactor(row, named(dims, i), plates, (site.name,)) for i, row in enumerate(rows_of(stack), start=1)
    ]


def _masked_at(site: Scored, density: Any, steps: Any) -> Any:
    """Log densities of steps, where the mask around the scan lets them count."""
    if site.mask is None or site.mask is True:
        return density
    mask, batch = jnp.asarray(site.mask), site.enumeration.nesting + 1  # type: ignore[union-attr]
    if mask.ndim == batch or (
        mask.ndim and mask.shape[0] == site.steps[0].length and mask.ndim > _inner(site)
    ):
        mask = mask[steps]
        lead = mask.ndim - _inner(site) if np.ndim(steps) else 0
        ones = (1,) * (jnp.ndim(density) - mask.ndim)
        mask = mask.reshape((*mask.shape[:lead], *ones, *mask.shape[lead:]))
    return jnp.where(mask, density, jnp.zeros((), density.dtype))


def _inner(site: Scored) -> int:
    """How many batch dims one step of the site has."""
    return max([0, *(-frame.dim for frame in site.plates)])


def as_factor(site: Scored, density: Any, whole: bool = False) -> LogFactor:
    """Something per batch element of a site, as a factor over the enumerated sites that it depends on.

    ``whole``: dims that no plate declares stay; else what lies along them is one factor.
    """
    if site.steps:
        density = jnp.sum(density, axis=tuple(range(len(site.steps))))
    array, dims = _by_dims(site, density, whole)
    plates = frozenset(frame.name for frame in site.plates)
    return LogFactor(array, tuple(_owner(site, dim) for dim in dims), plates, (site.name,))


def _by_dims(site: Scored, density: Any, whole: bool, lead: int = 0) -> tuple[Any, tuple[int, ...]]:
    """(the array with axes for dims of enumerated sites of more than one value and for plates, these dims).

    ``lead``: so many axes in front are neither.
    """
    enumeration = site.enumeration
    if enumeration is None:
        raise TypeError(f"site {site.name!r} was not run under enum")
    n, front = enumeration.nesting, tuple(jnp.shape(density)[:lead])
    shape = tuple(jnp.shape(density)[lead:])
    outer = {
        axis - len(shape): size for axis, size in enumerate(shape[: max(len(shape) - n, 0)]) if size != 1
    }
    inner = (*(1,) * n, *shape)[len(shape) :]
    array = jnp.reshape(density, (*front, *outer.values(), *inner))
    declared = set(range(-n, 0)) if whole else {frame.dim for frame in site.plates}
    # What no plate declares is one factor.
    apart = tuple(dim for dim in range(-n, 0) if dim not in declared and inner[dim] != 1)
    return jnp.sum(array, axis=apart, keepdims=True) if apart else array, tuple(outer)


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
        read = {v for f in part for v in f.variables}
        local = {v: home for v, home in variables.items() if v in read} if read else {}
        group = [by_factor[id(f)] for f in part]
        if not local:
            out += group
            continue
        weight = common_weight(group, list(local))
        sites = tuple(dict.fromkeys(name for f in part for name in f.sites))
        out += [
            Term(replace(f, sites=sites), weight)
            for f in _added(contract(part, local, plates, kept, steps_wanted=False).factors)
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
    names: Sequence[str], log_q: Mapping[str, LogFactor], around: frozenset[str], plates: Plates
) -> LogFactor:
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
        tables, _ = eliminate(tables, gone, plates.shape(around), steps_wanted=False)
    factors = [LogFactor(array, variables, around) for array, variables in tables]
    return _added(factors, tuple(names))[0]


def with_axes(f: LogFactor, variables: Sequence[str]) -> Any:
    """The factor's array with an axis for each of the variables, of size 1 where it does not depend on it."""
    array = array_of(f.array)
    order = [f.variables.index(v) for v in variables if v in f.variables]
    array = jnp.transpose(array, (*order, *range(len(f.variables), array.ndim)))
    shape = iter(array.shape)
    return array.reshape((*(next(shape) if v in f.variables else 1 for v in variables), *shape))


def summed_over_plates(f: LogFactor, plates: Plates) -> Any:
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


def _added(factors: Sequence[LogFactor], order: tuple[str, ...] | None = None) -> list[LogFactor]:
    """One factor for each set of plates: the sum of those in it."""
    by_plates: dict[frozenset[str], list[LogFactor]] = {}
    for f in factors:
        by_plates.setdefault(f.plates, []).append(f)
    out = []
    for names, group in by_plates.items():
        variables = order or tuple(dict.fromkeys(v for f in group for v in f.variables))
        array = with_axes(group[0], variables)
        for f in group[1:]:
            array = array + with_axes(f, variables)
        out.append(LogFactor(array, variables, names, group[0].sites))
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


def _checked_scale(site: Scored, factor: LogFactor) -> Any:
    ndim = jnp.ndim(site.scale)
    nesting = len(factor.array.shape) - len(factor.variables)
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
