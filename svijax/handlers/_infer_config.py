"""Set inference options of sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svijax.effects import Handler, Sample, Site


class infer_config(Handler):
    """Adds ``config_fn(site)`` to the ``infer`` options of each sample site.

    :param config_fn: a function of the site that gives a dictionary of options, or None for none.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        config_fn: Callable[[Sample], Mapping[str, Any] | None] = lambda site: None,
    ) -> None:
        super().__init__(fn)
        self.config_fn = config_fn

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample):
            return site.having(infer={**site.infer, **(self.config_fn(site) or {})})
        return site
