"""What any object must have to be used as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from svijax.transforms import Constraint


@runtime_checkable
class DistributionLike(Protocol):
    """The least that a ``sample`` statement needs; ``isinstance(d, DistributionLike)`` tells."""

    @property
    def batch_shape(self) -> tuple[int, ...]: ...

    @property
    def event_shape(self) -> tuple[int, ...]: ...

    @property
    def support(self) -> Constraint: ...

    def sample(self, key: Any, sample_shape: Sequence[int] = ()) -> Any: ...

    def log_prob(self, value: Any) -> Any: ...
