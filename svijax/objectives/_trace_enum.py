"""The evidence lower bound with discrete latents summed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from svijax.base import ModelError, as_jax, as_key, check_names, message
from svijax.density import (
    LogFactor,
    Plates,
    Program,
    Term,
    as_factor,
    check_pair,
    check_read,
    draw,
    enumerated_here,
    joint_terms,
    log_weight,
    marginals,
    mutable_state,
    noise_layout,
    plates_of_traces,
    raw_log_prob,
    scored_sites,
    standing_of,
    stated_log_prob,
    summed_over_plates,
    terms_of,
    watched,
    with_axes,
)
from svijax.effects import Sample, Site
from svijax.handlers import Trace, enum, supply

from ._estimators import estimator_of
from ._particles import Run, with_shared_masks
from ._rerun import Rerun
from ._score import links_by_order
from ._terms import Cost, Link, Links, Score, Terms, add_up, scores_of
from ._trace_elbo import Trace_ELBO


@dataclass(frozen=True)
class TraceEnum_ELBO(Trace_ELBO):
    """−ELBO = −E_q[log Σ_d p(x, z, d) − log q(z)], sums over the sites with ``infer={"enumerate": "parallel"}``.

    Such a latent of the model that the guide lacks is summed out of the evidence (log Σ exp, by tensor variable
    elimination). One of the guide is summed out of the expectation, weighed by q. Both have no variance. The other
    latents of the guide are drawn, as in ``Trace_ELBO``, at each combination of the enumerated values that they
    depend on. ``svijax.handlers.config_enumerate`` marks all the latents that have finitely many values.

    Masks stand inside of the sums: what is masked counts as a factor of 1 at each of its values, but for ``obs_mask``,
    whose observed entries do not exist. The scale stands outside, so sites that are summed over together must have the
    same one. The programs must broadcast: enumerated values come along dims left of those of plates. Sites that are
    summed out are reported together, under their names joined by commas.

    The parameters are those of ``Trace_ELBO``; ``estimator`` and ``beta`` concern the latents that are drawn.
    """

    enumerates: ClassVar[bool] = True

    def one(self, run: Run) -> Terms:
        return self.terms(*self._traces(run))

    def terms(self, run: Run, model_trace: Trace, guide_trace: Trace) -> Terms:
        self._check_names(guide_trace)
        in_guide = enumerated_here(guide_trace)
        in_model = enumerated_here(model_trace, guide_trace)
        beta = self._weight(run.step)
        self._check_settings(guide_trace, in_guide, in_model, beta)
        plates = plates_of_traces(_nesting(model_trace, guide_trace), model_trace, guide_trace)
        log_q = {name: _raw_log_q(guide_trace[name]) for name in in_guide}
        terms_q = [
            t for s in scored_sites(self.densities(run, guide_trace)) for t in terms_of(s, guide_trace)
        ]
        terms_p = [t for s in scored_sites(model_trace) for t in terms_of(s, guide_trace)]
        terms_p = joint_terms(terms_p, in_model, plates, in_guide)
        for term in (*terms_q, *terms_p):
            check_read(term.factor, in_guide)
        drawn = {n: s for n, s in guide_trace.items() if n not in in_guide}
        found = scores_of(drawn, model_trace, self.pathwise, self._baseline)
        links = links_by_order(model_trace, guide_trace, found) if found else {}
        layout = _Layout.of(found, guide_trace, plates)
        latents = {s.name for s in model_trace.values() if isinstance(s, Sample) and s.latent}
        log_p: dict[str, Any] = {}
        log_q_by_site: dict[str, Any] = {}
        plain, costs = [], []
        for role, terms, report, sign in (("q", terms_q, log_q_by_site, 1), ("p", terms_p, log_p, -1)):
            for term in terms:
                sites = term.factor.sites
                weighed = _expected(term, log_q, plates)
                value, name = summed_over_plates(weighed, plates), _label(sites)
                report[name] = report[name] + value if name in report else value
                weight = 1 if beta is None or (role == "p" and sites[0] not in latents) else beta
                met = layout.links(role, weighed, sites, links)
                if met:
                    costs.append(Cost(role, name, sign * weight * layout.laid_out(weighed), met))
                else:
                    plain.append(sign * weight * value)
        state = mutable_state(guide_trace, model_trace)
        return Terms(log_p, log_q_by_site, add_up(plain), tuple(costs), layout.scores, state)

    def compute_marginals(
        self,
        key: jax.Array,
        params: Mapping[str, Any],
        model: Program,
        guide: Program,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """p(d | x, z) of each site that is summed out of the model, by name, given one draw z of the guide.

        ``Bernoulli`` for a site that is one, else ``Categorical`` over the values of ``enumerate_support``: the
        derivatives of log Σ exp in the log factors. Arguments as of ``loss``.

        :raises ModelError: the guide enumerates sites.
        """
        args, kwargs = as_jax(args, kwargs)
        bound_model, bound_guide = supply(model, params), supply(guide, params)
        layout = noise_layout(bound_guide, args, kwargs)
        key = as_key(key)
        draws = draw(key, layout, 1)
        noise = layout.split(draws.normal[0], draws.uniform[0])
        run = Run(bound_model, bound_guide, args, kwargs, {}, layout, noise, key, key, 0, self.pathwise)
        _, model_trace, guide_trace = self._traces(run)
        check_names(params, (*bound_model.met, *bound_guide.met), "params")
        in_guide = enumerated_here(guide_trace)
        if in_guide:
            raise ModelError(
                message(
                    "compute_marginals: the guide enumerates sites, whose marginals are its own.",
                    expected="sites that only the model enumerates",
                    got=f"guide sites {sorted(in_guide)}",
                )
            )
        return marginals(model_trace, guide_trace)

    def _traces(self, run: Run) -> tuple[Run, Trace, Trace]:
        """(the run that enumerates, the traces of model and guide), checked against each other."""

        def plain(see_model: Any, see_guide: Any) -> None:
            seen = run.having(model=watched(run.model, see_model), guide=watched(run.guide, see_guide))
            seen.model_trace(seen.guide_trace())

        of_model, of_guide = standing_of(plain)
        run = run.having(guide=enum(run.guide, of_guide, density=stated_log_prob))
        guide_trace = run.guide_trace()
        _check_scans(guide_trace)
        run = run.having(model=enum(run.model, of_model, guide_trace, stated_log_prob))
        model_trace = run.model_trace(guide_trace)
        guide_trace = with_shared_masks(model_trace, guide_trace)
        check_pair(model_trace, guide_trace, enumerates=True)
        return run, model_trace, guide_trace

    def _check_settings(
        self, guide_trace: Trace, in_guide: Mapping[str, Any], in_model: Mapping[str, Any], beta: Any
    ) -> None:
        for site in guide_trace.values():
            chosen = estimator_of(site, self.estimator) if isinstance(site, Sample) and site.latent else None
            if chosen is not None and isinstance(site, Sample):
                if site.name in in_guide:
                    chosen.refuse(site, "the site is enumerated, and its gradient exact")
                if isinstance(chosen, Rerun):
                    chosen.refuse(
                        site, "TraceEnum_ELBO runs the programs once; mark the site to be enumerated"
                    )
        if beta is not None and in_model:
            raise ModelError(
                message(
                    f"TraceEnum_ELBO: beta weighs the KL of latents, and {next(iter(in_model))!r} is summed out of the "
                    "model, so that it has none.",
                    expected="beta=1.0",
                    got=f"model sites {sorted(in_model)} without a guide site",
                    fix="leave beta out, or enumerate the sites in the guide.",
                )
            )


@dataclass(frozen=True)
class _Layout:
    """Scores and costs as the core has them: by dims. Enumerated sites on which a score depends have one each."""

    scores: tuple[Score, ...]
    variables: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]]
    plates: Plates

    @staticmethod
    def of(scores: Sequence[Score], guide_trace: Mapping[str, Site], plates: Plates) -> _Layout:
        factors = {s.name: _dims_apart(guide_trace[s.name], s.log_q) for s in scores}
        variables = tuple(dict.fromkeys(v for f in factors.values() for v in f.variables))
        laid = tuple(replace(s, log_q=with_axes(factors[s.name], variables)) for s in scores)
        if not variables:
            laid = tuple(scores)
        return _Layout(laid, variables, {n: f.variables for n, f in factors.items()}, plates)

    def links(self, role: str, weighed: LogFactor, sites: Sequence[str], links: Links) -> tuple[Link, ...]:
        """The scores that a term of these sites takes, and the dims along which they are kept apart."""
        found: dict[str, set[tuple[str, int]]] = {}
        for site in sites:
            for link in links.get((role, site), ()):
                found.setdefault(link.score, set()).update(link.plates)
        by_name = {score.name: score for score in self.scores}
        here = {(name, self.plates.dims[name]) for name in weighed.plates}
        out = []
        for name, kept in found.items():
            own = self.own[name]
            if not set(own) <= set(weighed.variables):
                continue  # what reads a draw made at each value of a site depends on that value
            if own:
                kept = set(by_name[name].plates)
            enumerated = {(v, self._dim(v)) for v in own}
            out.append(Link(name, tuple(sorted((kept & here) | enumerated))))
        return tuple(out)

    def laid_out(self, weighed: LogFactor) -> Any:
        """The array of a term with the dims of the scores' variables and of plates; summed over the others."""
        gone = tuple(i for i, v in enumerate(weighed.variables) if v not in self.variables)
        kept = tuple(v for v in weighed.variables if v in self.variables)
        array = jnp.sum(weighed.array, axis=gone) if gone else weighed.array
        array = with_axes(replace(weighed, array=array, variables=kept), self.variables)
        return jnp.broadcast_to(
            array, (*array.shape[: len(self.variables)], *self.plates.shape(weighed.plates))
        )

    def _dim(self, variable: str) -> int:
        return self.variables.index(variable) - len(self.variables) - self.plates.nesting


