"""Which scores multiply which terms, by the order of statements; and the terms of one pair of traces.

A term depends on the draws that were made before it. The score of one more draw costs variance and no bias, so every
doubt is settled that way. Element i of a term takes element i of a score where term and draw stand in one plate and
all draws between them too: by what a plate says, nothing can then have carried the draw of one element to another.
Elsewhere it takes the sum of the scores.
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
    every = list(scores)
    out: Links = {}
    for site in guide_trace.values():
        if isinstance(site, Sample | Factor):
            out["q", site.name] = _met(_upstream(every, guide_trace, order[site.name]), site)
    written = {site.name for site in guide_trace.values() if isinstance(site, Mutable)}
    reach, upstream = -1, list[Link]()
    for site in model_trace.values():
        if isinstance(site, Mutable) and site.name in written:
            reach, upstream = len(order), [Link(s.name, s.plates) for s in every]
        elif isinstance(site, Sample) and order.get(site.name, -1) > reach:
            reach = order[site.name]
            upstream = _upstream(every, guide_trace, reach)
        if isinstance(site, Sample | Factor):
            out["p", site.name] = _met(upstream, site)
    return out


def _upstream(scores: list[Score], guide_trace: Mapping[str, Site], reach: int) -> list[Link]:
    """The scores up to ``reach`` in the guide, kept apart only along plates that every later draw is in too.

    A draw outside a plate may depend on all its elements, and carries that to whatever reads it.
    """
    by_name = {score.name: score for score in scores}
    out: list[Link] = []
    common: set[str] | None = None  # plates that every draw after this one is in, up to reach
    for site in reversed(list(guide_trace.values())[: reach + 1]):
        if site.name in by_name:
            plates = by_name[site.name].plates
            out.append(Link(site.name, tuple(p for p in plates if common is None or p[0] in common)))
        if isinstance(site, Sample):
            inside = {frame.name for frame in site.plates}
            common = inside if common is None else common & inside
    return out[::-1]


def _met(links: list[Link], site: Sample | Factor) -> tuple[Link, ...]:
    """The links as a term of this site has them: apart only along plates that it stands in, at the same dim."""
    plates = plates_of(site)
    return tuple(Link(link.score, tuple(p for p in link.plates if p in plates)) for link in links)
