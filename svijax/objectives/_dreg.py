"""Doubly reparameterised gradients of bounds that weigh particles.

With v_k the softmax of (1 − α) log w_k, the gradient of the bound holds −Σ v_k ∂ log q(z_k; φ) by the parameters alone.
By E[g(z) ∂ log q(z; φ)] = E[(∂g/∂z) (dz/dφ)] it is taken through the draws too, where ∂v_k/∂z = (1 − α) v_k (1 − v_k)
∂ log w_k/∂z. Together: Σ (α v_k + (1 − α) v_k²) (d log w_k/dz_k) (dz_k/dφ) (Tucker et al. 2019, eq. 8, at α = 0).

Here the parameters are held fixed in log q of such a latent, and the rest is added, latent by latent: a derivative in
its draw is what a shift of it does to all that comes after (Bauer & Mnih 2021), and dz/dφ is that of its own
distribution, given the draws before it. Where a later draw has no pathwise gradient, g holds its probability: so its
score comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.density import has_pathwise_gradient
from svijax.distributions import Delta
from svijax.effects import Factor, Handler, Mutable, Sample, Site
from svijax.handlers import Trace

from ._estimators import Estimator
from ._particles import Run, with_shared_masks
from ._surrogate import along
from ._terms import Score, add_up
from ._weights import Slices, normalised, slices_of

_NO_SECOND = "DReG has no second derivative; leave the estimator out for Hessians."


@dataclass(frozen=True)
class DReG(Estimator):
    """Σ (α v_k + (1 − α) v_k²) (d log w_k/dz_k) (dz_k/dφ), v the normalised weights: for ``RenyiELBO`` and its like.

    Where the plain gradient's signal sinks in its noise as K grows, this one's does not. First derivatives only; the
    guide runs three times for it, and the model's derivative in the draws is taken a second time.
    """

    weighs = True

    def obstacle(self, site: Sample) -> str | None:
        if not has_pathwise_gradient(site):
            return "its draws have no pathwise derivative"
        if isinstance(site.fn, Delta):
            return "a point has no density to differentiate"
        return "it is drawn inside svijax.scan" if site.steps else None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_w", "scores", "local", "weight"],
    meta_fields=["parts"],
)
@dataclass(frozen=True)
class Doubly:
    """One particle's draw of one latent, its entries in one dim.

    ``log_w``, ``scores``: derivatives, by a shift of the draw, of the sum of log w over the slices, and of the log q of
    draws without pathwise gradient (None for none). ``local``: the draw, with derivatives in the parameters of its own
    distribution alone. ``weight``: mask and scale of its log q. ``parts``: (batch shape, entries) of what makes it up.
    """

    log_w: Any
    scores: Any
    local: Any
    weight: Any
    parts: tuple[tuple[tuple[int, ...], int], ...]


Weight = Callable[[Trace, Trace], Any]
Scores = Callable[[Trace, Trace], tuple[Score, ...]]


def doubly(
    run: Run,
    model_trace: Trace,
    guide_trace: Trace,
    names: Sequence[str],
    slices: Slices,
    weight: Weight,
    scores: Scores,
) -> tuple[tuple[Doubly, ...], Trace]:
    """(what the latents in ``names`` need, the guide's sites with constant parameters in their log q).

    ``weight``: log w by slice, from (model, guide); ``scores``: those of draws without pathwise gradient.
    """
    if not names:
        return (), guide_trace
    sites = [site for name in names if isinstance(site := guide_trace[name], Sample)]
    _check_state(sites[0], slices, model_trace, guide_trace)
    shifts = {site.name: jnp.zeros_like(site.value) for site in sites}
    scored = bool(scores(model_trace, guide_trace))

    def of_shifts(shifts: Mapping[str, Any]) -> tuple[Any, Any]:
        with shifted(shifts):
            guide = run.guide_trace()
        model = run.model_trace(guide)
        guide = with_shared_masks(model, guide)
        raw = add_up([jnp.sum(score.log_q) for score in scores(model, guide)])
        return jnp.sum(weight(model, guide)), raw

    (total, raw), pull = jax.vjp(of_shifts, shifts)
    one, none = jnp.ones_like, jnp.zeros_like
    by_weight = pull((one(total), none(raw)))[0]
    by_score = pull((none(total), one(raw)))[0] if scored else by_weight
    own = run.having(guide=held(run.guide)).guide_trace()
    local = {name: site.value for name, site in own.items()}
    found = tuple(
        Doubly(
            jax.lax.stop_gradient(jnp.ravel(by_weight[site.name])),
            jax.lax.stop_gradient(jnp.ravel(by_score[site.name])) if scored else None,
            jnp.ravel(local[site.name]),
            jnp.ravel(_weight(site, slices)),
            _parts(site, guide_trace),
        )
        for site in sites
    )
    return found, with_constants(run, guide_trace, names)


def correction(found: Sequence[Doubly], log_w: Any, power: float) -> Any:
    """0, with the derivative that the bound of these weights lacks; particle axis in front. ``power``: 1 − α."""
    v = normalised(power * log_w)
    terms = []
    for latent in found:
        slope = _spread(power * v * (1 - v), latent.parts) * latent.log_w
        if latent.scores is not None:
            # 1 / K is a baseline: the scores have no expectation.
            slope = slope + _spread(v - 1 / log_w.shape[0], latent.parts) * latent.scores
        terms.append(jnp.sum(along(-latent.weight * slope, latent.local, _NO_SECOND)))
    return add_up(terms)


class shifted(Handler):
    """Draws moved by ``shifts``, for the program and whoever records it."""

    def __init__(self, shifts: Mapping[str, Any]) -> None:
        super().__init__()
        self.shifts = shifts

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.name in self.shifts and site.ahead:
            DReG().refuse(site, "it is drawn inside svijax.cond")
        return site

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.name in self.shifts:
            return site.having(value=site.value + self.shifts[site.name], log_prob=None)
        return site


class held(Handler):
    """The program goes on with draws that are constants; whoever records it sees them as they were drawn."""

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.latent:
            return site.having(value=jax.lax.stop_gradient(site.value), log_prob=None)
        return site


def with_constants(run: Run, guide_trace: Trace, names: Collection[str]) -> Trace:
    """The guide's sites, those in ``names`` with constant parameters in their log q."""
    detached = run.detached(guide_trace)
    out = Trace(guide_trace)
    for name, site in guide_trace.items():
        twin = detached[name]
        if isinstance(site, Sample) and isinstance(twin, Sample) and name in names:
            out[name] = site.having(fn=twin.fn, log_prob=twin.log_prob)
        elif isinstance(site, Sample) and isinstance(twin, Sample) and _slice_in(site, names):
            out[name] = site.having(law=twin.law)
        elif isinstance(site, Factor) and name in names:
            out[name] = site.having(value=twin.value)
    return out


def _slice_in(site: Sample, vectors: Collection[str]) -> bool:
    return site.law is not None and site.law.vector in vectors


def _check_state(
    site: Sample, slices: Slices, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]
) -> None:
    stateful = any(isinstance(s, Mutable) for sites in (model_trace, guide_trace) for s in sites.values())
    if slices.plates and stateful:
        DReG().refuse(
            site,
            "the programs have a mutable state, which may carry a draw from one element of a plate to another",
        )


