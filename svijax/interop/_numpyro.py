"""NumPyro's distributions and constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.distributions import constraints
from svijax.transforms import Constraint

from ._foreign import ForeignDistribution

_PLAIN = [
    "boolean",
    "circular",
    "complex",
    "corr_cholesky",
    "corr_matrix",
    "lower_cholesky",
    "nonnegative",
    "nonnegative_integer",
    "ordered_vector",
    "positive",
    "positive_definite",
    "positive_definite_circulant_vector",
    "positive_semidefinite",
    "positive_integer",
    "positive_ordered_vector",
    "real",
    "real_matrix",
    "real_vector",
    "scaled_unit_lower_cholesky",
    "simplex",
    "softplus_lower_cholesky",
    "softplus_positive",
    "sphere",
    "unit_interval",
    "l1_ball",
]
_BOUNDS: dict[str, tuple[str, ...]] = {
    "greater_than": ("lower_bound",),
    "greater_than_eq": ("lower_bound",),
    "less_than": ("upper_bound",),
    "less_than_eq": ("upper_bound",),
    "integer_interval": ("lower_bound", "upper_bound"),
    "interval": ("lower_bound", "upper_bound"),
    "open_interval": ("lower_bound", "upper_bound"),
    "multinomial": ("upper_bound",),
    "zero_sum": ("event_dim",),
}
# Where NumPyro's class is not the name with capitals.
_CLASS_OF = {
    "nonnegative_integer": "_IntegerNonnegative",
    "positive_integer": "_IntegerPositive",
    "positive_semidefinite": "_PositiveSemiDefinite",
    "l1_ball": "_L1Ball",
}


def _class_of(name: str) -> str:
    return _CLASS_OF.get(name, "_" + "".join(part.capitalize() for part in name.split("_")))


def _with_bounds(name: str, bounds: tuple[str, ...]) -> Callable[[Any], Constraint]:
    return lambda theirs: getattr(constraints, name)(*(getattr(theirs, bound) for bound in bounds))


def _plain(name: str) -> Callable[[Any], Constraint]:
    return lambda theirs: getattr(constraints, name)


_TRANSLATIONS: dict[str, Callable[[Any], Constraint]] = {
    **{_class_of(name): _plain(name) for name in _PLAIN},
    **{_class_of(name): _with_bounds(name, bounds) for name, bounds in _BOUNDS.items()},
    # In NumPyro the bound belongs to the set.
    "_IntegerGreaterThan": lambda theirs: constraints.integer_greater_than(theirs.lower_bound - 1),
    "_IndependentConstraint": lambda theirs: constraints.independent(
        translate_constraint(theirs.base_constraint), theirs.reinterpreted_batch_ndims
    ),
    "_Cat": lambda theirs: constraints.cat(
        [translate_constraint(part) for part in theirs.cseq], dim=theirs.dim, lengths=theirs.lengths
    ),
}


def translate_constraint(theirs: Any) -> Constraint:
    """The constraint of this library that is the same set, under the same bijection."""
    rule = _TRANSLATIONS.get(type(theirs).__name__)
    if rule is None:
        raise ArgumentError(
            message(
                f"svijax.interop.wrap: NumPyro's constraint {theirs!r} has no counterpart here.",
                fix="state it: svijax.interop.wrap(d, support=svijax.distributions.constraints.…).",
            )
        )
    return rule(theirs)


class NumPyroDistribution(ForeignDistribution):
    """A distribution of NumPyro."""

    _stores_batch_shape = True

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.object.sample(key, sample_shape)

    def _translated_support(self) -> Constraint:
        return translate_constraint(self.object.support)

    def _is_pathwise(self) -> bool:
        return bool(self.object.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:
        return bool(self.object.has_enumerate_support)

    def enumerate_support(self, expand: bool = True) -> Any:
        names, instead = ("enumerate_support",), "draw it with sample(key)"
        return jnp.asarray(self._ask(names, "an enumerable support", instead, expand))
