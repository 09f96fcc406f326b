"""Give a program its parameters from the unconstrained ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import FreeParams, StateError, message
from svijax.effects import Handler, Param, ParamGroup, Site, where
from svijax.transforms import biject_to, constraints


class bind(Handler):
    """Each param statement finds its unconstrained value by name and maps it into its constraint itself.

    :raises StateError: a param statement that ``free`` knows nothing of.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, free: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn)
        self.free = free or {}
        self._segments: dict[tuple[str, ...], Any] = {}

    def fresh(self) -> Handler:
        # What is taken apart inside one traced program may not be read in another.
        return bind(self.fn, self.free)

    def process(self, site: Site) -> Site:
        if isinstance(site, ParamGroup) and site.value is None:
            self._check(site.names)
            return site.having(value=constrain(jnp.ravel(self._read(site.names)), site.constraint))
        if isinstance(site, Param) and site.value is None:
            self._check((site.name,))
            return site.having(value=constrain(self._read((site.name,)), site.constraint))
        return site

    def _check(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self.free:
                raise StateError(
                    message(
                        f"{where()} param {name!r} is not in the state.",
                        expected=f"parameters {list(self.free)}",
                        fix="make the state with init of this SVI; a program must state the same params on each call.",
                    )
                )

    def _read(self, names: tuple[str, ...]) -> Any:
        """The value of one name, or the vector of several."""
        if not self._segments and isinstance(self.free, FreeParams):
            self._segments.update(self.free.segments())
        if names in self._segments:
            return self._segments[names]
        if len(names) == 1:
            return self.free[names[0]]
        return jnp.concatenate([jnp.ravel(self.free[name]) for name in names])


def constrain(free: Any, constraint: Any) -> Any:
    """The constrained pytree of an unconstrained one."""
    if constraint is None or constraint is constraints.real:
        return free
    return jax.tree.map(biject_to(constraint), free)


def unconstrain(value: Any, constraint: Any) -> Any:
    """The unconstrained pytree of a constrained one."""
    if constraint is None or constraint is constraints.real:
        return value
    bijection = biject_to(constraint)
    return jax.tree.map(lambda x: bijection.inv(x), value)
