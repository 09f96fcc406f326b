"""Sums over discrete variables of products of factors, in log space, with plates.

log Σ_z Π_i f_i(z), where a factor inside a plate stands for one factor per element (tensor variable elimination,
Obermeyer et al. 2019): the innermost plates first; in them the variables that live there are summed out, connected
component by component, and what is left is multiplied over the elements of the plates that no remaining variable
lives in. It is exact, and fails with names where the plates of a component are not nested like a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp

from svijax.base import ModelError, message

from ._elimination import Step, eliminate
from ._rows import array_of


@dataclass(frozen=True, eq=False)
class LogFactor:
    """A term of a log density: one axis for each of ``variables``, then ``nesting`` axes for the dims of plates.

    An axis of a plate has size 1 where the elements are alike. ``sites``: what it was made from.
    """

    array: Any
    variables: tuple[str, ...]
    plates: frozenset[str]
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plates:
    """What is known of the plates: dim and number of elements by name; ``nesting``: how many dims there are."""

    nesting: int
    dims: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def shape(self, names: Iterable[str]) -> tuple[int, ...]:
        """Sizes of the dims inside these plates."""
        out = [1] * self.nesting
        for name in names:
            out[self.dims[name]] = self.sizes[name]
        return tuple(out)


@dataclass(frozen=True)
class Contraction:
    """What is left of the factors when the variables are gone, and the steps that took them away."""

    factors: tuple[LogFactor, ...]
    steps: tuple[Step, ...]


def contract(
    factors: Iterable[LogFactor],
    variables: Mapping[str, frozenset[str]],
    plates: Plates,
    kept: Mapping[str, frozenset[str]] | None = None,
    largest: bool = False,
    steps_wanted: bool = True,
) -> Contraction:
    """Sum the ``variables``, given with the plates that each lives in, out of the product of the factors.

    :param kept: variables that factors may have and that stay, with their plates.
    :param largest: the largest term in the place of the sum. :param steps_wanted: whether ``assign`` is to follow.
    :raises ModelError: a variable that is read outside of its plates; plates of a component that are no tree; a kept
        variable that lives in a plate that had to be multiplied over.
    """
    groups: dict[frozenset[str], list[LogFactor]] = {}
    homes = {**(kept or {}), **variables}
    for f in factors:
        check_read(f, homes)
        groups.setdefault(f.plates, []).append(f)
    done: list[LogFactor] = []
    steps: list[Step] = []
    while groups:
        leaf = max(groups, key=lambda names: (len(names), sorted(names)))
        here = [v for v in variables if variables[v] == leaf]
        for part in components(groups.pop(leaf), here):
            read = {v for f in part for v in f.variables}
            local = [v for v in here if v in read] if read else []
            for f in _eliminated(part, local, leaf, plates, (largest, steps_wanted), steps):
                homeless = [v for v in f.variables if v in variables]
                if not homeless:
                    done.append(f)
                    continue
                home = frozenset().union(*(variables[v] for v in homeless))
                _check_tree(f, homeless, home, leaf, variables)
                _check_kept(f, homeless, home, leaf, kept or {})
                groups.setdefault(home, []).append(multiplied(f, leaf - home, plates))
    return Contraction(tuple(done), tuple(steps))


def components(factors: Sequence[LogFactor], variables: Iterable[str]) -> list[list[LogFactor]]:
    """The factors in groups that share none of the variables, in order of their first member."""
    shared = set(variables)
    root = list(range(len(factors)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    first: dict[str, int] = {}
    for i, f in enumerate(factors):
        for v in f.variables:
            if v in shared:
                j = first.setdefault(v, i)
                a, b = sorted((find(i), find(j)))
                root[b] = a
    out: dict[int, list[LogFactor]] = {}
    for i, f in enumerate(factors):
        out.setdefault(find(i), []).append(f)
    return list(out.values())


def multiplied(f: LogFactor, names: frozenset[str], plates: Plates) -> LogFactor:
    """The product over the elements of the plates: the sum of logarithms along their dims."""
    array, count = f.array, 1
    for name in sorted(names):
        dim, size = plates.dims[name], plates.sizes[name]
        if _size(array, dim) == 1:
            count *= size
        else:
            array = jnp.sum(array_of(array), axis=dim, keepdims=True)
    if count != 1:
        array = array_of(array) * count
    return replace(f, array=array, plates=f.plates - names)


def _size(array: Any, dim: int) -> int:
    return int(array.shape[dim])


def _eliminated(
    part: list[LogFactor],
    local: list[str],
    leaf: frozenset[str],
    plates: Plates,
    how: tuple[bool, bool],
    steps: list[Step],
) -> list[LogFactor]:
    if not local:
        return part
    sites = tuple(dict.fromkeys(s for f in part for s in f.sites))
    rest, new = eliminate([(f.array, f.variables) for f in part], local, plates.shape(leaf), *how)
    steps.extend(new)
    return [LogFactor(array, variables, leaf, sites) for array, variables in rest]


def total(f: LogFactor, plates: Plates) -> Any:
    """The sum of a factor over the elements of all its plates; its variables' axes stay."""
    array = array_of(multiplied(f, f.plates, plates).array)
    return array.reshape(array.shape[: len(f.variables)])


def check_read(f: LogFactor, homes: Mapping[str, frozenset[str]]) -> None:
    """Raise unless the factor stands in all the plates that its variables live in."""
    for v in f.variables:
        if not homes[v] <= f.plates:
            raise ModelError(
                message(
                    f"site {_names(f.sites)} reads the enumerated site {v!r} from outside of its plates.",
                    plates=sorted(homes[v]),
                    expected=f"to stand in plates {sorted(homes[v])} too",
                    got=f"plates {sorted(f.plates)}",
                    fix="move it into the plate; elements of a plate can only depend on each other through a site "
                    "outside of it.",
                )
            )


def _check_tree(
    f: LogFactor,
    homeless: list[str],
    home: frozenset[str],
    leaf: frozenset[str],
    variables: Mapping[str, frozenset[str]],
) -> None:
    if home != leaf:
        return
    where = ", ".join(f"{v!r} in {sorted(variables[v])}" for v in sorted(homeless))
    raise ModelError(
        message(
            f"the enumerated sites {where} cannot be summed out: site {_names(f.sites)} in plates {sorted(leaf)} "
            "reads them all, and their plates are not nested in each other.",
            plates=sorted(leaf),
            expected="plates nested like a tree around sites that depend on each other",
            fix="enumerate one of these sites only and give the other a guide site, or nest the plates.",
        )
    )


def _check_kept(
    f: LogFactor,
    homeless: list[str],
    home: frozenset[str],
    leaf: frozenset[str],
    kept: Mapping[str, frozenset[str]],
) -> None:
    local = [v for v in f.variables if v in kept and not kept[v] <= home]
    if local:
        raise ModelError(
            message(
                f"model enumeration more global than guide enumeration: model site {_names(homeless)}, summed out of "
                f"the model, depends on the guide's {_names(local)} at every element of plates "
                f"{sorted(leaf - home)}.",
                plates=sorted(leaf),
                expected="guide sites that are enumerated to stand outside of the plates around which the model sums",
                fix=f"enumerate {_names(homeless)} in the guide too, or draw {_names(local)} there without "
                'infer={"enumerate": "parallel"}.',
            )
        )


def _names(names: Sequence[str]) -> str:
    shown = [repr(n) for n in names[:6]]
    return ", ".join(shown) + (f", ... ({len(names)} sites)" if len(names) > 6 else "")
