"""What is known after a fit: draws, moments, quantiles, log densities, k-hat, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Posterior:
    """The fitted guide."""

    guide: Callable[..., Any]
    model: Callable[..., Any]
    params: Mapping[str, Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    key: Any
