"""Batch axes made part of the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from svijax.base import ShapeError, message, sum_rightmost
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._wrapper import Wrapper, expand_any


class Independent(Wrapper):
    """p(x) = prod_i p_i(x_i) over the last ``reinterpreted_batch_ndims`` batch axes of ``base_dist``."""

    _static = ("reinterpreted_batch_ndims", "_detached")
    reinterpreted_batch_ndims: int

    def __init__(self, base_dist: Any, reinterpreted_batch_ndims: int) -> None:
        n, batch = int(reinterpreted_batch_ndims), tuple(base_dist.batch_shape)
        if not 0 <= n <= len(batch):
            raise ShapeError(
                message(
                    f"{type(base_dist).__name__}.to_event({n}): there are {len(batch)} batch axes.",
                    got=f"batch_shape {batch}, event_shape {tuple(base_dist.event_shape)}",
                )
            )
        self._assign(base_dist=base_dist, reinterpreted_batch_ndims=n)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        batch = tuple(self.base_dist.batch_shape)
        return batch[: len(batch) - self.reinterpreted_batch_ndims]

    @property
    def event_shape(self) -> tuple[int, ...]:
        batch = tuple(self.base_dist.batch_shape)
        cut = len(batch) - self.reinterpreted_batch_ndims
        return (*batch[cut:], *self.base_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        value, log_prob = self.base_dist.from_noise_with_log_prob(noise)
        return value, sum_rightmost(log_prob, self.reinterpreted_batch_ndims)

    def log_prob(self, value: Any) -> Any:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Any:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Any:
        self._lacks(
            "an enumerable support: its values are all combinations of those of its entries",
            "enumerate before to_event, with the axes declared by plates",
        )

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        own = tuple(self.base_dist.batch_shape)[len(self.batch_shape) :]
        return self._replace(base_dist=expand_any(self.base_dist, (*self._expandable(batch_shape), *own)))

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


Distribution._wrappers["independent"] = Independent