def _check_scans(guide_trace: Mapping[str, Site]) -> None:
    for site in guide_trace.values():
        if isinstance(site, Sample) and site.enumeration is not None and site.enumeration.before is not None:
            raise ModelError(
                message(
                    f"guide site {site.name!r} is to be enumerated inside a scan of the guide.",
                    plates=site.plates,
                    expected="sites of a scan that the model alone enumerates",
                    fix="leave it out of the guide: it is then summed out of the model.",
                )
            )


def _expected(term: Term, log_q: Mapping[str, LogFactor], plates: Plates) -> LogFactor:
    """q · term, at each combination of the values of the guide's sites that it depends on."""
    f = term.value
    if not f.variables:
        return f
    weight = jnp.exp(with_axes(log_weight(f.variables, log_q, f.plates, plates), f.variables))
    # Where q is 0 the term may be infinite, and counts nothing.
    never = weight == 0
    return replace(f, array=jnp.where(never, 0.0, weight * jnp.where(never, 0.0, with_axes(f, f.variables))))


def _raw_log_q(site: Any) -> LogFactor:
    return as_factor(site, raw_log_prob(site.stated, site.value))


def _dims_apart(site: Any, log_q: Any) -> LogFactor:
    """log q with its dims of plates, declared or not, as they are."""
    return as_factor(site, log_q, whole=True)


def _nesting(*traces: Mapping[str, Site]) -> int:
    found = [s.enumeration.nesting for t in traces for s in scored_sites(t) if s.enumeration is not None]
    return max(found, default=0)


def _label(sites: Sequence[str]) -> str:
    """One name for what several sites say together."""
    if len(sites) <= 6:
        return ", ".join(sites)
    return f"{', '.join(sites[:3])}, ..., {sites[-1]} ({len(sites)} sites)"
