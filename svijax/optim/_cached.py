"""Equal arguments give the same object, so that what is keyed by an optimiser is found again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")

_SIZE = 64


def cached(make: Callable[P, T]) -> Callable[P, T]:
    """``make`` with its last results kept by argument; traced and other unhashable arguments are not kept."""
    signature = inspect.signature(make)
    kept = functools.lru_cache(maxsize=_SIZE)(make)

    @functools.wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # By position, so that Adam(0.1) and Adam(step_size=0.1) are one.
        values: Any = tuple(x.item() if isinstance(x, np.generic) else x for x in bound.arguments.values())
        return kept(*values) if _hashable(values) else make(*values)  # type: ignore[call-arg]

    return call


def _hashable(values: tuple[Any, ...]) -> bool:
    try:
        hash(values)
    except TypeError:
        return False
    return True
