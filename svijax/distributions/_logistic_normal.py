"""The logistic-normal distribution."""

from __future__ import annotations

from typing import Any

from svijax.transforms import StickBreakingTransform, constraints

from ._normal import Normal
from ._parameters import parameters
from ._transformed import TransformedDistribution


class LogisticNormal(TransformedDistribution):
    """Stick-breaking of independent normals: a law on the simplex of one dimension more.

    loc (…, n) and scale (…, n) > 0 broadcast together; an event has shape (n + 1,).
    """

    arg_constraints = parameters(
        loc=constraints.independent(constraints.real, 1),
        scale=constraints.independent(constraints.positive, 1),
    )
    _fields = ("base_dist", "transforms")

    def __init__(self, loc: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=validate_args), StickBreakingTransform())

    @property
    def loc(self) -> Any:
        """The mean of the normal vector."""
        return self.base_dist.base_dist.loc

    @property
    def scale(self) -> Any:
        """The standard deviations of the normal vector."""
        return self.base_dist.base_dist.scale
