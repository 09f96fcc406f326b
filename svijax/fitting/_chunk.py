"""The two compiled functions of a run: its start, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ._feed import Feed
from ._loop import Carry, begin, run_steps
from ._sharding import Placement
from ._state import SVIState
from ._watch import Watchers

if TYPE_CHECKING:
    from ._svi import SVI

CAPACITY = 1 << 16
"""Most losses that one compiled chunk holds, over all chains."""


class Chunk:
    """The compiled ``count`` steps of one run."""

    def __init__(
        self,
        svi: SVI,
        state: SVIState,
        guard: str,
        watchers: Watchers,
        feed: Feed,
        donate: bool = False,
        placement: Placement | None = None,
    ) -> None:
        self.svi, self.guard, self.watchers, self.donate = svi, guard, watchers, donate
        self.placement = placement
        chains = int(np.prod(jnp.shape(state.step), dtype=int))
        self.capacity = max(64, CAPACITY // chains)
        problem = replace(svi.problem(), placement=placement)

        def build(static: Any) -> Callable[..., Any]:
            def steps(watchers: Watchers, feed: Feed, carry: Carry, count: Any) -> Any:
                after, losses = run_steps(problem, guard, watchers, feed, carry, count, self.capacity)
                if placement is None:
                    return after, losses
                return placement.keep(after, after.state), placement.keep_losses(losses)

            return jax.jit(steps, donate_argnums=2 if donate else ())

        kind, programs = ("run", guard, donate, placement), (*feed.programs, *watchers.programs)
        self.function, _ = svi.table_entry(kind, (), {}, build, (state, watchers, feed), programs)

    def __call__(self, feed: Feed, carry: Carry, count: int) -> tuple[Carry, Any]:
        """(carry, buffer of losses) after ``count`` steps."""
        return self.function(self.watchers, feed, carry, np.int32(count))

    def careful(self, feed: Feed, carry: Carry, count: int) -> tuple[Carry, Any]:
        """The same, stopping before a step that is not finite."""
        stopping = Chunk(self.svi, carry.state, "stop", self.watchers, feed, placement=self.placement)
        return stopping(feed, carry, count)


def compile_together(
    svi: SVI,
    key: jax.Array,
    start: Mapping[str, Any],
    start_axes: Mapping[str, Any] | None,
    guard: str,
    watchers: Watchers,
    feed: Feed,
    donate: bool,
) -> None:
    """Compile the start and the loop at the same time, on two cores, where the start is not compiled yet.

    The loop needs the shapes of the state only, which tracing the start tells.
    """

    def build(static: Any) -> Callable[..., Any]:
        lowered = svi.init_function(key, start, feed, start_axes).lower(key, start, feed)
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(lowered.compile)
            state = lowered.out_info[0]
            carry = jax.eval_shape(begin, state, watchers)
            chunk = Chunk(svi, state, guard, watchers, feed, donate)
            chunk.function.lower(watchers, feed, carry, np.int32(0)).compile()
            compiling.result()
        # The table holds the two functions; this entry only says that they are compiled.
        return lambda: None

    kind = ("together", key.shape, repr(start_axes), guard, donate)
    programs = (*feed.programs, *watchers.programs)
    svi.table_entry(kind, (), {}, build, (start, watchers, feed), programs)


def first_carry(state: SVIState, watchers: Watchers, placement: Placement | None = None) -> Carry:
    """A carry on the device, whose watchers have begun."""
    carry = jax.jit(begin)(state, watchers) if watchers.rules or watchers.others else begin(state)
    return carry if placement is None else placement.put(carry, state)
