"""Distributions and bijections whose parameters are functions of a context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from svijax.transforms import (
    GeneralizedChannelPermute,
    Householder,
    MatrixExponential,
    Planar,
    Radial,
    Record,
    Spline,
    Transform,
    as_pytree,
)

from ._distribution import Distribution
from ._transformed import TransformedDistribution


class _Conditional(Record):
    """``condition(context)`` is ``kind`` with the parameters ``parameters(context)``: one, a tuple or a mapping."""

    _fields = ("parameters",)
    _static = ("kind",)
    kind: Callable[..., Any]
    parameters: Any

    def __init__(self, kind: Callable[..., Any], parameters: Callable[[Any], Any]) -> None:
        self._assign(kind=kind, parameters=as_pytree(parameters))

    def condition(self, context: Any) -> Any:
        """What it is given ``context``."""
        given = self.parameters(context)
        if isinstance(given, Mapping):
            return self.kind(**given)
        return self.kind(*given) if isinstance(given, (tuple, list)) else self.kind(given)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self.kind, '__name__', self.kind)})"


class ConditionalTransform(_Conditional):
    """A bijection given a context: ``condition(context)`` is ``kind(*parameters(context))``.

    ``kind`` makes a bijection of parameters, as ``Planar`` does; ``parameters`` is a function or a network that is a
    pytree.
    """

    def condition(self, context: Any) -> Transform:
        transform: Transform = super().condition(context)
        return transform


class ConditionalDistribution(_Conditional):
    """A distribution given a context: ``condition(context)`` is ``kind(*parameters(context))``."""

    def condition(self, context: Any) -> Distribution:
        distribution: Distribution = super().condition(context)
        return distribution


class ConditionalTransformedDistribution(Record):
    """The image of ``base_dist`` under ``transforms``; what of them is conditional is conditioned on one context."""

    _fields = ("base_dist", "transforms")
    base_dist: Any
    transforms: tuple[Any, ...]

    def __init__(self, base_dist: Any, transforms: Any) -> None:
        parts = tuple(transforms) if isinstance(transforms, Sequence) else (transforms,)
        self._assign(base_dist=base_dist, transforms=parts)

    # Identity, as for distributions.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def condition(self, context: Any) -> TransformedDistribution:
        """The distribution given ``context``."""
        parts = [_given(part, context) for part in self.transforms]
        return TransformedDistribution(_given(self.base_dist, context), parts)

    def __repr__(self) -> str:
        return f"ConditionalTransformedDistribution({self.base_dist!r}, {list(self.transforms)!r})"


def _given(part: Any, context: Any) -> Any:
    condition = getattr(part, "condition", None)
    return part if condition is None else condition(context)


ConditionalGeneralizedChannelPermute = partial(ConditionalTransform, GeneralizedChannelPermute)
ConditionalHouseholder = partial(ConditionalTransform, Householder)
ConditionalMatrixExponential = partial(ConditionalTransform, MatrixExponential)
ConditionalPlanar = partial(ConditionalTransform, Planar)
ConditionalRadial = partial(ConditionalTransform, Radial)
ConditionalSpline = partial(ConditionalTransform, Spline)
