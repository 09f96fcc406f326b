"""Give random keys to the sites that need one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import jax
import numpy as np

from svijax.base import MissingKeyError, as_key, message, site_key
from svijax.effects import Handler, KeyRequest, PlateIndices, Site, where


class seed(Handler):
    """Each site draws with ``fold_in(key, crc32(name))``: one more site changes no other draw.

    The same key therefore gives the same draws on each call.

    :param rng_seed: a key, typed or raw, or an int for ``jax.random.key``.
    :param plate_key: another key for the subsamples of plates, if they shall differ less than the sites do.
    :param hide_types: kinds of records that get no key, e.g. ``("plate",)``.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        rng_seed: jax.Array | int | None = None,
        plate_key: jax.Array | None = None,
        hide_types: Iterable[str] = (),
    ) -> None:
        super().__init__(fn)
        self.key = _key(rng_seed)
        self.plate_key = self.key if plate_key is None else as_key(plate_key)
        self.hide_types = tuple(hide_types)
        self._counter = count()

    def fresh(self) -> Handler:
        return seed(self.fn, self.key, self.plate_key, self.hide_types)

    def process(self, site: Site) -> Site:
        if not site.needs_key or (self.hide_types and kind_of(site) in self.hide_types):
            return site
        if isinstance(site, KeyRequest):
            name = site.name or f"prng_key/{next(self._counter)}"
            return site.having(value=self.key_of(name, site.of_plate))
        name, of_plate = site.name, isinstance(site, PlateIndices)
        return site.having(key=lambda: self.key_of(name, of_plate))

    def key_of(self, name: str, of_plate: bool) -> jax.Array:
        """The key of the site, or plate, of this name."""
        return site_key(self.plate_key if of_plate else self.key, name)


def kind_of(site: Site) -> str:
    """The word for a record in ``hide_types`` and ``expose_types``: "sample", "param", "plate", ..."""
    if isinstance(site, KeyRequest):
        return "plate" if site.of_plate else "prng_key"
    words = {"PlateIndices": "plate", "ParamGroup": "param"}
    name = type(site).__name__
    return words.get(name, name.lower())


def _key(rng_seed: Any) -> jax.Array:
    if rng_seed is None:
        raise MissingKeyError(
            message(
                f"{where()}: seed needs a random key.",
                fix="write svijax.handlers.seed(fn, rng_seed=jax.random.key(0)).",
            )
        )
    return jax.random.key(rng_seed) if isinstance(rng_seed, int | np.integer) else as_key(rng_seed)
