"""Finite mixtures, of one family or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, array_module, message
from svijax.transforms import Constraint, IndependentConstraint, Range, constraints

from ._categorical import Categorical
from ._distribution import Distribution
from ._finite_mixture import FiniteMixture, entry_of
from ._wrapper import expand_any


def Mixture(
    mixing_distribution: Categorical, component_distributions: Any, *, validate_args: bool | None = None
) -> FiniteMixture:
    """A ``MixtureGeneral`` of a list of distributions, else a ``MixtureSameFamily``."""
    several = isinstance(component_distributions, (list, tuple))
    kind: Any = MixtureGeneral if several else MixtureSameFamily
    made: FiniteMixture = kind(mixing_distribution, component_distributions, validate_args=validate_args)
    return made


class MixtureSameFamily(FiniteMixture):
    """A mixture over the last batch axis of ``component_distribution``, which holds all components.

    The other batch axes broadcast with those of ``mixing_distribution``.
    """

    _fields = ("mixing_distribution", "component_distribution")
    _component_axis = True
    component_distribution: Any

    def __init__(
        self,
        mixing_distribution: Categorical,
        component_distribution: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        size = _mixture_size(self, mixing_distribution)
        batch = tuple(component_distribution.batch_shape)
        if not batch or batch[-1] != size:
            raise ShapeError(
                message(
                    "MixtureSameFamily: the last batch axis of the components is that of the mixture.",
                    expected=f"{size} components",
                    got=f"{type(component_distribution).__name__} of batch_shape {batch}",
                    fix="give the components that axis, or pass a list of distributions to Mixture.",
                )
            )
        target = _common_batch("MixtureSameFamily", mixing_distribution.batch_shape, batch[:-1])
        self._assign(
            mixing_distribution=_grown(mixing_distribution, target),
            component_distribution=_grown(component_distribution, (*target, size)),
        )

    @property
    def _components(self) -> tuple[Any, ...]:
        return (self.component_distribution,)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.component_distribution.batch_shape)[:-1]

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return _hull(self.component_distribution.support, -1)

    def _over_components(self, f: Callable[[Any, Any], Any], value: Any, event_dim: int = 0) -> Any:
        if value is not None:
            value = jnp.expand_dims(jnp.asarray(value), self.mixture_dim)
        return f(self.component_distribution, value)

    @property
    def has_enumerate_support(self) -> bool:
        return bool(getattr(self.component_distribution, "has_enumerate_support", False))

    def enumerate_support(self, expand: bool = True) -> Any:
        values = self.component_distribution.enumerate_support(expand=expand)
        return values.take(0, axis=self.mixture_dim)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self._replace(
            mixing_distribution=_grown(self.mixing_distribution, target),
            component_distribution=_grown(self.component_distribution, (*target, self.mixture_size)),
        )


class MixtureGeneral(FiniteMixture):
    """A mixture of ``component_distributions``, a list of any families of one event shape.

    ``support`` must be given where those of the components are not the same: it holds them all.
    """

    _fields = ("mixing_distribution", "component_distributions", "_support")
    component_distributions: tuple[Any, ...]
    _support: Constraint | None

    def __init__(
        self,
        mixing_distribution: Categorical,
        component_distributions: Sequence[Any],
        *,
        support: Constraint | None = None,
        validate_args: bool | None = None,
    ) -> None:
        size, parts = _mixture_size(self, mixing_distribution), tuple(component_distributions)
        events = {tuple(part.event_shape) for part in parts}
        if len(parts) != size or len(events) != 1:
            raise ShapeError(
                message(
                    "MixtureGeneral needs one component for each weight, all of one event shape.",
                    expected=f"{size} components",
                    got=f"{len(parts)} of event shapes {sorted(events)}",
                )
            )
        if support is None and any(part.support != parts[0].support for part in parts[1:]):
            raise ArgumentError(
                message(
                    "MixtureGeneral: the supports of the components are not known to be the same.",
                    got=", ".join(repr(part.support) for part in parts),
                    fix="pass support=, a constraint that holds them all.",
                )
            )
        shapes = [mixing_distribution.batch_shape, *(tuple(part.batch_shape) for part in parts)]
        target = _common_batch("MixtureGeneral", *shapes)
        self._assign(
            mixing_distribution=_grown(mixing_distribution, target),
            component_distributions=tuple(_grown(part, target) for part in parts),
            _support=support,
        )

    @property
    def _components(self) -> tuple[Any, ...]:
        return self.component_distributions

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.component_distributions[0].batch_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self._components[0].support
        return support if self._support is None else self._support

    def _over_components(self, f: Callable[[Any, Any], Any], value: Any, event_dim: int = 0) -> Any:
        parts = [jnp.asarray(f(component, value)) for component in self._components]
        shape = jnp.broadcast_shapes(*(part.shape for part in parts))
        return jnp.stack([jnp.broadcast_to(part, shape) for part in parts], axis=-event_dim - 1)

    def _log_probs(self, value: Any) -> Any:
        return self._over_components(self._log_prob_inside, jnp.asarray(value))

    def _entry_log_probs(self, value: Any) -> Any:
        return self._over_components(
            lambda component, x: self._log_prob_inside(entry_of(component), x), value, self.event_dim
        )

    def _log_prob_inside(self, component: Any, value: Any) -> Any:
        """log p_k, asked of values in the support of the component only: -inf elsewhere."""
        if self._support is None or component.support == self._support:
            return component.log_prob(value)
        inside = jnp.asarray(component.support(value))
        event_dim = component.support.event_dim
        over_event = inside.reshape((*inside.shape, *(1,) * event_dim))
        shape = jnp.broadcast_shapes(value.shape, over_event.shape)
        prototype = jax.ShapeDtypeStruct(shape, value.dtype)
        safe = jnp.where(over_event, value, component.support.feasible_like(prototype))
        return jnp.where(inside, component.log_prob(safe), -jnp.inf)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self._replace(
            mixing_distribution=_grown(self.mixing_distribution, target),
            component_distributions=tuple(_grown(part, target) for part in self._components),
        )


def _mixture_size(owner: Any, mixing: Any) -> int:
    if not isinstance(mixing, Categorical):
        raise ArgumentError(
            message(
                f"{type(owner).__name__}: the mixing distribution is a Categorical.",
                got=type(mixing).__name__,
            )
        )
    return mixing._size


def _common_batch(owner: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(
            message(
                f"{owner}: the batch shapes of weights and components do not broadcast.",
                got=", ".join(map(str, shapes)),
            )
        ) from error


def _grown(dist: Any, batch_shape: tuple[int, ...]) -> Any:
    return dist if tuple(dist.batch_shape) == batch_shape else expand_any(dist, batch_shape)


def _hull(support: Constraint, axis: int) -> Constraint:
    """The range from the lowest to the highest end over the components' axis; other sets as they are."""
    if isinstance(support, IndependentConstraint):
        return constraints.independent(_hull(support.base, axis - support.ndims), support.ndims)
    if not support._fields:
        return support
    if not isinstance(support, Range):
        return constraints.dependent(is_discrete=support.is_discrete, event_dim=support.event_dim)
    ends = {}
    for name, reduce in (("lower", "min"), ("upper", "max")):
        end = getattr(support, name)
        if name in support._fields and np.ndim(end) >= -axis:
            end = getattr(array_module(end), reduce)(end, axis=axis)
        if name in support._fields:
            ends[name] = end
    return support._replace(**ends)
