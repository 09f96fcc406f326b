"""Interventions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from svijax.base import ShapeError, message
from svijax.effects import Sample, Site, outside, perform, where

from ._names import NamedHandler


class do(NamedHandler):
    """Sets sites to values by splitting each node (Pearl's do operator).

    The site itself is still drawn or observed as it would have been; the rest of the program sees the value
    of the intervention, under the name ``{name}__CF``, which nobody outside sees. A site in a plate keeps
    the plates that it has, and enters none of them twice. A site inside ``scan`` or ``cond`` keeps its name.

    :param data: values by name, of the shape of the site, or one number for all of its entries.
    :raises UnknownNameError: a name in ``data`` that no sample site has.
    :raises ShapeError: a value of another shape.
    """

    def __init__(self, fn: Callable[..., Any] | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(fn, data or ())
        self.data = dict(data or {})

    def fresh(self) -> do:
        return do(self.fn, self.data)

    def process(self, site: Site) -> Site:
        if not isinstance(site, Sample):
            return site
        self.meet(site)
        if site.name not in self.data:
            return site
        if site.ahead:
            return site.having(seen=_filled(self.data[site.name], site))
        with outside(self):
            drawn = perform(site)
        # The plates further out have had their say on the node that was split off, and shall have no other.
        return site.having(
            name=f"{site.name}__CF",
            fn=drawn.fn,
            plates=drawn.plates,
            scale=None,
            mask=None,
            value=_filled(self.data[site.name], drawn),
            observed=True,
            log_prob=None,
            stop=True,
        )


def _filled(value: Any, drawn: Sample) -> Any:
    if jnp.shape(value) == drawn.shape:
        return value
    if jnp.ndim(value) == 0:
        return jnp.broadcast_to(value, drawn.shape)
    raise ShapeError(
        message(
            f"{where()} site {drawn.name!r}: the shape of the intervention is not the shape of the site.",
            plates=drawn.plates,
            expected=f"{drawn.shape}, or one number for all entries",
            got=jnp.shape(value),
            fix="pass a value of that shape to svijax.handlers.do.",
        )
    )
