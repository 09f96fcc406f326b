"""Which scores multiply which terms, by what the programs compute.

A term takes the score of a draw if it is computed from it, by itself or by way of other draws. Element i of a term
takes element i of a score where the term, the draw and all draws on all ways between them stand in one plate: by what a
plate says, nothing can then have carried the draw of one element to another. Elsewhere it takes the sum of the scores.
Draws that lie on no way between the two do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from svijax.density import Dependence, dependence, scored_sites
from svijax.effects import Factor, Sample, Site

from ._particles import Run
from ._terms import Link, Links, Score, plates_of


def dependence_of(run: Run, guide_trace: Mapping[str, Site]) -> Dependence:
    """What the sites of both programs read; the programs are traced once more for it."""
    draws = {s.name: s.value for s in guide_trace.values() if isinstance(s, Sample)}
    return dependence(run.having(noise={}).traces, draws)


def links_by_dependence(
    found: Dependence,
    model_trace: Mapping[str, Site],
    guide_trace: Mapping[str, Site],
    scores: Iterable[Score],
) -> Links:
    """The scores of each term: those of the draws that it depends on, its own among them."""
    every = list(scores)
    sides = (("q", guide_trace, found.guide), ("p", model_trace, found.model))
    return {
        (role, site.name): links_to(found, reads[site.name].term, site, every)
        for role, trace, reads in sides
        for site in scored_sites(trace)
    }


def links_to(
    found: Dependence, reads: frozenset[str], site: Sample | Factor, scores: Iterable[Score]
) -> tuple[Link, ...]:
    """The scores behind a term that reads these draws and stands where ``site`` does."""
    plates = plates_of(site)
    upstream = found.upstream(reads, frozenset(name for name, _ in plates))
    return tuple(
        Link(s.name, tuple(p for p in s.plates if p in plates and p[0] in upstream[s.name]))
        for s in scores
        if s.name in upstream
    )
