"""Put values in the place of draws and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, message
from svijax.effects import Deterministic, Mutable, Param, ParamGroup, PlateIndices, Sample, Site, where

from ._names import NamedHandler


class substitute(NamedHandler):
    """Values for sample, param, plate, deterministic and mutable sites; a sample site stays a latent.

    :param data: values by name, those of params constrained; a plate's are the indices of the rows in play.
    :param substitute_fn: a function of the site that gives a value or None.
    :raises UnknownNameError: a name in ``data`` that no site has.
    :raises ShapeError: a value that has not the shape of its site.
    """

    kinds = (Sample, Param, ParamGroup, PlateIndices, Deterministic, Mutable)

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        data: Mapping[str, Any] | None = None,
        substitute_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        check_one(type(self).__name__, data, substitute_fn)
        super().__init__(fn, data or ())
        self.data = data
        self.substitute_fn = substitute_fn

    def fresh(self) -> substitute:
        return type(self)(self.fn, self.data, self.substitute_fn)

    def value_for(self, site: Site) -> Any:
        """What goes in the place of the site's value; None to leave it alone."""
        if self.data is None:
            return self.substitute_fn(site) if self.substitute_fn else None
        if isinstance(site, ParamGroup):
            return join(self.data, site)
        return self.data.get(site.name)

    def process(self, site: Site) -> Site:
        if not isinstance(site, self.kinds):
            return site
        self.meet(site)
        value = self.value_for(site)
        if value is None:
            return site
        return (
            site.having(value=value, log_prob=None) if isinstance(site, Sample) else site.having(value=value)
        )


class supply(substitute):
    """``substitute`` for callers whose names belong to several programs: they ask ``met`` which it found.

    ``met`` grows with every call; it is the caller's to judge.
    """

    def fresh(self) -> supply:
        # Names are all that calls leave behind, and they may leave them here.
        return self

    @property
    def met(self) -> tuple[str, ...]:
        """Names of the sites that the programs under this handler stated."""
        return tuple(self._met)

    def forget(self) -> None:
        """Nothing is forgotten."""

    def finish(self) -> None:
        """Unknown names are no error."""


def join(data: Mapping[str, Any], group: ParamGroup) -> Any:
    """The group's vector from the values of its names; None if it has none of them."""
    present = [name for name in group.names if name in data]
    if not present:
        return None
    if len(present) < len(group.names):
        missing = [name for name in group.names if name not in data]
        raise ModelError(
            message(
                f"{where()}: values for some parameters of a guide but not for all.",
                expected=list(group.names),
                got=f"none for {missing}",
            )
        )
    return jnp.concatenate([jnp.ravel(data[name]) for name in group.names])


def check_one(handler: str, data: object, function: object) -> None:
    """Raise unless exactly one of the two ways to give values is used."""
    if (data is None) == (function is None):
        raise ArgumentError(f"{handler} takes a dictionary of values or a function of the site: exactly one.")
