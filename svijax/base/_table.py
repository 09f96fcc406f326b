"""The one bounded table of compiled functions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

_LIMIT = 64
_TABLE: OrderedDict[Hashable, tuple[Callable[..., Any], tuple[Any, ...]]] = OrderedDict()
_LOCK = threading.Lock()


def compiled(
    key: Hashable, build: Callable[[], Callable[..., Any]], keep: tuple[Any, ...] = ()
) -> Callable[..., Any]:
    """The function under ``key``, built if it is not there; the least recently used one leaves a full table.

    ``keep``: objects whose identity is part of the key, held so that no other object can take their place.
    """
    with _LOCK:
        if key in _TABLE:
            _TABLE.move_to_end(key)
            return _TABLE[key][0]
    function = build()
    with _LOCK:
        _TABLE[key] = (function, keep)
        while len(_TABLE) > _LIMIT:
            _TABLE.popitem(last=False)
    return function


def clear_caches() -> None:
    """Forget every compiled function, and release the memory of their executables."""
    with _LOCK:
        _TABLE.clear()
