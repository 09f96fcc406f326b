"""Which draws of a guide the terms of two programs read, and by which other draws these come to them.

Found on the programs themselves: they are traced as functions of the guide's draws, each an input by itself. So what
a distribution or a term is computed from are its direct parents; what lies behind these follows draw by draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.effects import Handler, Mutable, Sample, Site, no_handlers
from svijax.handlers import Trace

from ._log_prob import cost, scored_sites
from ._provenance import NOTHING, Names, provenance, union


@dataclass(frozen=True)
class Reads:
    """The draws that a site reads directly: its distribution (of a latent), its mask and scale, its whole term.

    The distribution of a slice of a shared vector is its law, by which it depends on none of the others.
    """

    distribution: Names
    weights: Names
    term: Names


@dataclass(frozen=True)
class Dependence:
    """What each site of a guide and of a model reads, by name. The guide's draws stand in the order of statements.

    ``plates``: those around each draw along which what happens to one element stays with it.
    """

    guide: Mapping[str, Reads]
    model: Mapping[str, Reads]
    plates: Mapping[str, Names]

    def upstream(self, reads: Names, plates: Names | None = None) -> dict[str, Names]:
        """The draws behind a term in ``plates`` that reads ``reads``, each with the plates that keep it apart.

        A plate does if all draws on all ways from the draw to the term are in it. ``plates`` None: in all of them.
        """
        kept: dict[str, Names] = {}
        waiting = [(name, plates) for name in reads]
        while waiting:
            name, along = waiting.pop()
            met = self.plates[name] if along is None else self.plates[name] & along
            met &= kept.get(name, met)
            if kept.get(name) != met:
                kept[name] = met
                # Sites of one scan may read each other in a ring: plates only get fewer, so this ends.
                waiting += [(parent, met) for parent in self.guide[name].distribution]
        return kept

    def ancestors(self, name: str) -> Names:
        """The draws that a draw depends on."""
        return frozenset(self.upstream(self.guide[name].distribution))

    def descendants(self, name: str) -> Names:
        """The draws that depend on a draw."""
        return frozenset(other for other in self.plates if name in self.ancestors(other))


def dependence(traces: Callable[[], tuple[Trace, Trace]], draws: Mapping[str, Any]) -> Dependence:
    """The dependence of ``(model trace, guide trace) = traces()``; nothing is executed.

    :param draws: values of the guide's latents by name, of which shape and dtype are used.
    """
    names = list(draws)
    shapes = [jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in draws.values()]
    plates: dict[str, Names] = {}

    def parts(*inputs: Any) -> Any:
        taken = take(dict(zip(names, inputs[: len(names)], strict=True)))
        others = dict(zip(names, inputs[len(names) :], strict=True))
        with no_handlers(), taken:
            model_trace, guide_trace = traces()
        plates.update(_plates(guide_trace, model_trace))
        return _parts(guide_trace, others, taken.instead), _parts(model_trace, others, {})

    # Second inputs, for what a distribution reads but for its own value.
    found = provenance(parts, [*names, *("" for _ in names)], *shapes, *shapes)
    of_guide, of_model = ({name: _reads(*parts) for name, parts in role.items()} for role in found)
    return Dependence(of_guide, of_model, plates)


class take(Handler):
    """Each latent takes the value of its name where it is first stated, in the guide; a model replays it from there.

    What it would have had from the program itself is held in ``instead``.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = dict(values)
        self.instead: dict[str, Any] = {}

    def process(self, site: Site) -> Site:
        if not isinstance(site, Sample) or site.observed or site.name not in self.values:
            return site
        if site.value is not None:
            self.instead[site.name] = site.value
        return site.having(value=self.values.pop(site.name), log_prob=None)


def _parts(trace: Trace, others: Mapping[str, Any], instead: Mapping[str, Any]) -> dict[str, Any]:
    """By site what its distribution, its mask and scale, and its term are made from."""
    out = {}
    for site in scored_sites(trace):
        made_from: list[Any] = []
        if isinstance(site, Sample) and site.latent:
            fn = site.fn if site.law is None else site.law.distribution()
            # Functions inside a distribution may read draws too, which only its density tells.
            made_from = [*_arrays(fn), fn.log_prob(others[site.name])]
            if site.law is None:
                made_from.append(instead.get(site.name))
        out[site.name] = (made_from, [site.mask, site.scale], cost(site))
    return out


def _arrays(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype") and hasattr(leaf, "shape")]


def _reads(*parts: Any) -> Reads:
    return Reads(*(union(jax.tree.leaves(part)) for part in parts))


def _plates(guide_trace: Trace, model_trace: Trace) -> dict[str, Names]:
    """The plates of each draw; none in programs with a mutable state, which carries from element to element."""
    sites: Iterable[Site] = (*guide_trace.values(), *model_trace.values())
    stateful = any(isinstance(site, Mutable) for site in sites)
    return {
        site.name: NOTHING if stateful else frozenset(frame.name for frame in site.plates)
        for site in guide_trace.values()
        if isinstance(site, Sample) and site.latent
    }
