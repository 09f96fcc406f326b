"""Stacking: the mixture of the chains' posteriors that predicts best."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from svijax.base import (
    ArgumentError,
    DataError,
    align,
    as_key,
    join_arguments,
    message,
    number_cells,
    site_key,
)
from svijax.objectives import check_count
from svijax.posterior import LogLikelihood, Posterior, khat_threshold, psis_khat, psis_weights

from ._over_chains import comparable, other_arguments
from ._simplex import mixture_weights
from ._state import SVIState

if TYPE_CHECKING:
    from ._result import SVIRunResult

_MOST_NUMBERS = 2**29
_POINTS_AT_ONCE = 1024
_DRAWS_AT_ONCE = 64
_MOST_LINES = 16


@dataclass(frozen=True, eq=False)
class Stacking:
    """w = argmax Σ_i log Σ_k w_k p_k(y_i), p_k the predictive density of chain k. ``print`` it: a table.

    ``weights``: one for each chain of the fit, 0 for those that failed. ``score``: Σ_i log p(y_i) of the stack, in
    nats, ``score_error`` its standard error over points; ``scores`` those of single chains (NaN for those that
    failed). ``gap``: the sum at the best weights is above that at these by ``gap`` nats a point at the most.
    ``unreliable``: share of points by chain whose leave-one-out weights have k̂ above the threshold; None for held-out
    data.
    """

    weights: np.ndarray
    score: float
    score_error: float
    scores: np.ndarray
    num_points: int
    gap: float
    unreliable: np.ndarray | None

    @property
    def words(self) -> str:
        """What to think of it."""
        what = "points held out" if self.unreliable is None else "points, each left out in turn (PSIS)"
        score, error = number_cells([self.score, self.score_error], max(self.score_error, 1e-3))
        parts = [f"log score of the stack {score} ± {error} over {self.num_points:,} {what}."]
        worst = 0.0 if self.unreliable is None else float(np.nanmax(self.unreliable))
        if worst > 0.0:
            parts.append(
                f"k-hat is high for {100 * worst:.2g} % of the points of a chain: their leave-one-out densities "
                "are not to be trusted; pass data that were held out."
            )
        return " ".join(parts)

    def __str__(self) -> str:
        order = np.argsort(-self.weights, kind="stable")
        rows = []
        for k in order[:_MOST_LINES]:
            row = [str(k), f"{self.weights[k]:.3f}", f"{self.scores[k]:.2f}"]
            rows.append(row if self.unreliable is None else [*row, f"{100 * self.unreliable[k]:.2g} %"])
        if len(order) > _MOST_LINES:
            rows.append([f"  ... {len(order) - _MOST_LINES:,} more"])
        header = ["chain", "weight", "log score", *([] if self.unreliable is None else ["high k-hat"])]
        return f"{align(header, rows)}\n\n{self.words}"

    __repr__ = __str__


def stacking_weights(
    fit: SVIRunResult,
    held_out: Any = None,
    *,
    num_samples: int = 1000,
    plate: str | None = None,
    key: jax.Array | None = None,
) -> Stacking:
    """See ``SVIRunResult.stacking_weights``."""
    check_count("num_samples", num_samples)
    origin, good, state = comparable(fit, "stacking_weights()")
    args, kwargs = other_arguments(origin, held_out)
    leave_out = held_out is None

    def build(static: Any) -> Callable[..., Any]:
        def densities(state: SVIState, key: jax.Array, arrays: tuple[Any, ...]) -> Any:
            call = join_arguments(arrays, static)
            svi = origin.svi
            scored = LogLikelihood(svi.model, num_samples, None, plate)

            def one(state: SVIState) -> Any:
                params = {**state.params, **state.mutable}
                draws = Posterior(svi.guide, svi.model, params, *call, key).sample(num_samples, key)
                by_site = scored(draws, params, *call)
                log_p = jnp.concatenate([x.reshape(num_samples, -1) for x in by_site.values()], axis=1)
                _check_size(log_p.shape)
                return _predictive(log_p, leave_out)

            return jax.lax.map(one, state)

        return jax.jit(densities)

    kind = ("stacking", num_samples, plate, leave_out)
    function, arrays = origin.svi.table_entry(kind, args, kwargs, build, state)
    draw_key = site_key(jax.random.key(0), "stacking") if key is None else as_key(key)
    log_p, khat, missing, broken = map(np.asarray, function(state, draw_key, arrays))
    if broken.any():
        raise DataError(f"the log likelihood of {int(broken.any(0).sum())} points is NaN for some draws.")
    return _stacked(
        log_p.T, khat.T, np.logical_not(missing.any(0)), good, fit.num_chains or 0, leave_out, num_samples
    )


def _stacked(
    log_p: np.ndarray,
    khat: np.ndarray,
    there: np.ndarray,
    good: tuple[int, ...],
    num_chains: int,
    leave_out: bool,
    num_samples: int,
) -> Stacking:
    """The best weights of log densities (points, chains)."""
    log_p = log_p[there].astype(np.float64)
    if not len(log_p):
        raise DataError("masks leave no observation to weigh the chains by.")
    weights, gap = mixture_weights(log_p)
    top = log_p.max(1)
    points = top + np.log(np.exp(log_p - top[:, None]) @ weights)
    high = (khat[there] > khat_threshold(num_samples)).mean(0)

    def of_all(values: np.ndarray, rest: float) -> np.ndarray:
        out = np.full(num_chains, rest)
        out[np.asarray(good)] = values
        return out

    spread = points.std(ddof=1) if len(points) > 1 else np.nan
    return Stacking(
        weights=of_all(weights, 0.0),
        score=float(points.sum()),
        score_error=float(spread * np.sqrt(len(points))),
        scores=of_all(log_p.sum(0), np.nan),
        num_points=len(points),
        gap=gap,
        unreliable=of_all(high, np.nan) if leave_out else None,
    )


def _predictive(log_p: Any, leave_out: bool) -> tuple[Any, Any, Any, Any]:
    """From log p(y_i | z_s), (draws, points): (log density, k̂, masked, NaN) of each point.

    Held out: p(y_i) = E_q[p(y_i | z)]. Left out: 1 / E_q[1 / p(y_i | z)], by importance weights ∝ 1 / p(y_i | z_s) that
    are smoothed; q stands for the posterior given all points.
    """
    nan = jnp.isnan(log_p)
    missing, broken = nan.all(0), nan.any(0) & ~nan.all(0)
    log_p = jnp.where(nan, 0.0, log_p)
    if not leave_out:
        return logsumexp(log_p, axis=0) - jnp.log(log_p.shape[0]), jnp.zeros(missing.shape), missing, broken

    def one(column: Any) -> tuple[Any, Any]:
        return logsumexp(psis_weights(-column) + column), psis_khat(-column)

    density, khat = jax.lax.map(one, log_p.T, batch_size=min(log_p.shape[1], _POINTS_AT_ONCE))
    return density, khat, missing, broken


def stacked_sample(
    fit: SVIRunResult,
    key: jax.Array,
    num_samples: int,
    weights: Stacking | Any | None = None,
    sites: Sequence[str] | None = None,
) -> dict[str, Any]:
    """See ``SVIRunResult.stacked_sample``."""
    check_count("num_samples", num_samples)
    origin, good, state = comparable(fit, "stacked_sample()")
    stack = stacking_weights(fit) if weights is None else weights
    probs = _checked_weights(
        stack.weights if isinstance(stack, Stacking) else stack, good, fit.num_chains or 0
    )

    def build(static: Any) -> Callable[..., Any]:
        def draws(state: SVIState, key: jax.Array, log_probs: Any, arrays: tuple[Any, ...]) -> Any:
            call = join_arguments(arrays, static)
            svi = origin.svi
            chain_key, draw_key = jax.random.split(key)
            chains = jax.random.categorical(chain_key, log_probs, shape=(num_samples,))

            def one(x: tuple[Any, Any]) -> OrderedDict[str, Any]:
                chain, number = x
                own = jax.tree.map(lambda leaf: leaf[chain], state)
                own_key = jax.random.fold_in(draw_key, number)
                q = Posterior(svi.guide, svi.model, own.params, *call, own_key, own.mutable)
                return OrderedDict((n, z[0]) for n, z in q.sample(1, own_key, sites=sites).items())

            numbers = jnp.arange(num_samples)
            return jax.lax.map(one, (chains, numbers), batch_size=min(num_samples, _DRAWS_AT_ONCE))

        return jax.jit(draws)

    kind = ("stacked sample", num_samples, None if sites is None else tuple(sites))
    function, arrays = origin.svi.table_entry(kind, origin.args, origin.kwargs, build, state)
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs).astype(jnp.result_type(float))
    return dict(function(state, as_key(key), log_probs, arrays))


def _checked_weights(weights: Any, good: tuple[int, ...], num_chains: int) -> np.ndarray:
    """The weights of the chains that did not fail."""
    w = np.asarray(weights, np.float64)
    if w.shape != (num_chains,) or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ArgumentError(
            message(
                "weights of chains are numbers of at least 0, one for each chain, not all 0.",
                expected=f"shape ({num_chains},)",
                got=f"shape {w.shape}" if w.shape != (num_chains,) else w,
                fix="pass fit.stacking_weights().",
            )
        )
    of_failed = np.delete(w, good)
    if of_failed.any():
        raise ArgumentError(message("a chain that failed has a weight.", got=w, fix="give it 0."))
    return w[np.asarray(good)]


def _check_size(shape: tuple[int, ...]) -> None:
    if np.prod(shape, dtype=float) > _MOST_NUMBERS:
        raise ArgumentError(
            message(
                "so many log likelihoods would not fit into memory.",
                expected=f"at most {_MOST_NUMBERS:,} numbers",
                got=f"{shape[0]:,} draws of {shape[1]:,} points",
                fix="lower num_samples, or pass fewer rows as held_out data.",
            )
        )
