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

EVALUATIONS = 2**31 - 1
"""Folded into the key of a run it gives the key of evaluations after it: no step has this number."""

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


def losses_of_chains(
    svi: SVI,
    state: SVIState,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_particles: int,
    key: jax.Array | None = None,
    evaluations: int = 64,
) -> np.ndarray:
    """(chains, num_particles): independent evaluations of the loss of each chain, in nats.

    :param key: the same draws for all chains; without it each has its own. :param evaluations: so many are in memory
        at once, over all chains.
    """
    batch_size = max(1, evaluations // np.shape(state.step)[0])

    def build(static: Any) -> Callable[..., Any]:
        def losses(state: SVIState, keys: jax.Array, arrays: tuple[Any, ...]) -> Any:
            def one(state: SVIState, key: jax.Array) -> Any:
                problem = svi.problem().on(state, *join_arguments(arrays, static))
                return problem.evaluations(state, key, num_particles, batch_size)

            return jax.vmap(one, (0, 0 if key is None else None))(state, keys)

        return jax.jit(losses)

    kind = ("losses of chains", num_particles, batch_size, key is None)
    function, arrays = svi.table_entry(kind, args, kwargs, build, state)
    keys = jax.vmap(lambda k: jax.random.fold_in(k, EVALUATIONS))(state.key) if key is None else key
    return np.asarray(function(state, keys, arrays), np.float64)


def other_arguments(origin: Origin, data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a run with other data: a tuple in place of the positional ones, a dictionary over keywords.

    A single array is the first of the positional arguments.
    """
    if data is None:
        return origin.args, dict(origin.kwargs)
    if isinstance(data, Mapping):
        return origin.args, {**origin.kwargs, **data}
    return (tuple(data) if isinstance(data, tuple | list) else (data,)), dict(origin.kwargs)
