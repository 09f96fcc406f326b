"""One of two distributions at each entry of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, as_array, broadcast, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._masked import masked_log_prob
from ._wrapper import expand_any


class MaskedMixture(Distribution):
    """``component1`` where ``mask`` (over the batch shape) is True, ``component0`` where it is False."""

    _fields = ("mask_value", "component0", "component1")
    mask_value: Any
    component0: Any
    component1: Any

    def __init__(
        self, mask: Any, component0: Any, component1: Any, *, validate_args: bool | None = None
    ) -> None:
        shapes = [tuple(component.event_shape) for component in (component0, component1)]
        if shapes[0] != shapes[1]:
            raise ShapeError(message("MaskedMixture: its components have one event shape.", got=shapes))
        mask = as_array(mask)
        batches = [np.shape(mask), tuple(component0.batch_shape), tuple(component1.batch_shape)]
        try:
            batch = np.broadcast_shapes(*batches)
        except ValueError as error:
            listed = ", ".join(map(str, batches))
            raise ShapeError(
                message("MaskedMixture: mask and components do not broadcast.", got=listed)
            ) from error
        mask = mask.astype(bool) if hasattr(mask, "astype") else np.asarray(mask, bool)
        self._assign(
            mask_value=broadcast(mask, batch),
            component0=expand_any(component0, batch),
            component1=expand_any(component1, batch),
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(
            np.shape(self.mask_value), tuple(self.component0.batch_shape), tuple(self.component1.batch_shape)
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.component0.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self.component0.support
        if support == self.component1.support:
            return support
        return constraints.dependent(is_discrete=support.is_discrete, event_dim=support.event_dim)

    @property
    def dtype(self) -> Any:
        return jnp.result_type(self.component0.dtype, self.component1.dtype)

    def _choice(self, f: Callable[[Any], Any], over_event: bool = False) -> Any:
        mask = self.mask_value
        if over_event:
            mask = mask.reshape((*np.shape(mask), *(1,) * self.event_dim))
        return jnp.where(mask, f(self.component1), f(self.component0))

    def _has_pathwise(self) -> bool:
        return all(getattr(part, "has_rsample", False) for part in (self.component0, self.component1))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        # Each entry is that of one component, so that both may be made of the same key.
        value = self._choice(lambda part: part.sample(key, sample_shape), over_event=True)
        return value if self._has_pathwise() else jax.lax.stop_gradient(value)

    def log_prob(self, value: Any) -> Any:
        one = masked_log_prob(self.component1, value, self.mask_value)
        return one + masked_log_prob(self.component0, value, ~self.mask_value)

    @property
    def mean(self) -> Any:
        return self._choice(lambda part: part.mean, over_event=True)

    @property
    def variance(self) -> Any:
        return self._choice(lambda part: part.variance, over_event=True)

    def entropy(self) -> Any:
        return self._choice(lambda part: part.entropy())

    def cdf(self, value: Any) -> Any:
        return self._choice(lambda part: part.cdf(value))

    def log_cdf(self, value: Any) -> Any:
        return self._choice(lambda part: part.log_cdf(value))

    def survival_function(self, value: Any) -> Any:
        return self._choice(lambda part: part.survival_function(value))

    def log_survival_function(self, value: Any) -> Any:
        return self._choice(lambda part: part.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        return self._choice(lambda part: part.icdf(q))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self._replace(
            mask_value=broadcast(self.mask_value, target),
            component0=expand_any(self.component0, target),
            component1=expand_any(self.component1, target),
        )
