"""What finite mixtures have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import draw_noise
from svijax.transforms import Constraint, Range

from ._categorical import Categorical
from ._distribution import Distribution
from ._independent import Independent
from ._mixture_terms import draw_component, implicit_mixture_draw, log_sum_weighted, pick, weighted_sum


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
        entries = [entry_of(component) for component in self._components]
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
            lambda component, x: entry_of(component).log_prob(x), value, self.event_dim
        )

    def _entry_tails(self, value: Any) -> tuple[Any, Any]:
        below = self._over_components(lambda component, x: entry_of(component).cdf(x), value, self.event_dim)
        above = self._over_components(
            lambda component, x: entry_of(component).survival_function(x), value, self.event_dim
        )
        return below, above


def entry_of(dist: Any) -> Any:
    """The distribution of single entries, where the axes of the event are independent."""
    while isinstance(dist, Independent):
        dist = dist.base_dist
    return dist


def _draws(component: Any, key: Any, sample_shape: tuple[int, ...], axis: bool) -> Any:
    """Draws of a component; where ``axis``, those along its last batch axis are made of the same noise."""
    spec = getattr(component, "noise_spec", None)
    entrywise = tuple(entry_of(component).event_shape) == ()
    if not axis or spec is None or not entrywise or spec.shape != component.shape():
        return component.sample(key, sample_shape)
    batch, event = tuple(component.batch_shape), tuple(component.event_shape)
    shared = type(spec)(spec.kind, (*batch[:-1], 1, *event), spec.dtype)
    return component.from_noise(draw_noise(key, shared, sample_shape))


def _fixed_ends(support: Constraint) -> tuple[Any, Any] | None:
    """The ends of a range that no parameter moves; None for other sets."""
    return (support.lower, support.upper) if isinstance(support, Range) and not support._fields else None
