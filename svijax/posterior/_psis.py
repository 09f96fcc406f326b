"""Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao & Gabry, JMLR 2024).

The largest of S weights follow a generalised Pareto law of some shape k. Their mean converges fast for
k < 0.5, slowly up to min(1 − 1/log₁₀ S, 0.7), and beyond it not in practice: k says how far the guide is from
the posterior.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from svijax.base import ArgumentError

_FEWEST = 5
"""Weights in the tail without which there is no fit."""


class _Tail(NamedTuple):
    """The largest weights: exceedances over the cutoff, ascending; only entries where ``inside`` count.

    ``where``: their indices. ``equal``: all weights are. ``broken``: a weight is NaN, or none is finite.
    """

    exceedances: jax.Array
    inside: jax.Array
    cutoff: jax.Array
    where: jax.Array
    equal: jax.Array
    broken: jax.Array


def psis_khat(log_weights: Any) -> jax.Array:
    """k̂: the shape of the generalised Pareto law of the largest min(S/5, 3√S) of S weights.

    −∞ for weights that are equal to rounding, ∞ where fewer than five weights make a tail. ``jit`` and
    ``vmap`` work: all shapes follow from S.

    :param log_weights: (S,), up to a constant.
    :raises ArgumentError: not a vector.
    """
    return _khat(jnp.asarray(log_weights))


def psis_weights(log_weights: Any) -> jax.Array:
    """Smoothed log weights, normalised: Σ exp = 1. The tail is replaced by quantiles of its fitted law.

    :param log_weights: (S,), up to a constant.
    :raises ArgumentError: not a vector.
    """
    return _smoothed(jnp.asarray(log_weights))


@jax.jit
def _khat(log_weights: jax.Array) -> jax.Array:
    return _fit(_tail(log_weights))[0]


@jax.jit
def _smoothed(log_weights: jax.Array) -> jax.Array:
    tail = _tail(log_weights)
    log_w = _shifted(log_weights)
    k, sigma = _fit(tail)
    count = jnp.sum(tail.inside)
    rank = jnp.cumsum(tail.inside)
    p = (rank - 0.5) / jnp.maximum(count, 1)
    # Quantile of the law: σ ((1 − p)^(−k) − 1) / k, and −σ log(1 − p) at k = 0.
    flat = jnp.abs(k) < 1e-6
    safe = jnp.where(flat, 1.0, k)
    quantile = jnp.where(flat, -jnp.log1p(-p), jnp.expm1(-safe * jnp.log1p(-p)) / safe) * sigma
    smoothed = jnp.minimum(jnp.log(quantile + jnp.exp(tail.cutoff)), 0.0)
    usable = tail.inside & jnp.isfinite(k)
    log_w = log_w.at[tail.where].set(jnp.where(usable, smoothed, log_w[tail.where]))
    return log_w - logsumexp(log_w)


def effective_sample_size(log_weights: Any) -> jax.Array:
    """(Σ w)² / Σ w² of weights w given by their logarithms: S for equal weights, 1 for a single one."""
    log_w = _shifted(log_weights)
    return jnp.exp(2.0 * logsumexp(log_w) - logsumexp(2.0 * log_w))


def khat_threshold(num_draws: int) -> float:
    """min(1 − 1/log₁₀ S, 0.7): above it S draws are too few for weighted means to be trusted."""
    return min(1.0 - 1.0 / math.log10(num_draws), 0.7) if num_draws > 1 else 0.0


def khat_words(k: Any, num_draws: int) -> str:
    """What a k̂ from so many draws says about the guide."""
    k = float(k)
    if math.isnan(k):
        return "unknown: a log weight is not a number"
    if k == -math.inf:
        return "exact: all weights are equal"
    if k == math.inf:
        return "unknown: too few draws for a tail"
    limit = khat_threshold(num_draws)
    if k <= min(0.5, limit):
        return "good"
    if k <= limit:
        return "ok: close to the posterior; its weights are uneven"
    if k <= 1.0:
        return "high: do not trust the variances"
    return "bad: far from the posterior"


def _shifted(log_weights: Any) -> jax.Array:
    log_w = jnp.asarray(log_weights)
    if log_w.ndim != 1 or log_w.shape[0] == 0:
        raise ArgumentError(
            f"log_weights must be a vector, one entry a draw; got shape {log_w.shape}. Batches: jax.vmap."
        )
    if not jnp.issubdtype(log_w.dtype, jnp.floating):
        log_w = log_w.astype(jnp.result_type(float))
    return log_w - jnp.max(log_w)


def _tail(log_weights: jax.Array) -> _Tail:
    log_w = _shifted(log_weights)
    size = log_w.shape[0]
    count = math.ceil(min(0.2 * size, 3.0 * math.sqrt(size)))
    count = min(count, size - 1)
    info = jnp.finfo(log_w.dtype)
    top, where = jax.lax.top_k(log_w, count + 1)
    cutoff = jnp.maximum(top[-1], jnp.log(info.tiny))
    values, where = top[:-1][::-1], where[:-1][::-1]
    # Differences of the size of the rounding are no tail.
    rounding = 64.0 * info.eps * jnp.maximum(1.0, jnp.abs(jnp.max(log_weights)))
    equal = -jnp.min(log_w) <= rounding
    return _Tail(
        jnp.exp(values) - jnp.exp(cutoff), values > cutoff, cutoff, where, equal, jnp.isnan(log_w).any()
    )


def _fit(tail: _Tail) -> tuple[jax.Array, jax.Array]:
    """(k̂, σ) of the generalised Pareto law by Zhang & Stephens (2009), k̂ drawn to 0.5 with weight 10."""
    x, inside = tail.exceedances, tail.inside
    if x.shape[0] < _FEWEST:
        return _special(jnp.asarray(jnp.inf, x.dtype), tail), jnp.ones((), x.dtype)
    n = jnp.sum(inside)
    enough = n >= _FEWEST
    # Entries outside lie at the front, so that positions count from the first inside one.
    first = x.shape[0] - n
    x = jnp.where(inside, x, 0.0)
    quartile = x[jnp.clip(first + jnp.floor(n / 4 + 0.5).astype(int) - 1, 0, x.shape[0] - 1)]
    quartile, largest = (jnp.where(enough, v, 1.0) for v in (quartile, x[-1]))

    # Grid of b = −k/σ: 1/x_max + (1 − √(m / (j − ½))) / (3 x_quartile), j = 1 ... m.
    m = 30 + jnp.floor(jnp.sqrt(n.astype(x.dtype)))
    j = jnp.arange(1, 30 + math.isqrt(x.shape[0]) + 1)
    used = (j <= m) & enough
    b = 1.0 / largest + (1.0 - jnp.sqrt(m / (j - 0.5))) / (3.0 * quartile)
    b = jnp.where(used, b, -1.0)

    def shape_at(b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.log1p(-b[..., None] * x), axis=-1, where=inside) / jnp.maximum(n, 1)

    k = shape_at(b)
    profile = n * (jnp.log(-b / k) - k - 1.0)
    weight = jax.nn.softmax(jnp.where(used, profile, -jnp.inf))
    weight = jnp.where(weight >= 10.0 * jnp.finfo(x.dtype).eps, weight, 0.0)
    mean = jnp.sum(weight * b, where=used) / jnp.sum(weight)
    k = shape_at(mean)
    sigma = -k / mean
    k = (k * n + 10.0 * 0.5) / (n + 10.0)
    return _special(jnp.where(enough, k, jnp.inf), tail), sigma


def _special(k: jax.Array, tail: _Tail) -> jax.Array:
    return jnp.where(tail.broken, jnp.nan, jnp.where(tail.equal, -jnp.inf, k))
