"""Truncated distributions under the names that NumPyro gives them, by their bounds and by their families."""

from __future__ import annotations

from typing import Any

from svijax.base import ArgumentError, message

from ._cauchy import Cauchy
from ._gamma import Gamma
from ._normal import Normal
from ._truncated import TruncatedDistribution


class LeftTruncatedDistribution(TruncatedDistribution):
    """p(x) = p_base(x) / P(X >= low) for x >= low."""

    def __init__(self, base_dist: Any, low: Any = 0.0, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, low, validate_args=validate_args)


class RightTruncatedDistribution(TruncatedDistribution):
    """p(x) = p_base(x) / P(X <= high) for x <= high."""

    def __init__(self, base_dist: Any, high: Any = 0.0, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, None, high, validate_args=validate_args)


class TwoSidedTruncatedDistribution(TruncatedDistribution):
    """p(x) = p_base(x) / P(low <= X <= high) for low <= x <= high."""

    def __init__(
        self, base_dist: Any, low: Any = 0.0, high: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(base_dist, low, high, validate_args=validate_args)


class _LocationScale(TruncatedDistribution):
    _family: type

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = 1.0,
        *,
        low: Any = None,
        high: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = self._family(loc, scale, validate_args=validate_args)
        super().__init__(base, low, high, validate_args=validate_args)


class TruncatedNormal(_LocationScale):
    """A normal distribution between ``low`` and ``high``, of which one at least is given."""

    _family = Normal


class TruncatedCauchy(_LocationScale):
    """A Cauchy distribution between ``low`` and ``high``, of which one at least is given."""

    _family = Cauchy


class TruncatedGamma(TruncatedDistribution):
    """A gamma distribution between ``low`` and ``high``, of which one at least is given."""

    def __init__(
        self,
        concentration: Any = 1.0,
        rate: Any = 1.0,
        *,
        low: Any = None,
        high: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, low, high, validate_args=validate_args)


class LeftTruncatedGamma(LeftTruncatedDistribution):
    """A gamma distribution restricted to x >= low."""

    def __init__(self, base_dist: Gamma, low: Any = 0.0, *, validate_args: bool | None = None) -> None:
        super().__init__(_gamma("LeftTruncatedGamma", base_dist), low, validate_args=validate_args)


class RightTruncatedGamma(RightTruncatedDistribution):
    """A gamma distribution restricted to x <= high."""

    def __init__(self, base_dist: Gamma, high: Any = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__(_gamma("RightTruncatedGamma", base_dist), high, validate_args=validate_args)


class TwoSidedTruncatedGamma(TwoSidedTruncatedDistribution):
    """A gamma distribution restricted to low <= x <= high."""

    def __init__(
        self, base_dist: Gamma, low: Any = 0.0, high: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(_gamma("TwoSidedTruncatedGamma", base_dist), low, high, validate_args=validate_args)


def _gamma(owner: str, base_dist: Any) -> Gamma:
    if isinstance(base_dist, Gamma):
        return base_dist
    raise ArgumentError(
        message(
            f"{owner} takes a Gamma.",
            got=type(base_dist).__name__,
            fix="use TruncatedDistribution(base_dist, low, high) for other families.",
        )
    )
