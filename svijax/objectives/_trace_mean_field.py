"""The evidence lower bound, with KL divergences in closed form where they are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax

from svijax.base import join_arguments, split_arguments
from svijax.density import Program, noise_layout
from svijax.effects import Sample, Site, no_handlers
from svijax.handlers import Trace

from ._closed_kl import Verdict, verdicts, with_closed_forms
from ._estimators import estimator_of
from ._graph import dependence_of, links_by_dependence, links_to
from ._particles import Run
from ._terms import Terms, make_terms, scores_of
from ._trace_elbo import Trace_ELBO


@dataclass(frozen=True)
class TraceMeanField_ELBO(Trace_ELBO):
    """−ELBO as ``Trace_ELBO`` has it, of the same expectation, with −KL(q ‖ p) for log p(z) − log q(z) where exact.

    That is at a latent if the divergence is known in closed form over its batch shape, guide and model give the site
    one scale and one mask, and its prior reads no draw that the guide makes from it; ``report`` tells. All other terms
    are sampled. There is no score of a draw in its own divergence. As log q of such a site KL is given, as log p 0.
    """

    def terms(self, run: Run, model_trace: Trace, guide_trace: Trace) -> Terms:
        self._check_names(guide_trace)
        scores = scores_of(guide_trace, model_trace, self.pathwise, self._baseline)
        found = cache(lambda: dependence_of(run, guide_trace))
        closed = self._verdicts(model_trace, guide_trace, found)
        links = None
        if scores:
            links = links_by_dependence(found(), model_trace, guide_trace, scores)
            for name, verdict in closed.items():
                site = guide_trace[name]
                if verdict.pair is not None and isinstance(site, Sample):
                    links["q", name] = links_to(found(), _read_by_kl(found(), name), site, scores)
                    links["p", name] = ()
        sides = with_closed_forms(model_trace, self.densities(run, guide_trace), closed)
        return make_terms(*sides, scores, links, self._weight(run.step))

    def report(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> KLReport:
        """Which latents have the closed form on these arguments, and why the others have not; nothing is executed."""
        arrays, static = split_arguments(args, kwargs)
        rows: dict[str, str] = {}

        def look(key: jax.Array, *arrays: Any) -> int:
            args, kwargs = join_arguments(arrays, static)
            layout = noise_layout(guide, args, kwargs)
            run = Run(model, guide, args, kwargs, {}, layout, {}, key, key, pathwise=self.pathwise)
            model_trace, guide_trace = run.traces()
            found = self._verdicts(model_trace, guide_trace, cache(lambda: dependence_of(run, guide_trace)))
            rows.update({name: verdict.why for name, verdict in found.items()})
            return 0

        with no_handlers():
            jax.eval_shape(look, jax.eval_shape(lambda: jax.random.key(0)), *arrays)
        return KLReport(rows)

    def _verdicts(
        self, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], found: Any
    ) -> dict[str, Verdict]:
        return verdicts(model_trace, guide_trace, found, lambda site: estimator_of(site, self.estimator))


@dataclass(frozen=True)
class KLReport:
    """Latents of a guide by name: "" where KL is in closed form, else why not. ``str()`` is a table."""

    why_not: Mapping[str, str]

    @property
    def closed(self) -> tuple[str, ...]:
        """The latents that have the closed form."""
        return tuple(name for name, why in self.why_not.items() if not why)

    def __str__(self) -> str:
        width = max((len(name) for name in self.why_not), default=0)
        lines = [
            f"{name:<{width}}  {'sampled: ' + why if why else 'closed form'}"
            for name, why in self.why_not.items()
        ]
        return "\n".join(lines)


def _read_by_kl(found: Any, name: str) -> frozenset[str]:
    """The draws that KL, its mask and its scale are computed from: not the latent's own."""
    q, p = found.guide[name], found.model[name]
    read: frozenset[str] = q.distribution | p.distribution | q.weights | p.weights
    return read
