"""Stop where the loss no longer falls by more than its own noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._state import SVIState
from ._stop_options import check_least, check_number
from ._watch import Seen

_MEDIAN_ERROR = 1.4826 * math.sqrt(math.pi / 2)
"""Standard error of a median over the median deviation, times √n: for normals."""


class Windows(NamedTuple):
    """Two adjacent windows of batch means, the oldest first, as differences from ``centre``, a loss near them.

    ``total``, ``count``: of the batch that is not full yet. ``filled``: batches since the start. ``votes``: how often
    running the windows were alike.
    """

    centre: Any
    total: Any
    count: Any
    means: Any
    filled: Any
    votes: Any


@jax.tree_util.register_static
@dataclass(frozen=True)
class RelativeELBO:
    """Stop when |m − m'| ≤ tol |m'| + z s, ``confirm`` times running: m, m' the losses of two adjacent windows.

    m and m' are medians of the means of ``batches`` batches of steps, and s = 1.86 D √(2 / batches) is the standard
    error of their difference, D the median distance of a batch mean from its window's median. So a few wild losses
    move neither, and a fall or rise that stands out from the noise goes on, however slow: it stands out if it is more
    than about 2.7 z σ / √window nats a window, σ the noise of one loss. Short windows stop early, long ones see slow
    progress. Looked at once a window, it stops after ``confirm`` + 1 windows at the earliest. A plateau of as many
    windows, after which the loss would have gone on falling, stops it too.

    :param window: steps of one window, rounded up to a multiple of ``batches``.
    :param tol: relative change of the loss from window to window that is too small to wait for.
    :param z: standard errors that count as noise.
    :param confirm: how often running windows must be alike.
    :param batches: of one window. The memory is 2 · ``batches`` numbers.
    :raises ArgumentError: an option out of its range.
    """

    window: int = 1000
    tol: float = 1e-5
    z: float = 1.5
    confirm: int = 3
    batches: int = 20

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_least(owner, "batches", self.batches, 4)
        check_least(owner, "window", self.window, self.batches)
        check_least(owner, "confirm", self.confirm, 1)
        check_number(owner, "tol", self.tol)
        check_number(owner, "z", self.z)

    @property
    def length(self) -> int:
        """Steps of one batch."""
        return -(-self.window // self.batches)

    def start(self, state: SVIState) -> Windows:
        """Nothing seen yet."""
        zero, none = jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.int32)
        return Windows(zero, zero, none, jnp.zeros(2 * self.batches, zero.dtype), none, none)

    def step(self, memory: Windows, seen: Seen) -> Windows:
        """With one more loss; those that are not finite are passed over."""
        finite = jnp.isfinite(seen.loss)
        first = finite & (memory.filled == 0) & (memory.count == 0)
        centre = jnp.where(first, seen.loss, memory.centre)
        memory = memory._replace(
            centre=centre,
            total=memory.total + jnp.where(finite, seen.loss - centre, 0.0),
            count=memory.count + finite,
        )
        taken = seen.step + 1
        memory = jax.lax.cond(taken % self.length == 0, self._close_batch, _same, memory)
        return jax.lax.cond(taken % (self.length * self.batches) == 0, self._judge, _same, memory)

    def done(self, memory: Windows) -> Any:
        """Whether the windows were alike often enough."""
        return memory.votes >= self.confirm

    def _close_batch(self, memory: Windows) -> Windows:
        """Enter the batch's mean, and move the centre there: what is kept stays small against its noise."""
        mean = memory.total / jnp.maximum(memory.count, 1)
        centre = memory.centre + mean
        means = jnp.concatenate([memory.means[1:], mean[None]]) - (centre - memory.centre)
        # A batch without a loss leaves a gap, after which both windows are gathered anew.
        filled = jnp.where(memory.count > 0, jnp.minimum(memory.filled + 1, 2 * self.batches), 0)
        none = jnp.zeros_like(memory.count)
        return Windows(centre, jnp.zeros_like(mean), none, means, filled, memory.votes)

    def _judge(self, memory: Windows) -> Windows:
        windows = memory.means.reshape(2, self.batches)
        middle = jnp.median(windows, axis=1)
        spread = jnp.median(jnp.abs(windows - middle[:, None]))
        noise = _MEDIAN_ERROR * math.sqrt(2 / self.batches) * spread
        bound = self.tol * jnp.abs(memory.centre + middle[1]) + self.z * noise
        alike = (jnp.abs(middle[0] - middle[1]) <= bound) & (memory.filled == 2 * self.batches)
        return memory._replace(votes=jnp.where(alike, memory.votes + 1, 0))


def _same(memory: Windows) -> Windows:
    return memory
