"""The distributions of Distrax."""

from __future__ import annotations

from typing import Any

import jax

from svijax.distributions import constraints
from svijax.transforms import Constraint

from ._families import pathwise_by_name, support_by_name
from ._foreign import ForeignDistribution
from ._unknown import unknown_support


class DistraxDistribution(ForeignDistribution):
    """A distribution of Distrax."""

    _stores_batch_shape = True

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.object.sample(seed=key, sample_shape=sample_shape)

    def _translated_support(self) -> Constraint:
        return supported(self.object)

    def _is_pathwise(self) -> bool:
        return pathwise_by_name(self.object)


def supported(obj: Any) -> Constraint:
    """The support, of the families with a known name and of some bijections of them."""
    support = _transformed(obj) if type(obj).__name__ == "Transformed" else support_by_name(obj)
    return unknown_support(obj) if support is None else support


def _transformed(obj: Any) -> Constraint | None:
    base, name = supported(obj.distribution), type(obj.bijector).__name__
    if name in ("Sigmoid", "Tanh", "ScalarAffine", "Shift") and base in (
        constraints.real,
        constraints.real_vector,
    ):
        image = {"Sigmoid": constraints.unit_interval, "Tanh": constraints.open_interval(-1.0, 1.0)}
        return constraints.independent(image.get(name, constraints.real), base.event_dim)
    return None
