"""Prefix the names of sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from svijax.effects import (
    Factor,
    Handler,
    KeyRequest,
    MarkovStep,
    MaskQuery,
    Param,
    ParamGroup,
    Sample,
    Site,
    Subsample,
)

from ._seed import kind_of


class scope(Handler):
    """Names become ``{prefix}{divider}{name}``, those of plates too. Nested scopes compose: ``a/b/x``.

    :param hide_types: kinds of records that keep their names, e.g. ``("plate",)``.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        prefix: str = "",
        divider: str = "/",
        hide_types: Iterable[str] = (),
    ) -> None:
        super().__init__(fn)
        self.prefix = f"{prefix}{divider}"
        self.hide_types = tuple(hide_types)

    def process(self, site: Site) -> Site:
        anonymous = isinstance(site, KeyRequest) and not site.name
        if (
            anonymous
            or isinstance(site, MarkovStep | MaskQuery | Subsample)
            or kind_of(site) in self.hide_types
        ):
            return site
        renamed = site.having(name=self.prefix + site.name)
        if isinstance(renamed, ParamGroup):
            return renamed.having(names=tuple(self.prefix + name for name in renamed.names))
        if isinstance(renamed, Sample | Factor | Param) and "plate" not in self.hide_types:
            return renamed.having(
                plates=tuple(replace(frame, name=self.prefix + frame.name) for frame in renamed.plates)
            )
        return renamed
