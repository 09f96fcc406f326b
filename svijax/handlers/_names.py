"""Handlers that act by name remember which names they met, so that a misspelt one is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

from svijax.base import check_names
from svijax.effects import Handler, ParamGroup, Sample, Site


class NamedHandler(Handler):
    """A handler with data by site name. ``kinds`` are the records whose names count as known."""

    kinds: tuple[type[Site], ...] = (Sample,)

    def __init__(self, fn: Callable[..., Any] | None, names: Iterable[str]) -> None:
        super().__init__(fn)
        self.names = tuple(names)
        self._met: dict[str, None] = {}

    def meet(self, site: Site) -> None:
        """Note that there is a site of this name."""
        if isinstance(site, self.kinds) and site.name:
            names = site.names if isinstance(site, ParamGroup) else (site.name,)
            self._met.update(dict.fromkeys(names))

    def forget(self) -> None:
        """Drop what earlier programs left here."""
        self._met.clear()

    def __enter__(self) -> Self:
        self.forget()
        return super().__enter__()

    def finish(self) -> None:
        met = tuple(self._met)
        self.forget()
        check_names(self.names, met, type(self).__name__)
