"""Record the sites of a program, in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from svijax.base import ModelError, message
from svijax.effects import (
    Deterministic,
    Factor,
    Handler,
    KeyRequest,
    MaskQuery,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    Subsample,
    where,
)

Trace = OrderedDict[str, Site]


class trace(Handler):
    """``trace(fn).get_trace(*args)`` is the ordered dictionary of the sites that fn states, by name.

    As a context manager it gives the dictionary that fills up: ``with trace() as sites: fn()``.

    :raises ModelError: two random variables, deterministics or factors of one name.
    """

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.sites: Trace = OrderedDict()

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        recorder = trace(self.fn)
        recorder(*args, **kwargs)
        return recorder.sites

    def __enter__(self) -> Trace:  # type: ignore[override]
        super().__enter__()
        return self.sites

    def post(self, site: Site) -> Site:
        if isinstance(site, KeyRequest | MaskQuery | Subsample):
            return site
        if isinstance(site, ParamGroup):
            for name, value in site.split().items():
                self.sites[name] = Param(name=name, value=value, constraint=site.constraint, group=site.name)
            return site
        if site.name in self.sites:
            _check_repeated(site, self.sites[site.name])
        self.sites[site.name] = site
        return site


def _check_repeated(site: Site, earlier: Site) -> None:
    unique = (Sample, Deterministic, Factor)
    if isinstance(site, unique) or isinstance(earlier, unique):
        raise ModelError(
            message(
                f"{where()}: two sites are named {site.name!r}.",
                got=f"{type(earlier).__name__.lower()} {site.name!r} and {type(site).__name__.lower()} {site.name!r}",
                fix="give each its own name; in a loop put the index into it; svijax.handlers.scope adds a prefix.",
            )
        )
    if isinstance(site, PlateIndices) and isinstance(earlier, PlateIndices) and site.size != earlier.size:
        raise ModelError(
            message(
                f"{where()}: plate {site.name!r} has two sizes.",
                expected=f"size {earlier.size}, as where it first stands",
                got=f"size {site.size}",
                fix="give the plates different names, or the same size.",
            )
        )
