"""Whether the chains of a fit ended in one place: ELBO, R̂ and KL between them, in numbers and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from svijax.base import ArgumentError, align, message, number_cells

from ._guide_kl import kl_between_chains
from ._moments import Halves, Posteriors, iterate_moments, posterior_moments
from ._over_chains import comparable, losses_of_chains
from ._rhat import rhat_of_moments
from ._status import Status

if TYPE_CHECKING:
    from ._result import SVIRunResult

_MOST_LINES = 16
_CLOSE = 1.5
"""R̂ of two chains that are not far apart: about one and a half standard deviations."""
_STILL = 1e-6
"""Relative spread below which the draws of a chain are one point, but for rounding."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far chains agree. ``print`` it: a table, and what to think of it.

    ``chains``: the numbers of those that ended with finite values; all else is of these, in their order.
    ``elbo``, ``elbo_error``: estimates of −loss and their Monte Carlo standard errors, in nats. ``rhat``: split R̂ of
    posterior draws by latent, entry by entry; ``rhat_spread``: the same of their distances from the common mean, which
    tell differences in width. ``rhat_params``: split R̂ of the unconstrained parameters over iterates, or None.
    ``kl``: KL(q_i ‖ q_j) + KL(q_j ‖ q_i) in nats, or None where it has no closed form. ``pairs``: the largest R̂ of two
    chains alone. ``groups``: chains linked by pairs below ``threshold``, the highest ELBO first.
    """

    chains: tuple[int, ...]
    status: tuple[Status, ...]
    elbo: np.ndarray
    elbo_error: np.ndarray
    rhat: Mapping[str, np.ndarray]
    rhat_spread: Mapping[str, np.ndarray]
    rhat_params: Mapping[str, np.ndarray] | None
    kl: np.ndarray | None
    pairs: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    threshold: float

    @property
    def agree(self) -> bool:
        """Whether all chains ended in one place, those that failed aside."""
        return len(self.groups) == 1

    @property
    def words(self) -> str:
        """What to think of it."""
        return " ".join([*self._failures(), *self._places(), *self._iterates()])

    def __str__(self) -> str:
        parts = [self._elbo_table(), self._elbo_line(), self._rhat_table(), *self._kl_line(), self.words]
        return "\n\n".join(parts)

    __repr__ = __str__

    def _elbo_table(self) -> str:
        names = {chain: chr(ord("A") + min(i, 25)) for i, group in enumerate(self.groups) for chain in group}
        rows = []
        for i, chain in enumerate(self.chains[:_MOST_LINES]):
            cells = _in_nats([self.elbo[i], self.elbo_error[i]], self.elbo_error[i])
            rows.append([str(chain), *cells, names[chain], self.status[chain].name.lower()])
        if len(self.chains) > _MOST_LINES:
            rows.append([f"  ... {len(self.chains) - _MOST_LINES:,} more"])
        return align(["chain", "ELBO", "error", "group", "status"], rows)

    def _elbo_line(self) -> str:
        error = float(np.sqrt(np.mean(self.elbo_error**2)))
        values = [self.elbo.mean(), self.elbo.std(ddof=1), np.ptp(self.elbo), error]
        mean, sd, spread, own = _in_nats(values, error)
        return f"ELBO over chains: mean {mean}, sd {sd}, range {spread} (error of one {own})"

    def _rhat_table(self) -> str:
        def cell(x: np.ndarray) -> str:
            return f"{np.max(x):.2f}" if np.size(x) else ""

        rows = [[name, cell(self.rhat[name]), cell(self.rhat_spread[name])] for name in self.rhat]
        table = align(["largest R-hat of draws", "place", "spread"], _shortened(rows))
        if self.rhat_params is None:
            return table
        rows = [[name, cell(x)] for name, x in self.rhat_params.items()]
        return f"{table}\n\n{align(['largest R-hat of parameters', 'iterates'], _shortened(rows))}"

    def _kl_line(self) -> list[str]:
        if self.kl is None:
            return []
        i, j = np.unravel_index(np.argmax(self.kl), self.kl.shape)
        middle = float(np.median(self.kl[np.triu_indices(len(self.chains), 1)]))
        return [
            f"KL(i, j) + KL(j, i) of two guides: median {middle:.3g}, largest {self.kl[i, j]:.3g} nats "
            f"(chains {self.chains[i]} and {self.chains[j]})"
        ]

    def _failures(self) -> list[str]:
        failed = [k for k, status in enumerate(self.status) if status.failed]
        return [f"{_chains(failed)} failed and {_are(failed)} left out: see fit.explain()."] if failed else []

    def _places(self) -> list[str]:
        first, *others = self.groups
        if not others:
            return [
                f"The chains agree: R-hat of any two of them is below {self.threshold:g} for every latent."
            ]
        if len(self.groups) == len(self.chains) > 2:
            head = "No two chains ended in the same place."
        else:
            rest = [chain for group in others for chain in group]
            head = f"{_chains(first)} {'agree' if len(first) > 1 else 'has the highest ELBO'}; "
            head += f"{_chains(rest, False)} ended elsewhere."
        return [head, *(self._of_group(group) for group in others[:3]), self._advice(others)]

    def _of_group(self, group: tuple[int, ...]) -> str:
        gap, error = self._gap(group)
        gap_text, error_text = _in_nats([gap, error], error)
        return f"ELBO of {_chains(group, False)}: {gap_text} ± {error_text} below the first."

    def _advice(self, others: Sequence[tuple[int, ...]]) -> str:
        here = [self.chains.index(chain) for chain in self.groups[0]]
        if np.delete(self.pairs[here].min(0), here).max() < _CLOSE:
            return (
                "They are close, and may be one place where iterates still move: let the rate fall, "
                "or look at the average of the iterates (average=, fit.averaged.agreement())."
            )
        equal = [group for group in others if _is_noise(*self._gap(group))]
        if equal:
            return (
                "Places of equal ELBO are several modes, or one under a symmetry of the model: "
                "fit.stacking_weights() weighs them; predictions may agree all the same."
            )
        return (
            "Take fit.best(), and ask whether more steps, another rate or other starts bring them together."
        )

    def _gap(self, group: tuple[int, ...]) -> tuple[float, float]:
        """(mean ELBO of the first group − that of this one, its standard error)."""
        parts = [np.isin(self.chains, members) for members in self.groups]
        free = len(self.chains) - len(parts)
        # Within groups chains differ by the noise of the estimates and by that of the last iterates.
        within = sum(((self.elbo[part] - self.elbo[part].mean()) ** 2).sum() for part in parts)
        one = max(within / free if free else 0.0, float(np.mean(self.elbo_error**2)))
        first, other = parts[0], parts[self.groups.index(group)]
        gap = self.elbo[first].mean() - self.elbo[other].mean()
        return float(gap), float(np.sqrt(one / first.sum() + one / other.sum()))

    def _iterates(self) -> list[str]:
        if self.rhat_params is None or not self.agree:
            return []
        wide = [name for name, x in self.rhat_params.items() if np.size(x) and np.max(x) > self.threshold]
        if not wide:
            return []
        text = ", ".join(wide[:3]) + (" and others" if len(wide) > 3 else "")
        return [f"Iterates of {text} still drift, or move slowly, by less than the posteriors are wide."]


def agreement(
    fit: SVIRunResult,
    num_particles: int = 1000,
    num_samples: int = 1000,
    num_iterates: int = 200,
    sites: Sequence[str] | None = None,
    threshold: float = 1.1,
) -> Agreement:
    """See ``SVIRunResult.agreement``."""
    for name, number, none in (
        ("num_particles", num_particles, 4),
        ("num_samples", num_samples, 4),
        ("num_iterates", num_iterates, 0),
    ):
        if isinstance(number, bool) or not isinstance(number, int) or (number < 4 and number != none):
            allowed = "at least 4" if none else "at least 4, or 0 for none"
            raise ArgumentError(message(f"{name} must be an int, {allowed}.", got=repr(number)))
    origin, good, state = comparable(fit, "agreement()")
    about = origin.svi, state, origin.args, origin.kwargs
    losses = losses_of_chains(*about, num_particles)
    elbo, error = -losses.mean(1), losses.std(1, ddof=1) / np.sqrt(num_particles)
    moments = posterior_moments(*about, num_samples, sites)
    iterates = iterate_moments(origin.svi, state, origin.feed, num_iterates) if num_iterates else None
    kl = kl_between_chains(*about)
    pairs = pair_rhats(moments)
    return Agreement(
        chains=good,
        status=tuple(Status(int(s)) for s in fit.status),
        elbo=elbo,
        elbo_error=error,
        rhat={name: _floored(place).rhat for name, (place, _) in moments.items()},
        rhat_spread={name: _floored(spread, place).rhat for name, (place, spread) in moments.items()},
        rhat_params=None if iterates is None else {n: _floored(h).rhat for n, h in iterates.items()},
        kl=None if kl is None else kl + kl.T,
        pairs=pairs,
        groups=groups_of(pairs, good, elbo, threshold),
        threshold=threshold,
    )


def pair_rhats(moments: Posteriors) -> np.ndarray:
    """(chains, chains): the largest R̂ of two chains over all entries of all latents, of place and of spread."""
    parts = [_floored(*each).whole for pair in moments.values() for each in ((pair[0],), (pair[1], pair[0]))]
    count = 2 * next(iter(moments.values()))[0].count
    num = parts[0][0].shape[0]
    out = np.ones((num, num))
    for mean, variance in parts:
        mean, variance = mean.reshape(num, -1), variance.reshape(num, -1)
        for i in range(num if mean.size else 0):
            both = np.stack([np.broadcast_to(mean[i], mean.shape), mean])
            widths = np.stack([np.broadcast_to(variance[i], variance.shape), variance])
            out[i] = np.maximum(out[i], rhat_of_moments(both, widths, count).max(-1))
    return out


def groups_of(
    pairs: np.ndarray, chains: Sequence[int], elbo: np.ndarray, threshold: float
) -> tuple[tuple[int, ...], ...]:
    """The chains, in groups that pairs below the threshold link; the group with the highest mean ELBO first."""
    linked = pairs < threshold
    left, found = set(range(len(chains))), []
    while left:
        group, waiting = set(), {min(left)}
        while waiting:
            i = waiting.pop()
            group.add(i)
            waiting |= {j for j in left - group if linked[i, j]}
        left -= group
        found.append(sorted(group))
    found.sort(key=lambda group: -elbo[group].mean())
    return tuple(tuple(chains[i] for i in group) for group in found)


def _floored(halves: Halves, place: Halves | None = None) -> Halves:
    """With a spread of 1 % of its size where an entry has none in any chain: points are compared by that."""
    reference = halves if place is None else place
    size = np.abs(reference.mean).max((0, 1))
    still = np.sqrt(reference.variance).max((0, 1)) <= _STILL * size
    return replace(halves, variance=np.where(still, (0.01 * size) ** 2, halves.variance))


def _in_nats(values: Sequence[float], error: float) -> list[str]:
    return number_cells([float(v) for v in values], max(float(error), 1e-3))


def _is_noise(gap: float, error: float) -> bool:
    return abs(gap) <= max(3.0 * error, 0.1)


def _shortened(rows: list[list[str]]) -> list[list[str]]:
    """The rows with the largest numbers, where there are many."""
    if len(rows) <= _MOST_LINES:
        return rows
    kept = sorted(rows, key=lambda row: -max(float(x or 0) for x in row[1:]))[: _MOST_LINES - 1]
    return [*kept, [f"  ... {len(rows) - len(kept):,} more, none larger"]]


def _chains(numbers: Sequence[int], capital: bool = True) -> str:
    """ "Chains 3 and 7"."""
    word = ("Chain" if capital else "chain") + ("s" if len(numbers) > 1 else "")
    shown = [str(n) for n in sorted(numbers)]
    if len(shown) > _MOST_LINES:
        shown = [*shown[:_MOST_LINES], f"{len(shown) - _MOST_LINES} more"]
    if len(shown) == 1:
        return f"{word} {shown[0]}"
    return f"{word} {', '.join(shown[:-1])} and {shown[-1]}"


def _are(numbers: Sequence[Any]) -> str:
    return "are" if len(numbers) > 1 else "is"
