"""Stop where the iterates no longer move but by chance, and their average is sharp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._state import SVIState
from ._stop_options import check_least, check_number
from ._watch import Seen


class Halves(NamedTuple):
    """Moments of the iterates by halves of windows, as differences from ``base``: six copies of the parameters.

    ``total``, ``squares``: of the ``count`` iterates of a half that is not full yet. ``halves``: that were full since
    the last window with drift; ``mean`` and ``between``: mean of their means, and Σ (mean of a half − that)²;
    ``within``: the sum of their variances. ``settled``: the averaging has begun.
    """

    base: Any
    total: Any
    squares: Any
    count: Any
    halves: Any
    mean: Any
    between: Any
    within: Any
    settled: Any


@jax.tree_util.register_static
@dataclass(frozen=True)
class IterateRhat:
    """Stop when R̂ ≤ ``threshold`` over one window of iterates, and then s(x̄) ≤ ``mcse`` · s(x): of every parameter x.

    Two phases. In the first, R̂² = (h − 1) / h + B / W compares the halves of each window, of h steps: B the variance
    of their two means, W the mean of their variances. It falls to 1 once the iterates no longer drift, but move about
    where they are. From that window on all iterates are averaged, and the run ends when the Monte Carlo standard error
    s(x̄) of the average x̄, taken from the K means of halves as √(their variance / K), K ≥ ``least``, is small beside
    s(x) = √W, the noise of a single iterate. ``fit.averaged`` is the result at x̄, and before that phase at the last
    iterate.

    After RABVI (Welandawe et al. 2024), simplified: windows of one length follow each other, where RABVI looks for
    the best length; the error is measured in units of the iterates' own noise, as nobody knows which parameters are
    locations and what their scales are; and the rate is left alone, where RABVI halves it and begins again until the
    gain in KL is small. At a constant rate the average has a bias of the order of the rate: let it fall by a schedule,
    or fit again from ``fit.averaged`` at half of it. A window should be many autocorrelation times of the iterates
    long: at rate η of Adam a few multiples of 1 / η steps.

    :param threshold: of R̂. :param window: steps, an even number. :param mcse: 0.1 is an effective sample size of 100.
    :param share: of the numbers in all parameters that must pass both tests: networks have some that never settle.
    :param least: halves in the average at the least.
    :raises ArgumentError: an option out of its range.
    """

    threshold: float = 1.1
    window: int = 1000
    mcse: float = 0.1
    share: float = 1.0
    least: int = 10

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_least(owner, "window", self.window, 4)
        check_least(owner, "least", self.least, 2)
        check_number(owner, "threshold", self.threshold, above=1.0)
        check_number(owner, "mcse", self.mcse, above=0.0)
        check_number(owner, "share", self.share, above=0.0, most=1.0)

    @property
    def half(self) -> int:
        """Steps of half a window."""
        return -(-self.window // 2)

    def start(self, state: SVIState) -> Halves:
        """Nothing seen yet."""
        zeros, none = jax.tree.map(jnp.zeros_like, state.free), jnp.zeros((), jnp.int32)
        return Halves(state.free, zeros, zeros, none, none, zeros, zeros, zeros, jnp.zeros((), bool))

    def step(self, memory: Halves, seen: Seen) -> Halves:
        """With one more iterate."""
        away = jax.tree.map(jnp.subtract, seen.state.free, memory.base)
        memory = memory._replace(
            total=jax.tree.map(jnp.add, memory.total, away),
            squares=jax.tree.map(lambda q, d: q + d * d, memory.squares, away),
            count=memory.count + 1,
        )
        close = lambda m: self._close(m, seen.state.free)  # noqa: E731
        return jax.lax.cond((seen.step + 1) % self.half == 0, close, lambda m: m, memory)

    def done(self, memory: Halves) -> Any:
        """Whether the average is sharp."""
        k = jnp.maximum(memory.halves, 2)
        # s(x̄)² = between / (k (k − 1)), s(x)² = within / k.
        sharp = self._most(
            lambda b, w: b <= self.mcse**2 * (k - 1).astype(b.dtype) * w, memory.between, memory.within
        )
        return memory.settled & (memory.halves >= self.least) & sharp

    def average(self, memory: Halves, state: SVIState) -> Any:
        """The average, unconstrained; the state's own parameters before there is one."""
        return jax.tree.map(
            lambda b, m, x: jnp.where(memory.settled, b + m, x), memory.base, memory.mean, state.free
        )

    def _close(self, memory: Halves, free: Any) -> Halves:
        """Enter a half; a first one that began in its middle is dropped."""
        h, full = self.half, memory.count == self.half
        k = memory.halves + full
        own = jax.tree.map(lambda s: s / h, memory.total)
        off = jax.tree.map(jnp.subtract, own, memory.mean)
        mean = jax.tree.map(
            lambda m, d: jnp.where(full, m + d / jnp.maximum(k, 1).astype(d.dtype), m), memory.mean, off
        )
        between = jax.tree.map(
            lambda b, d, o, m: jnp.where(full, b + d * (o - m), b), memory.between, off, own, mean
        )
        within = jax.tree.map(
            lambda w, q, o: jnp.where(full, w + jnp.maximum(q - h * o * o, 0) / (h - 1), w),
            memory.within,
            memory.squares,
            own,
        )
        # After two halves, B / h of the formula is ``between``, and W is ``within`` / 2.
        bound = self.threshold**2 - (h - 1) / h
        mixed = self._most(lambda b, w: b <= bound * w / 2, between, within)
        settled = memory.settled | ((k == 2) & mixed)
        anew = ~settled & (k != 1)
        zeros = jax.tree.map(jnp.zeros_like, free)
        return Halves(
            base=_where(anew, free, memory.base),
            total=zeros,
            squares=zeros,
            count=jnp.zeros_like(memory.count),
            halves=jnp.where(anew, 0, k),
            mean=_where(anew, zeros, mean),
            between=_where(anew, zeros, between),
            within=_where(anew, zeros, within),
            settled=settled,
        )

    def _most(self, test: Any, *trees: Any) -> Any:
        """Whether the test holds for the share of all numbers that must pass."""
        passed = jax.tree.leaves(jax.tree.map(test, *trees))
        if self.share >= 1:
            return jnp.all(jnp.stack([jnp.all(x) for x in passed])) if passed else jnp.ones((), bool)
        size = sum(x.size for x in passed)
        return sum((jnp.sum(x) for x in passed), jnp.zeros((), jnp.int32)) >= self.share * size


def _where(flag: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(flag, x, y), new, old)
