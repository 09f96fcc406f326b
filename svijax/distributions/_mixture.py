"""Finite mixtures, of one family or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, array_module, draw_noise, message
from svijax.transforms import Constraint, constraints
from svijax.transforms._ranges import Range

from ._categorical import Categorical
from ._distribution import Distribution
from ._independent import Independent
from ._mixture_terms import draw_component, implicit_mixture_draw, log_sum_weighted, pick, weighted_sum
from ._wrapper import expand_any


def Mixture(
    mixing_distribution: Categorical, component_distributions: Any, *, validate_args: bool | None = None
) -> FiniteMixture:
    """A ``MixtureGeneral`` of a list of distributions, else a ``MixtureSameFamily``."""
    several = isinstance(component_distributions, (list, tuple))
    kind: Any = MixtureGeneral if several else MixtureSameFamily
    made: FiniteMixture = kind(mixing_distribution, component_distributions, validate_args=validate_args)
    return made


class FiniteMixture(Distribution):
    """p(x) = sum_k w_k p_k(x), with the weights of a categorical ``mixing_distribution``.

    Draws are reparameterised where the components are families of single numbers, or products of such, whose
    distribution functions have derivatives in their parameters, and where no gap between supports makes a draw
    jump as a weight moves. Their derivatives, those in the weights among them, are then implicit ones.
    """

    mixing_distribution: Categorical

    # What the two kinds state

    def _over_components(self, f: Callable[[Any, Any], Any], value: Any, event_dim: int = 0) -> Any:
        """f(component, value), along an axis of components before the last ``event_dim``."""
        raise NotImplementedError

    @property
    def _components(self) -> tuple[Any, ...]:
        """The components, or one distribution that holds them all."""
        raise NotImplementedError

    # Shapes

    @property
    def mixture_size(self) -> int:
        """The number of components."""
        return self.mixing_distribution._size

    @property
    def mixture_dim(self) -> int:
        """The axis of the components in a batch of draws of all of them."""
        return -self.event_dim - 1

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self._components[0].event_shape)

    @property
    def dtype(self) -> Any:
        return jnp.result_type(*(component.dtype for component in self._components))

    # Densities and distribution functions

    def _log_probs(self, value: Any) -> Any:
        """The log densities of the components, without the weights."""
        return self._over_components(lambda component, x: component.log_prob(x), value)

    def component_log_probs(self, value: Any) -> Any:
        """log w_k + log p_k(value), along a new last axis."""
        return self._log_probs(value) + self.mixing_distribution._log_probs()

    def log_prob(self, value: Any) -> Any:
        return log_sum_weighted(self.mixing_distribution, self._log_probs(value))

    def component_cdf(self, value: Any) -> Any:
        """The distribution functions of the components, along a new last axis."""
        return self._over_components(lambda component, x: component.cdf(x), value)

    def cdf(self, value: Any) -> Any:
        return weighted_sum(self.mixing_distribution, self.component_cdf(value))

    def survival_function(self, value: Any) -> Any:
        tails = self._over_components(lambda component, x: component.survival_function(x), value)
        return weighted_sum(self.mixing_distribution, tails)

    def log_cdf(self, value: Any) -> Any:
        tails = self._over_components(lambda component, x: component.log_cdf(x), value)
        return log_sum_weighted(self.mixing_distribution, tails)

    def log_survival_function(self, value: Any) -> Any:
        tails = self._over_components(lambda component, x: component.log_survival_function(x), value)
        return log_sum_weighted(self.mixing_distribution, tails)

    @property
    def component_mean(self) -> Any:
        """The means of the components, along an axis before the event."""
        return self._over_components(lambda component, _: component.mean, None, self.event_dim)

    @property
    def component_variance(self) -> Any:
        """The variances of the components, along an axis before the event."""
        return self._over_components(lambda component, _: component.variance, None, self.event_dim)

    @property
    def mean(self) -> Any:
        return weighted_sum(self.mixing_distribution, self.component_mean, self.event_dim)

    @property
    def variance(self) -> Any:
        mean = jnp.expand_dims(self.mean, self.mixture_dim)
        second = self.component_variance + (self.component_mean - mean) ** 2
        return weighted_sum(self.mixing_distribution, second, self.event_dim)

    # Draws

    def component_sample(self, key: Any, sample_shape: Sequence[int] = ()) -> Any:
        """A draw of every component, along an axis before the event."""
        # Of each draw one component is kept, so that all may be made of the same noise.
        return self._over_components(
            lambda component, _: _draws(component, key, tuple(sample_shape), self._component_axis),
            None,
            self.event_dim,
        )

    _component_axis = False

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_index, key_draw = jax.random.split(key)
        chosen = draw_component(self.mixing_distribution, key_index, (*sample_shape, *self.batch_shape))
        draws = self.component_sample(key_draw, sample_shape)
        value = jax.lax.stop_gradient(pick(chosen, draws, self.event_dim)).astype(self.dtype)
        return implicit_mixture_draw(self, value) if self._has_pathwise() else value

    def _has_pathwise(self) -> bool:
        entries = [_entry_of(component) for component in self._components]
        if any(component._detached for component in self._components if isinstance(component, Distribution)):
            return False
        if not all(
            isinstance(entry, Distribution) and not entry._detached and entry._has_cdf_derivatives()
            for entry in entries
        ):
            return False
        if any(entry.event_shape for entry in entries):
            return False
        ends = {_fixed_ends(entry.support) for entry in entries}
        # A component on the whole line fills all gaps; but beside jumps of a density, later entries would jump.
        return None not in ends and (len(ends) == 1 or (self.event_shape == () and (None, None) in ends))

    def _has_cdf_derivatives(self) -> bool:
        return self.event_shape == () and self._has_pathwise()

    def _entry_log_probs(self, value: Any) -> Any:
        return self._over_components(
            lambda component, x: _entry_of(component).log_prob(x), value, self.event_dim
        )

    def _entry_tails(self, value: Any) -> tuple[Any, Any]:
        below = self._over_components(lambda component, x: _entry_of(component).cdf(x), value, self.event_dim)
        above = self._over_components(
            lambda component, x: _entry_of(component).survival_function(x), value, self.event_dim
        )
        return below, above


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
            lambda component, x: self._log_prob_inside(_entry_of(component), x), value, self.event_dim
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


def _entry_of(dist: Any) -> Any:
    """The distribution of single entries, where the axes of the event are independent."""
    while isinstance(dist, Independent):
        dist = dist.base_dist
    return dist


def _draws(component: Any, key: Any, sample_shape: tuple[int, ...], axis: bool) -> Any:
    """Draws of a component; where ``axis``, those along its last batch axis are made of the same noise."""
    spec = getattr(component, "noise_spec", None)
    entrywise = tuple(_entry_of(component).event_shape) == ()
    if not axis or spec is None or not entrywise or spec.shape != component.shape():
        return component.sample(key, sample_shape)
    batch, event = tuple(component.batch_shape), tuple(component.event_shape)
    shared = type(spec)(spec.kind, (*batch[:-1], 1, *event), spec.dtype)
    return component.from_noise(draw_noise(key, shared, sample_shape))


def _fixed_ends(support: Constraint) -> tuple[Any, Any] | None:
    """The ends of a range that no parameter moves; None for other sets."""
    return (support.lower, support.upper) if isinstance(support, Range) and not support._fields else None


def _hull(support: Constraint, axis: int) -> Constraint:
    """The range from the lowest to the highest end over the components' axis; other sets as they are."""
    if isinstance(support, constraints.Independent):
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
