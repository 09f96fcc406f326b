"""Give random keys to the sites that need one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import jax

from svijax.base import as_key, site_key
from svijax.effects import Handler, KeyRequest, PlateIndices, Site


class seed(Handler):
    """Each site draws with ``fold_in(key, crc32(name))``: one more site changes no other draw.

    The same key therefore gives the same draws on each call.

    :param rng_seed: a key, or an int for ``jax.random.key``.
    :param plate_key: another key for the subsamples of plates, if they shall differ less than the sites do.
    :param hide_types: kinds of records that get no key, e.g. ``("plate",)``.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        rng_seed: jax.Array | int = 0,
        plate_key: jax.Array | None = None,
        hide_types: Iterable[str] = (),
    ) -> None:
        super().__init__(fn)
        self.key = jax.random.key(rng_seed) if isinstance(rng_seed, int) else as_key(rng_seed)
        self.plate_key = self.key if plate_key is None else as_key(plate_key)
        self.hide_types = tuple(hide_types)
        self._counter = count()

    def fresh(self) -> Handler:
        return seed(self.fn, self.key, self.plate_key, self.hide_types)

    def process(self, site: Site) -> Site:
        if not site.needs_key or kind_of(site) in self.hide_types:
            return site
        if isinstance(site, KeyRequest):
            name = site.name or f"prng_key/{next(self._counter)}"
            return site.having(value=self.key_of(name, site.of_plate))
        name, of_plate = site.name, isinstance(site, PlateIndices)
        return site.having(key=lambda: self.key_of(name, of_plate))

    def key_of(self, name: str, of_plate: bool) -> jax.Array:
        return site_key(self.plate_key if of_plate else self.key, name)


def kind_of(site: Site) -> str:
    """The word for a record in ``hide_types`` and ``expose_types``: "sample", "param", "plate", ..."""
    words = {"PlateIndices": "plate", "KeyRequest": "prng_key", "ParamGroup": "param"}
    name = type(site).__name__
    return words.get(name, name.lower())


