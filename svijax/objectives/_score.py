"""Which scores multiply which terms, by the order of statements; and the terms of one pair of traces.

A term depends on the draws that were made before it. The score of one more draw costs variance and no bias, so every
doubt is settled that way. Element i of a term takes element i of a score where term and draw stand in one plate and
all draws between them too: by what a plate says, nothing can then have carried the draw of one element to another.
Elsewhere it takes the sum of the scores.

The sites of a scan are made step by step, so that each depends on all of them: they count as made together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from svijax.effects import Factor, Mutable, Sample, Site

from ._terms import Link, Links, Score, plates_of


def links_by_order(
    model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], scores: Iterable[Score]
) -> Links:
    """The scores of each term: of a guide's site, the draws up to its own; of a model's, all that it had read by then.

    What the model reads at a latent may depend on every draw that the guide made up to it, draws of variables that
    only the guide has among them; what it reads of a mutable state, on every draw of all elements.
    """
    order = {name: i for i, name in enumerate(guide_trace)}
    ends = _ends(guide_trace, order)
    every = list(scores)
    out: Links = {}
    for site in guide_trace.values():
        if isinstance(site, Sample | Factor):
            out["q", site.name] = _met(_upstream(every, guide_trace, ends[site.name]), site)
    written = {site.name for site in guide_trace.values() if isinstance(site, Mutable)}
    reach, upstream = -1, list[Link]()
    # What a site reads of the guide, those of a scan together.
    reads = _ends(model_trace, {name: ends.get(name, -1) for name in model_trace})
    for site in model_trace.values():
        if isinstance(site, Mutable) and site.name in written:
            reach, upstream = len(order), [Link(s.name, s.plates) for s in every]
        elif isinstance(site, Sample | Factor) and reads[site.name] > reach:
            reach = reads[site.name]
            upstream = _upstream(every, guide_trace, reach)
        if isinstance(site, Sample | Factor):
            out["p", site.name] = _met(upstream, site)
    return out


def _ends(trace: Mapping[str, Site], places: Mapping[str, int]) -> dict[str, int]:
    """The place of each site, of those of one scan the last one's."""
    last: dict[object, int] = {}
    for site in trace.values():
        last[loop_of(site)] = max(places[site.name], last.get(loop_of(site), -1))
    return {site.name: last[loop_of(site)] for site in trace.values()}


def loop_of(site: Site) -> object:
    """The outermost scan around a site; without one the site itself."""
    steps = site.steps if isinstance(site, Sample | Factor) else ()
    return steps[0] if steps else site


def _upstream(scores: list[Score], guide_trace: Mapping[str, Site], reach: int) -> list[Link]:
    """The scores up to ``reach`` in the guide, kept apart only along plates that every later draw is in too.

    A draw outside a plate may depend on all its elements, and carries that to whatever reads it.
    """
    by_name = {score.name: score for score in scores}
    out: list[Link] = []
    common: set[str] | None = None  # plates that every draw after this one is in, up to reach
    together = _plates_of_loops(guide_trace)
    for site in reversed(list(guide_trace.values())[: reach + 1]):
        inside = together.get(loop_of(site))
        if inside is not None:
            common = inside if common is None else common & inside
        if site.name in by_name:
            plates = by_name[site.name].plates
            out.append(Link(site.name, tuple(p for p in plates if common is None or p[0] in common)))
        if isinstance(site, Sample):
            inside = {frame.name for frame in site.plates}
            common = inside if common is None else common & inside
    return out[::-1]


def _plates_of_loops(guide_trace: Mapping[str, Site]) -> dict[object, set[str]]:
    """The plates that all draws of a scan are in."""
    out: dict[object, set[str]] = {}
    for site in guide_trace.values():
        if isinstance(site, Sample) and site.steps:
            inside = {frame.name for frame in site.plates}
            out[loop_of(site)] = out.get(loop_of(site), inside) & inside
    return out


def _met(links: list[Link], site: Sample | Factor) -> tuple[Link, ...]:
    """The links as a term of this site has them: apart only along plates that it stands in, at the same dim."""
    plates = plates_of(site)
    return tuple(Link(link.score, tuple(p for p in link.plates if p in plates)) for link in links)
