"""Which enumerated variable has which batch dim, as a program goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from svijax.effects import MarkovStep


@dataclass
class _Loop:
    history: int
    step: int


class Window:
    """Dims for enumerated variables, from ``first`` to the left; those that can be read no more give theirs back.

    A variable of a step of a ``markov`` loop can be read for ``history`` steps more. For one step after that its dim
    has nobody, so that reading it then is seen.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._loops: dict[int, _Loop] = {}
        self._born: dict[str, dict[int, int]] = {}  # the steps of its loops in which a variable was stated
        self._dims: dict[int, str] = {}
        self._given: dict[int, str] = {}
        self._gone: set[str] = set()

    def move(self, mark: MarkovStep) -> None:
        """A loop goes on by one step, or ends."""
        key = id(mark.loop)
        if not mark.ends:
            self._loops.setdefault(key, _Loop(mark.history, -1)).step += 1
            return
        loop = self._loops.pop(key, _Loop(mark.history, 0))
        for name, steps in self._born.items():
            if key in steps and loop.step - steps.pop(key) >= mark.history:
                self._gone.add(name)

    def adopt(self, owners: Mapping[int, str]) -> None:
        """These dims have these variables from now on, as where the draws come from."""
        self._given.update(owners)

    def take(self, name: str) -> int:
        """A dim for a new variable."""
        dim = self._first
        while dim in self._dims and self._age(self._dims[dim]) <= 1:
            dim -= 1
        self._dims[dim] = name
        self._born[name] = {key: loop.step for key, loop in self._loops.items()}
        return dim

    def owners(self) -> tuple[dict[int, str], dict[int, str]]:
        """(variables that may be read, those that may not any more), by dim."""
        ages = {dim: self._age(name) for dim, name in self._dims.items()}
        readable = {dim: name for dim, name in self._dims.items() if ages[dim] <= 0}
        stale = {dim: name for dim, name in self._dims.items() if ages[dim] > 0}
        return {**self._given, **readable}, stale

    def _age(self, name: str) -> int:
        """By how many steps the variable is older than its loops let it be read."""
        if name in self._gone:
            return 2
        late = [
            self._loops[key].step - step - self._loops[key].history
            for key, step in self._born[name].items()
            if key in self._loops
        ]
        return max(late, default=0)
