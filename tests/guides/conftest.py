"""The default run takes a part of the cells, each guide in some test; ``-m slow`` has the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from thinning import keep_each

_STEP = 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    keep_each(items, Path(__file__).parent, _STEP)
