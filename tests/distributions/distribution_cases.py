"""The table of distributions: all rows, and the marks that cross a test with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cases_composed
import cases_discrete
import cases_gamma_beta
import cases_multivariate
import cases_processes
import cases_quantile
import pytest
from distribution_case import DistCase

_MODULES = (
    cases_quantile,
    cases_gamma_beta,
    cases_discrete,
    cases_multivariate,
    cases_processes,
    cases_composed,
)
CASES: dict[str, DistCase] = {}
for _module in _MODULES:
    _twice = CASES.keys() & _module.CASES.keys()
    if _twice:
        raise ValueError(f"rows with one name: {sorted(_twice)}")
    CASES.update(_module.CASES)


_THIN = 5
_crossed = itertools.count()


def every(keep: Callable[[DistCase], Any] = lambda case: True, *, costly: bool = False) -> Any:
    """Cross a test with all rows that ``keep`` keeps.

    Of a ``costly`` test the default run takes each fifth row, from another start in each test, so that it
    meets each family; ``-m slow`` takes the others.
    """
    rows = {name: case for name, case in CASES.items() if keep(case)}
    start = next(_crossed)
    marks = [(pytest.mark.slow,) if costly and (start + i) % _THIN else () for i in range(len(rows))]
    params = [pytest.param(case, id=name, marks=mark) for (name, case), mark in zip(rows.items(), marks)]
    return pytest.mark.parametrize("case", params)


every_case = every()
every_discrete = every(lambda case: case.discrete)
every_scalar = every(lambda case: case.scalar)
