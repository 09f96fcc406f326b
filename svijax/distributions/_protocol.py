"""What any object must have to be used as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from svijax.transforms import Constraint


@runtime_checkable
class DistributionLike(Protocol):
    """The least that a ``sample`` statement needs; ``isinstance(d, DistributionLike)`` tells."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The axes of independent draws."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one value."""

    @property
    def support(self) -> Constraint:
        """Where values lie."""

    def sample(self, key: Any, sample_shape: Sequence[int] = ()) -> Any:
        """A draw of shape ``sample_shape + batch_shape + event_shape``."""

    def log_prob(self, value: Any) -> Any:
        """Log density or log mass, of shape ``sample_shape + batch_shape``."""
