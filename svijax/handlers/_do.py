"""Interventions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svijax.effects import Sample, Site, outside, perform

from ._names import NamedHandler


class do(NamedHandler):
    """Sets sites to values by splitting each node (Pearl's do operator).

    The site itself is still drawn or observed as it would have been; the rest of the program sees the value
    of the intervention, under the name ``{name}__CF``, which nobody outside sees. A site in a plate keeps
    the plates that it has.

    :raises UnknownNameError: a name in ``data`` that no sample site has.
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
        with outside(self):
            perform(site)
        return site.having(
            name=f"{site.name}__CF", value=self.data[site.name], observed=True, log_prob=None, stop=True
        )
