"""Sums over the components of a mixture, and its draws with pathwise derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import broadcast


def log_sum_weighted(mixing: Any, terms: Any) -> Any:
    """log sum_k w_k exp(terms_k) over the last axis.

    Terms of -inf and weights of 0 are welcome: nothing is NaN, and the derivative in a weight of 0 is right.
    """
    if mixing._probs is None:
        return _log_sum(terms + jax.nn.log_softmax(jnp.asarray(mixing._logits), axis=-1))
    weights = jnp.asarray(mixing._probs)
    weights, terms = (
        jnp.broadcast_to(x, jnp.broadcast_shapes(weights.shape, terms.shape)) for x in (weights, terms)
    )
    used = weights > 0
    logs = jnp.where(used, terms + jnp.log(jnp.where(used, weights, 1.0)), -jnp.inf)
    peak = _peak(logs)
    # A component of weight 0 adds nothing but its derivative.
    unused = jnp.where(used, 0.0, weights) * jnp.exp(
        jnp.minimum(jnp.where(used, -jnp.inf, terms - peak), 60.0)
    )
    return _log_total(logs, peak, jnp.sum(unused, axis=-1))


def _log_sum(logs: Any) -> Any:
    return _log_total(logs, _peak(logs), 0.0)


def log_add(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), with derivatives that are not NaN where both are -inf."""
    return _log_sum(jnp.stack(jnp.broadcast_arrays(a, b), axis=-1))


def _peak(logs: Any) -> Any:
    peak = jax.lax.stop_gradient(jnp.max(logs, axis=-1, keepdims=True))
    return jnp.where(jnp.isfinite(peak), peak, 0.0)


def _log_total(logs: Any, peak: Any, more: Any) -> Any:
    total = jnp.sum(jnp.exp(logs - peak), axis=-1) + more
    empty = total <= 0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1.0, total)) + peak[..., 0])


def weighted_sum(mixing: Any, terms: Any, event_dim: int = 0) -> Any:
    """sum_k w_k terms_k over the axis before the event; a component of weight 0 may be infinite or NaN."""
    weights = jnp.asarray(mixing.probs)
    weights = weights.reshape((*weights.shape, *(1,) * event_dim))
    usable = (weights > 0) | jnp.isfinite(terms)
    return jnp.sum(weights * jnp.where(usable, terms, 0.0), axis=-event_dim - 1)


def draw_component(mixing: Any, key: jax.Array, shape: tuple[int, ...]) -> Any:
    """For draws of ``shape``, True at the component of each, along a new last axis; one uniform does."""
    return mixing._draw_classes(key, shape)[..., None] == jnp.arange(mixing._size)


def pick(chosen: Any, draws: Any, event_dim: int) -> Any:
    """The draws of the chosen components, whose axis stands before the event."""
    chosen = chosen.reshape((*chosen.shape, *(1,) * event_dim))
    return jnp.sum(
        jnp.where(chosen, draws, jnp.zeros((), draws.dtype)), axis=-event_dim - 1, dtype=draws.dtype
    )


@jax.custom_jvp
def implicit_mixture_draw(mixture: Any, draw: Any) -> Any:
    """The draw of a mixture of products of scalar families, with the derivatives that its conditional cdfs imply.

    Entry d of the draw has the cdf S_d(x_d | x_<d) = sum_k r_kd F_kd(x_d), where r_kd is the probability of component
    k given the entries before. The S_d of a draw are independent uniforms that no parameter moves, so that
    dx_d = -dS_d / p(x_d | x_<d), where dS_d counts the dx before d. Figurnov, Mohamed and Mnih (2018), section 3.
    """
    return jax.lax.stop_gradient(draw)


@implicit_mixture_draw.defjvp
def _implicit_mixture_draw_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    mixture, draw = primals
    x = implicit_mixture_draw(mixture, draw)
    event_dim = len(mixture.event_shape)
    batch = x.shape[: x.ndim - event_dim]
    size = mixture.mixture_size

    def flat(value: Any) -> Any:
        """(…, K, *event) as (…, K, D)."""
        return broadcast(value, (*batch, size, *x.shape[len(batch) :])).reshape((*batch, size, -1))

    below, above = (flat(f) for f in mixture._entry_tails(x))
    log_prob = flat(mixture._entry_log_probs(x))
    (weights, _, _), (d_weights, d_below, d_log_prob) = jax.jvp(
        lambda m: (m.mixing_distribution.probs, flat(m._entry_tails(x)[0]), flat(m._entry_log_probs(x))),
        (mixture,),
        (tangents[0],),
    )
    # log prod_{j<d} p_kj(x_j), and over it the probability of a component given the entries before.
    before = jnp.cumsum(log_prob, axis=-1) - log_prob
    before = jnp.where(jnp.isnan(before), -jnp.inf, before)
    weights, d_weights = (broadcast(w, (*batch, size))[..., None] for w in (weights, d_weights))
    log_weights = jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), -jnp.inf)
    log_total = jax.nn.logsumexp(log_weights + before, axis=-2, keepdims=True)
    share = jnp.exp(log_weights + before - log_total)
    # From the nearer tail: the shares sum to 1, so that a constant may be taken from all distribution functions.
    lower = jnp.sum(share * below, axis=-2, keepdims=True) < 0.5
    tail = jnp.where(lower, below, -above)
    tail = tail - jnp.sum(share * tail, axis=-2, keepdims=True)
    density = jnp.sum(share * jnp.exp(log_prob), axis=-2)
    # Where the density underflows, as at the smallest uniform, so does dS: the draw does not move.
    density = jnp.where(density > float(jnp.finfo(density.dtype).tiny), density, jnp.inf)
    # dS_d = direct_d + sum_k turn_kd dlog L_k, where L_k is the product over the entries before.
    gain = jnp.exp(jnp.minimum(before - log_total, 60.0))
    direct = jnp.sum(d_weights * gain * tail + share * d_below, axis=-2)
    turn = share * tail
    if turn.shape[-1] == 1:
        return x, (-direct / density).reshape(x.shape).astype(x.dtype)
    ones = jnp.ones_like(x)
    slope = flat(jax.jvp(mixture._entry_log_probs, (x,), (ones,))[1])

    def entry(moved: Any, row: Any) -> tuple[Any, Any]:
        direct, turn, density, d_log_prob, slope = row
        dx = -(direct + jnp.sum(turn * moved, axis=-1)) / density
        return moved + d_log_prob + slope * dx[..., None], dx

    rows = [jnp.moveaxis(row, -1, 0) for row in (direct, turn, density, d_log_prob, slope)]
    start = jnp.zeros((*batch, size), jnp.result_type(*rows))
    dx = jax.lax.scan(entry, start, rows)[1]
    return x, jnp.moveaxis(dx, 0, -1).reshape(x.shape).astype(x.dtype)
