"""Averages of the iterates, carried along by the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message

from ._state import SVIState
from ._stop_options import check_least, check_number
from ._watch import Seen

_POWER = 8
"""Of the number of an iterate, in its weight: the last fifth of a run has five sixths of all weight."""


class Mean(NamedTuple):
    """``count`` iterates were averaged. Their mean is ``base + shift``, and ``base`` the first of them.

    Small steps of a mean far from 0 would be rounded off; those of its distance from an iterate are not.
    """

    count: Any
    base: Any
    shift: Any


@jax.tree_util.register_static
@dataclass(frozen=True, init=False)
class Average:
    """x̄ ← x̄ + w_n (x_n − x̄): an average of the unconstrained parameters x after each step.

    ``Average()`` weighs iterate n by about n⁸, so that the end of the run counts however long it is: w_n = 9 / (n + 8)
    (Shamir and Zhang 2013). ``Average(start=1000)`` is the plain mean over what steps 1000, 1001, ... gave,
    w_n = 1 / n (Polyak and Ruppert). ``Average(decay=0.999)`` is the exponential one, w_n = (1 − d) / (1 − dⁿ), which
    owes nothing to its start. Where the rate is constant it removes most of the noise that the iterates end with.
    ``fit.averaged`` is the result at it; before ``start`` that is the last iterate.

    :param start: number of the first step whose outcome counts, 0 for the first step of all; not with the first form.
    :param decay: d in (0, 1): about 1 / (1 − d) iterates count.
    :raises ArgumentError: an option out of its range.
    """

    first: int | None
    decay: float | None

    def __init__(self, start: int | None = None, decay: float | None = None) -> None:
        if start is not None:
            check_least("Average", "start", start, 0)
        if decay is not None:
            _check_decay(decay)
        object.__setattr__(self, "first", start)
        object.__setattr__(self, "decay", decay)

    def start(self, state: SVIState) -> Mean:
        """Nothing averaged yet."""
        shift = jax.tree.map(jnp.zeros_like, state.free)
        return Mean(jnp.zeros((), jnp.int32), state.free, shift)

    def step(self, memory: Mean, seen: Seen) -> Mean:
        """With one more iterate."""
        counts = seen.step >= (self.first or 0)
        count = memory.count + counts
        weight = jnp.where(counts, self._weight(jnp.maximum(count, 1)), 0.0)
        base = jax.tree.map(lambda b, x: jnp.where(memory.count == 0, x, b), memory.base, seen.state.free)
        shift = jax.tree.map(
            lambda s, b, x: s + weight.astype(s.dtype) * (x - b - s), memory.shift, base, seen.state.free
        )
        return Mean(count, base, shift)

    def average(self, memory: Mean, state: SVIState) -> Any:
        """The average, unconstrained; the state's own parameters where nothing was averaged."""
        return jax.tree.map(
            lambda b, s, x: jnp.where(memory.count > 0, b + s, x), memory.base, memory.shift, state.free
        )

    def _weight(self, count: Any) -> Any:
        """Of the iterate with this number, counted from 1."""
        n = count.astype(jnp.result_type(float))
        if self.decay is not None:
            return (1 - self.decay) / -jnp.expm1(n * math.log(self.decay))
        power = _POWER if self.first is None else 0
        return (power + 1) / (n + power)


def _check_decay(decay: Any) -> None:
    check_number("Average", "decay", decay, above=0.0)
    if decay >= 1:
        raise ArgumentError(
            message(
                "Average: decay must lie between 0 and 1.",
                expected="a number such as 0.999",
                got=repr(decay),
                fix="leave it out for an average without forgetting.",
            )
        )
