"""Time: the default run takes a part of the cells. Memory: programs of finished tests are let go now and then."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from thinning import keep_each

_finished = itertools.count(1)
_TOGETHER = 150
_STEP = 6


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    keep_each(items, Path(__file__).parent, _STEP)


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    if next(_finished) % _TOGETHER == 0:
        jax.clear_caches()
