"""Turn parameters into random variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svijax.effects import Param, Sample, Site

from ._names import NamedHandler


class lift(NamedHandler):
    """Param sites become latents with the given prior: one distribution for all, or a dictionary by name.

    Each call of ``param`` with one name gives the one draw.

    :raises UnknownNameError: a name in ``prior`` that no param site has.
    """

    kinds = (Param,)

    def __init__(self, fn: Callable[..., Any] | None = None, prior: Any = None) -> None:
        super().__init__(fn, prior if isinstance(prior, Mapping) else ())
        self.prior = prior
        self._drawn: dict[str, Any] = {}

    def fresh(self) -> lift:
        return lift(self.fn, self.prior)

    def process(self, site: Site) -> Site:
        if not isinstance(site, Param):
            return site
        self.meet(site)
        prior = self.prior.get(site.name) if isinstance(self.prior, Mapping) else self.prior
        if prior is None:
            return site
        if site.name in self._drawn:
            return site.having(value=self._drawn[site.name], stop=True)
        return Sample(name=site.name, fn=prior, value=site.value, plates=site.plates)

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample):
            self._drawn[site.name] = site.value
        return site

    def finish(self) -> None:
        self._drawn.clear()
        super().finish()
