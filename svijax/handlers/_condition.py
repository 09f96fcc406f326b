"""Turn latents into observations, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svijax.effects import Handler, Sample, Site

from ._names import NamedHandler
from ._substitute import check_one


class condition(NamedHandler):
    """Observe the sample sites named in ``data``.

    :param data: values by name. :param condition_fn: a function of the site that gives a value or None.
    :raises UnknownNameError: a name in ``data`` that no sample site has.
    :raises ShapeError: a value that has not the shape of its site.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        data: Mapping[str, Any] | None = None,
        condition_fn: Callable[[Site], Any] | None = None,
    ) -> None:
        check_one("condition", data, condition_fn)
        super().__init__(fn, data or ())
        self.data = data
        self.condition_fn = condition_fn

    def fresh(self) -> condition:
        return condition(self.fn, self.data, self.condition_fn)

    def process(self, site: Site) -> Site:
        if not isinstance(site, Sample):
            return site
        self.meet(site)
        if self.data is not None:
            value = self.data.get(site.name)
        else:
            value = self.condition_fn(site) if self.condition_fn else None
        return site if value is None else site.having(value=value, observed=True, log_prob=None)


class uncondition(Handler):
    """Draw the observed sites too; ``infer`` keeps their data as ``obs`` and says ``was_observed``."""

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.observed:
            infer = {**site.infer, "was_observed": True, "obs": site.value}
            return site.having(value=None, observed=False, log_prob=None, infer=infer)
        return site
