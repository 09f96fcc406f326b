"""The table of distributions: all rows, and the marks that cross a test with them."""

from __future__ import annotations

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


def every(keep: Callable[[DistCase], Any] = lambda case: True) -> Any:
    """Cross a test with all rows that ``keep`` keeps."""
    rows = {name: case for name, case in CASES.items() if keep(case)}
    return pytest.mark.parametrize("case", rows.values(), ids=rows)


every_case = every()
every_continuous = every(lambda case: not case.discrete)
every_discrete = every(lambda case: case.discrete)
every_scalar = every(lambda case: case.scalar)
every_noisy = every(lambda case: case.make().noise_spec is not None)
every_pathwise = every(lambda case: case.make().has_rsample and case.params)
