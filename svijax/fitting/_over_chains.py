"""What looks at all chains of a fit at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from svijax.base import ArgumentError, join_arguments, message

from ._feed import Whole
from ._state import SVIState
from ._status import Status

if TYPE_CHECKING:
    from ._result import Origin, SVIRunResult
    from ._svi import SVI


def comparable(fit: SVIRunResult, what: str) -> tuple[Origin, tuple[int, ...], SVIState]:
    """(where the fit came from, the numbers of the chains that did not fail, their states).

    :raises ArgumentError: no chains, fewer than two that did not fail, or each with data of its own.
    """
    origin = fit._call(what)
    if fit.num_chains is None:
        raise ArgumentError(
            message(f"{what} is about several chains.", got="one fit", fix="svi.run(..., num_chains=4).")
        )
    if isinstance(origin.feed, Whole) and origin.feed.axes is not None:
        raise ArgumentError(
            message(
                f"{what} compares chains that were fitted to the same data.",
                got="chains with data of their own",
                fix="look at fit.chain(k).posterior for each.",
            )
        )
    good = tuple(k for k, status in enumerate(np.asarray(fit.status)) if not Status(int(status)).failed)
    if len(good) < 2:
        raise ArgumentError(
            message(
                f"{what} needs two chains at least that did not fail.",
                got=f"{len(good)} of {fit.num_chains}",
                fix="look at fit.explain(); lower the rate, or run more chains.",
            )
        )
    if len(good) == fit.num_chains:
        return origin, good, fit.state
    return origin, good, jax.tree.map(lambda x: x[np.asarray(good)], fit.state)


def estimate_chains(
    svi: SVI,
    state: SVIState,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_particles: int,
    key: jax.Array | None = None,
    evaluations: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """(means, standard errors) of the loss of each chain by ``SVI.estimate``; with one key they all draw alike.

    ``evaluations``: so many are in memory at once, over all chains.
    """
    num = np.shape(state.step)[0]
    batch_size = max(1, evaluations // num)

    def build(static: Any) -> Callable[..., Any]:
        def estimates(state: SVIState, key: Any, arrays: tuple[Any, ...]) -> Any:
            call_args, call_kwargs = join_arguments(arrays, static)

            def one(state: SVIState) -> Any:
                return svi.estimate(
                    state,
                    *call_args,
                    num_particles=num_particles,
                    key=key,
                    batch_size=batch_size,
                    **call_kwargs,
                )

            return jax.vmap(one)(state)

        return jax.jit(estimates)

    kind = ("estimate of chains", num_particles, batch_size, key is None)
    function, arrays = svi.table_entry(kind, args, kwargs, build, state)
    mean, error = function(state, key, arrays)
    return np.asarray(mean, np.float64), np.asarray(error, np.float64)
