"""The evidence lower bound, with score terms only where a term depends on a draw."""

from __future__ import annotations

from dataclasses import dataclass

from svijax.handlers import Trace

from ._graph import dependence_of, links_by_dependence
from ._particles import Run
from ._terms import Links, Score
from ._trace_elbo import Trace_ELBO


@dataclass(frozen=True)
class TraceGraph_ELBO(Trace_ELBO):
    """−ELBO as ``Trace_ELBO`` has it, of the same expectation and less variance at draws without pathwise gradient.

    The score of a draw multiplies only the terms that are computed from it (Schulman et al. 2015, section 4.1), which
    the programs themselves tell: they are traced once more as functions of the guide's draws. So one more site that has
    nothing to do with the others adds its own variance and no more. A guide of reparameterised draws has no scores, and
    compiles to what ``Trace_ELBO`` compiles to.
    """

    def links(self, run: Run, model_trace: Trace, guide_trace: Trace, scores: tuple[Score, ...]) -> Links:
        return links_by_dependence(dependence_of(run, guide_trace), model_trace, guide_trace, scores)
