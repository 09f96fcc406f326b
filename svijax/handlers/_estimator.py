"""Choose the gradient estimator of draws where they are stated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from svijax.effects import Handler, Sample, Site


class estimator(Handler):
    """The latents of a guide inside it get this estimator of their gradients; the innermost of several holds.

    :param estimator: one of ``svijax.objectives``: ``ScoreFunction(...)``, ``PathDerivative()``, ``DisARM()``, ...
    """

    def __init__(self, fn: Callable[..., Any] | None = None, estimator: Any = None) -> None:
        super().__init__(fn)
        self.estimator = estimator

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.latent and site.estimator is None:
            return site.having(estimator=self.estimator)
        return site