def _weight(site: Sample, slices: Slices) -> Any:
    """Mask and scale of log q at every entry of the value; one number where there are none."""
    scale, mask = slices.weight(site), site.mask
    if scale is None and mask is None:
        return jnp.ones(())
    weight = (1.0 if scale is None else scale) * (1.0 if mask is None else jnp.asarray(mask, float))
    shape = jnp.shape(site.value)
    event = len(site.fn.event_shape)
    weight = jnp.broadcast_to(weight, shape[: len(shape) - event])
    return jnp.broadcast_to(weight.reshape(*weight.shape, *(1,) * event), shape)


def _parts(site: Sample, trace: Mapping[str, Site]) -> tuple[tuple[tuple[int, ...], int], ...]:
    latents = sorted(slices_of(site.name, trace), key=lambda latent: latent.law.start)
    if latents and not site.plates:
        return tuple((tuple(s.fn.batch_shape), s.law.size) for s in latents)
    shape = jnp.shape(site.value)
    return ((shape[: len(shape) - len(site.fn.event_shape)], int(np.prod(shape))),)


def _spread(by_slice: Any, parts: tuple[tuple[tuple[int, ...], int], ...]) -> Any:
    """What each slice has, at every entry of a draw that is made of these parts."""
    count, *slices = by_slice.shape
    if not slices:
        return by_slice.reshape(count, 1)
    found = []
    for batch, size in parts:
        rows = by_slice.reshape(count, *(1,) * (len(batch) - len(slices)), *slices)
        rows = jnp.broadcast_to(rows, (count, *batch)).reshape(count, -1)
        found.append(jnp.repeat(rows, size // rows.shape[1], axis=1))
    return jnp.concatenate(found, axis=1)
