"""Memory: compiled programs of finished tests are let go from time to time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import jax
import pytest

_finished = itertools.count(1)
_TOGETHER = 150


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    if next(_finished) % _TOGETHER == 0:
        jax.clear_caches()
