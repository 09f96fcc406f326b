"""Record the sites of a program, in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, ShapeError, message, name_hash
from svijax.effects import (
    Deterministic,
    Factor,
    Handler,
    KeyRequest,
    MarkovStep,
    MaskQuery,
    Mutable,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    Subsample,
    where,
)

Trace = OrderedDict[str, Site]

_UNRECORDED = (KeyRequest, MarkovStep, MaskQuery, Subsample)
_UNIQUE = (Sample, Deterministic, Factor)


class trace(Handler):
    """``trace(fn).get_trace(*args)`` is the ordered dictionary of the sites that fn states, by name.

    As a context manager it gives the dictionary that fills up: ``with trace() as sites: fn()``. A param or mutable
    that is stated again is the one that was stated first.

    :raises ModelError: two random variables, deterministics or factors of one name; one name for two kinds of site;
        a plate with two sizes; two names of random variables that would be drawn with one key.
    """

    records = True

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        super().__init__(fn)
        self.sites: Trace = OrderedDict()
        self._hashes: dict[int, str] = {}

    def get_trace(self, *args: Any, **kwargs: Any) -> Trace:
        """The sites of ``fn(*args, **kwargs)``; nothing of them stays here."""
        recorder = trace(self.fn)
        recorder(*args, **kwargs)
        return recorder.sites

    def __enter__(self) -> Trace:  # type: ignore[override]
        self.sites, self._hashes = OrderedDict(), {}
        super().__enter__()
        return self.sites

    def post(self, site: Site) -> Site:
        if isinstance(site, _UNRECORDED):
            return site
        if isinstance(site, ParamGroup):
            for name, value in site.split().items():
                self._record(Param(name=name, value=value, constraint=site.constraint, group=site.name))
            return site
        return self._record(site)

    def _record(self, site: Site) -> Site:
        earlier = self.sites.get(site.name)
        if earlier is not None:
            _check_repeated(site, earlier)
            if isinstance(site, Mutable) and earlier.value is not None:
                return earlier
            if isinstance(site, Param) and earlier.value is not None:
                return site if site.value is not None else earlier
        if isinstance(site, Sample | PlateIndices):
            self._check_key(site.name)
        self.sites[site.name] = site
        return site

    def _check_key(self, name: str) -> None:
        """Keys follow from the crc32 of names: two names with one crc32 would be drawn alike."""
        other = self._hashes.setdefault(name_hash(name), name)
        if other != name:
            raise ModelError(
                message(
                    f"{where()}: the names {other!r} and {name!r} have the same crc32, so that the two sites would be "
                    "drawn with the same random key.",
                    fix="rename one of them.",
                )
            )


def _check_repeated(site: Site, earlier: Site) -> None:
    if isinstance(site, _UNIQUE) or type(site) is not type(earlier):
        raise ModelError(
            message(
                f"{where()}: two sites are named {site.name!r}.",
                expected="a name of its own for each",
                got=f"{type(earlier).__name__.lower()} {site.name!r} and {type(site).__name__.lower()} {site.name!r}",
                fix="rename one; in a loop put the index into the name; svijax.handlers.scope adds a prefix.",
            )
        )
    if isinstance(site, PlateIndices) and isinstance(earlier, PlateIndices):
        _check_sizes(site, earlier)
    if isinstance(site, Param) and site.value is not None and earlier.value is not None:
        shapes = [jax.tree.map(jnp.shape, value) for value in (earlier.value, site.value)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                message(
                    f"{where()}: param {site.name!r} is stated twice, with different shapes.",
                    expected=shapes[0],
                    got=shapes[1],
                    fix="give the two params different names.",
                )
            )


def _check_sizes(site: PlateIndices, earlier: PlateIndices) -> None:
    got, want = ((s.size, s.subsample_size) for s in (site, earlier))
    if got != want:
        raise ModelError(
            message(
                f"{where()}: plate {site.name!r} has two sizes.",
                expected=f"{_in_words(*want)}, as where it first stands",
                got=_in_words(*got),
                fix="give the plates different names, or the same sizes.",
            )
        )


def _in_words(size: int, subsample_size: int) -> str:
    return f"size {size}" if subsample_size == size else f"size {size}, subsample_size {subsample_size}"
