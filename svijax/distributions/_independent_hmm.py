"""Many hidden Markov models of one observation each, as one of many observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import NoiseSpec, ShapeError, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._expanded import expand_any


class IndependentHMM(Distribution):
    """The last batch axis (…, n) of ``base_dist``, of event_shape (T, 1), moved into the event: (T, n)."""

    _fields = ("base_dist",)
    base_dist: Any

    def __init__(self, base_dist: Any) -> None:
        batch, event = tuple(base_dist.batch_shape), tuple(base_dist.event_shape)
        if not batch or len(event) != 2 or event[1] != 1:
            raise ShapeError(
                message(
                    "IndependentHMM: the base is a batch of series of one observation each.",
                    expected="batch_shape (…, n) and event_shape (T, 1)",
                    got=f"{batch} and {event}",
                )
            )
        self._assign(base_dist=base_dist)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.base_dist.batch_shape)[:-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.base_dist.event_shape[0], self.base_dist.batch_shape[-1])

    @property
    def duration(self) -> int:
        """The number of steps T."""
        return int(self.base_dist.event_shape[0])

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, 2)

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec | None:
        spec: NoiseSpec | None = getattr(self.base_dist, "noise_spec", None)
        return spec

    def from_noise(self, noise: Any) -> Any:
        return _together(self.base_dist.from_noise(noise))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return _together(self.base_dist.sample(key, sample_shape))

    def log_prob(self, value: Any) -> Any:
        return jnp.sum(self.base_dist.log_prob(jnp.swapaxes(jnp.asarray(value), -2, -1)[..., None]), axis=-1)

    @property
    def mean(self) -> Any:
        return _together(self.base_dist.mean)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self._replace(base_dist=expand_any(self.base_dist, (*target, self.event_shape[1])))


def _together(draw: Any) -> Any:
    """(…, n, T, 1) as (…, T, n)."""
    return jnp.swapaxes(draw[..., 0], -2, -1)
