"""Hide sites from the handlers further out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax

from svijax.effects import (
    Handler,
    KeyRequest,
    MarkovStep,
    MaskQuery,
    PlateIndices,
    Site,
    Subsample,
    outside,
    perform,
)

from ._seed import kind_of


class block(Handler):
    """Hides the sites that ``hide_fn``, ``hide``, ``expose_types`` or ``expose`` say (the first given counts).

    With none of them every site is hidden. Hidden sites still get keys from the seed outside, by their names, so
    that hiding a site changes no draw.

    :param hide_fn: a function of the site, True to hide it. :param hide: names to hide. :param expose_types: kinds
        to leave visible ("sample", "param", "plate", "deterministic", "factor", "mutable"). :param expose: names to
        leave visible.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        hide_fn: Callable[[Site], bool] | None = None,
        hide: Iterable[str] | None = None,
        expose_types: Iterable[str] | None = None,
        expose: Iterable[str] | None = None,
    ) -> None:
        super().__init__(fn)
        self.hide_fn = _rule(hide_fn, hide, expose_types, expose)

    def process(self, site: Site) -> Site:
        if isinstance(site, KeyRequest | MarkovStep | MaskQuery | Subsample) or not self.hide_fn(site):
            return site
        if not site.needs_key:
            return site.having(stop=True)
        request = KeyRequest(name=site.name, of_plate=isinstance(site, PlateIndices))

        def key() -> jax.Array:
            with outside(self):
                return perform(request).value

        return site.having(stop=True, key=key)


def _rule(
    hide_fn: Callable[[Site], bool] | None,
    hide: Iterable[str] | None,
    expose_types: Iterable[str] | None,
    expose: Iterable[str] | None,
) -> Callable[[Site], bool]:
    if hide_fn is not None:
        return hide_fn
    if hide is not None:
        hidden = frozenset(hide)
        return lambda site: site.name in hidden
    if expose_types is not None:
        kinds = frozenset(expose_types)
        return lambda site: kind_of(site) not in kinds
    exposed = frozenset(expose or ())
    return lambda site: site.name not in exposed
