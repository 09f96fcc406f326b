"""What looks on inside the compiled loop: stop rules, averages of iterates, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ._state import SVIState

if TYPE_CHECKING:
    from ._report import Report


@dataclass(frozen=True)
class Seen:
    """One step of one chain, as its watchers see it, inside the compiled loop.

    ``step``: its number, counted from 0; the same for all chains, so that a ``lax.cond`` on it stays one. ``loss`` in
    nats; ``log_p``, ``log_q``: by site, as the objective reports them. ``gradient``, ``updates``: in the optimiser's
    view of the parameters. ``before``, ``state``: around the step. ``loss_on(args, kwargs, key, num_particles=None)``:
    the loss at ``state`` on other data.
    """

    step: Any
    loss: Any
    log_p: dict[str, Any]
    log_q: dict[str, Any]
    gradient: Any
    updates: Any
    before: SVIState
    state: SVIState
    loss_on: Callable[..., Any]


class Watcher(Protocol):
    """A pure onlooker, a pytree of its arrays: what it carries from step to step is its memory.

    One that calls functions of the user has them as a tuple ``programs``.
    """

    def start(self, state: SVIState) -> Any:
        """The memory before the first step: a pytree of arrays, whose shapes and dtypes stay."""

    def step(self, memory: Any, seen: Seen) -> Any:
        """The memory after a step that was taken."""


@runtime_checkable
class StopRule(Protocol):
    """A watcher that may end the run of its chain."""

    def start(self, state: SVIState) -> Any:
        """As of a ``Watcher``."""

    def step(self, memory: Any, seen: Seen) -> Any:
        """As of a ``Watcher``."""

    def done(self, memory: Any) -> Any:
        """Whether the chain has converged: a boolean array without dims."""


@runtime_checkable
class Averaging(Protocol):
    """A watcher that keeps an average of the parameters."""

    def average(self, memory: Any, state: SVIState) -> Any:
        """The average, unconstrained, as ``state.free``, which it is where there is none yet; None if none is kept."""


@runtime_checkable
class HostRule(Protocol):
    """A rule that is asked between compiled chunks."""

    def host_done(self, report: Report) -> bool:
        """Whether the run ends here."""


@dataclass(frozen=True)
class Watchers:
    """All that look on in a run: ``rules`` may end it, ``others`` only look.

    ``fresh``: which of the others begin anew at each compiled chunk. A pytree.
    """

    rules: tuple[StopRule, ...] = ()
    others: tuple[Watcher, ...] = ()
    fresh: tuple[bool, ...] = ()

    @property
    def programs(self) -> tuple[Any, ...]:
        """Functions of the user that they call: what these read from closures and globals may be rebound."""
        return tuple(f for w in (*self.rules, *self.others) for f in getattr(w, "programs", ()))

    def start(self, state: SVIState) -> tuple[Any, ...]:
        """The memory of each."""
        return tuple(w.start(state) for w in (*self.rules, *self.others))

    def begin_chunk(self, memory: tuple[Any, ...], state: SVIState) -> tuple[Any, ...]:
        """The memory, new for those that begin anew."""
        renew = (*(False for _ in self.rules), *self.fresh)
        watchers = (*self.rules, *self.others)
        return tuple(w.start(state) if anew else m for w, m, anew in zip(watchers, memory, renew))

    def step(self, memory: tuple[Any, ...], seen: Seen) -> tuple[Any, ...]:
        """The memory after a step."""
        return tuple(w.step(m, seen) for w, m in zip((*self.rules, *self.others), memory))

    def average(self, memory: tuple[Any, ...], state: SVIState) -> Any:
        """The average that one of them keeps of the parameters, those that only look first; None without one."""
        watchers = (*self.rules, *self.others)
        order = (*range(len(self.rules), len(watchers)), *range(len(self.rules)))
        for i in order:
            if isinstance(watchers[i], Averaging):
                average = watchers[i].average
                found = (
                    jax.vmap(average)(memory[i], state) if jnp.ndim(state.step) else average(memory[i], state)
                )
                if found is not None:
                    return found
        return None

    def done(self, memory: tuple[Any, ...]) -> Any:
        """Whether one of the rules says so; False, not traced, without rules."""
        found: Any = False
        for rule, own in zip(self.rules, memory):
            found = rule.done(own) | found
        return found


jax.tree_util.register_dataclass(Watchers, data_fields=["rules", "others"], meta_fields=["fresh"])
