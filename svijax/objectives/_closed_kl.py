"""Where −KL(q ‖ p) in closed form may stand for log p(z) − log q(z), and the terms that have it.

E_q[log q(z | a) − log p(z | b)] = E_q[KL(q(· | a) ‖ p(· | b))] if z is independent of b given a, which holds where no
draw in b is made from z: given its parents a draw is independent of all that does not descend from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import is_concrete
from svijax.density import Dependence
from svijax.distributions import Delta, Independent, describe, has_kl, kl_divergence
from svijax.effects import Mutable, Sample, Site
from svijax.handlers import Trace

from ._estimators import ClosedFormEntropy, Estimator, PathDerivative


@dataclass(frozen=True)
class Verdict:
    """Whether a latent has the closed form: ``pair``, whose KL it is; or None, and ``why`` not."""

    pair: tuple[Any, Any] | None
    why: str


def verdicts(
    model_trace: Mapping[str, Site],
    guide_trace: Mapping[str, Site],
    found: Callable[[], Dependence],
    asked: Callable[[Sample], Estimator | None],
) -> dict[str, Verdict]:
    """For each latent of the guide. ``found``: the dependence; ``asked``: the estimator asked for at a site."""
    out = {}
    for q in guide_trace.values():
        if isinstance(q, Sample) and q.latent:
            p = model_trace.get(q.name)
            vector = guide_trace[q.law.vector] if q.law is not None else q
            out[q.name] = _without_dependence(q, p, vector, asked)
            if out[q.name].pair is not None and not _in_order(model_trace, guide_trace, q):
                own = found().descendants(q.name) | {q.name}
                read = sorted(found().model[q.name].distribution & own)
                if read:
                    why = f"its prior reads {', '.join(read)}, which the guide draws from it"
                    out[q.name] = Verdict(None, why)
    return out


def _in_order(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], site: Sample) -> bool:
    """Whether all that a prior can read is drawn before the site, which the order of statements often tells."""
    everything = (*model_trace.values(), *guide_trace.values())
    if site.steps or any(isinstance(other, Mutable) for other in everything):
        return False
    before = [
        {s.name for s in itertools.takewhile(lambda s: s.name != site.name, trace.values()) if _is_latent(s)}
        for trace in (model_trace, guide_trace)
    ]
    return before[0] <= before[1]


def _is_latent(site: Site) -> bool:
    return isinstance(site, Sample) and site.latent


def _without_dependence(q: Sample, p: Any, vector: Any, asked: Any) -> Verdict:
    """What the site alone tells."""
    if not isinstance(p, Sample):
        return Verdict(None, "only the guide has it")
    for site in (q, vector):
        chosen = asked(site)
        if isinstance(chosen, ClosedFormEntropy | PathDerivative):
            return Verdict(None, f"{type(chosen).__name__} is set at {site.name!r}")
    if type(q.fn) is Delta and q.law is None:
        return Verdict(None, "a point, given the draws that it is made of")
    law = q.fn if q.law is None else q.law.distribution()
    why = _unlike(law, p) or _unlike_weights(q, p, vector)
    return Verdict((law, p.fn), "") if why is None else Verdict(None, why)


def _unlike(law: Any, p: Sample) -> str | None:
    """Why the two distributions have no KL of the site's shape."""
    for kind in ("event", "batch"):
        ours, theirs = (tuple(getattr(fn, f"{kind}_shape")) for fn in (law, p.fn))
        if ours != theirs:
            return f"{kind} shapes differ: {ours} in the guide, {theirs} in the model"
    if p.sample_shape:
        return "it is drawn with a sample_shape"
    if not has_kl(law, p.fn):
        return f"KL({describe(law)} || {describe(p.fn)}) is not known in closed form"
    return None


def _unlike_weights(q: Sample, p: Sample, vector: Sample) -> str | None:
    """Why log q and log p do not weigh the same, as far as it can be told."""
    for kind, neutral in (("scale", 1.0), ("mask", True)):
        ours, theirs, shared = (getattr(site, kind) for site in (q, p, vector))
        if not (_same(ours, theirs, neutral) and _same(ours, shared, neutral)):
            return f"guide and model do not have one {kind}, or it cannot be told before the program runs"
    return None


def _same(a: Any, b: Any, neutral: Any) -> bool:
    if a is b:
        return True
    a, b = (neutral if x is None else x for x in (a, b))
    return is_concrete(a) and is_concrete(b) and np.array_equal(np.asarray(a), np.asarray(b))


def with_closed_forms(
    model_trace: Trace, guide_trace: Trace, found: Mapping[str, Verdict]
) -> tuple[Trace, Trace]:
    """(model, guide) with KL as log q and 0 as log p where the closed form is used: masked and scaled once."""
    model, guide = Trace(model_trace), Trace(guide_trace)
    taken: dict[str, list[Any]] = {}
    for name, verdict in found.items():
        p, q = model.get(name), guide[name]
        if verdict.pair is None or not isinstance(p, Sample) or not isinstance(q, Sample):
            continue
        kl = kl_divergence(*verdict.pair)
        guide[name] = q.having(log_prob=kl)
        model[name] = _without_term(p)
        if q.law is not None:
            taken.setdefault(q.law.vector, []).append(q.law)
    for vector, slices in taken.items():
        site = guide[vector]
        if isinstance(site, Sample):
            guide[vector] = _without_slices(site, slices)
    return model, guide


def _without_term(site: Sample) -> Sample:
    return site.having(log_prob=jnp.zeros((), jnp.result_type(float)), scale=None, mask=None)


def _without_slices(site: Sample, slices: list[Any]) -> Sample:
    """The draw of a vector, its density without some of its entries, which are independent of the others."""
    (size,) = site.fn.event_shape
    left = np.ones(size, bool)
    for part in slices:
        left[part.start : part.start + part.size] = False
    if not left.any():
        return _without_term(site)
    return site.having(fn=Independent(site.fn.base_dist.mask(left), 1), log_prob=None)
