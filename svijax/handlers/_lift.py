"""Turn parameters into random variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svijax.base import ShapeError, message
from svijax.effects import Param, Sample, Site, makes_value, outside, perform, where

from ._names import NamedHandler


class lift(NamedHandler):
    """Param sites become latents with the given prior: one distribution for all, or a dictionary by name.

    Each call of ``param`` with one name gives the one draw. Like the parameter, the latent stands outside the
    plates: a table with ``event_dim=`` is drawn for whole plates, and the plates gather from the draw.

    :raises UnknownNameError: a name in ``prior`` that no param site has.
    :raises ShapeError: a prior of another shape than the parameter that it replaces.
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
        if site.name not in self._drawn:
            _check_shape(site, prior)
            with outside(self, plates=False):
                drawn = perform(Sample(name=site.name, fn=prior, value=site.value, key=site.key))
            self._drawn[site.name] = drawn.value
        return site.having(value=self._drawn[site.name], stop=True)

    def forget(self) -> None:
        super().forget()
        self._drawn.clear()


def _check_shape(site: Param, prior: Any) -> None:
    if site.init is None or makes_value(site.init) or not hasattr(site.init, "shape"):
        return
    got, want = (*prior.batch_shape, *prior.event_shape), tuple(site.init.shape)
    if got != want:
        raise ShapeError(
            message(
                f"{where()} param {site.name!r}: the prior has not the shape of the parameter.",
                expected=want,
                got=f"{got} = batch {tuple(prior.batch_shape)} + event {tuple(prior.event_shape)}",
                fix=f"use prior.expand({list(want)}).to_event({len(want)}).",
            )
        )
