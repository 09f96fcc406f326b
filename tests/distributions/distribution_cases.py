"""The table of distributions: all rows, and the marks that cross a test with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases_bounded
import cases_classes
import cases_copulas
import cases_counts
import cases_directions
import cases_gamma_beta
import cases_images
import cases_inflated
import cases_location_scale
import cases_markov
import cases_matrices
import cases_mixtures
import cases_normals
import cases_positive
import cases_truncated
import cases_walks
import pytest
from distribution_case import DistCase
from thinning import thinned

_MODULES = (
    cases_location_scale,
    cases_positive,
    cases_bounded,
    cases_gamma_beta,
    cases_counts,
    cases_classes,
    cases_normals,
    cases_matrices,
    cases_directions,
    cases_copulas,
    cases_walks,
    cases_markov,
    cases_mixtures,
    cases_truncated,
    cases_inflated,
    cases_images,
)
CASES: dict[str, DistCase] = {}
for _module in _MODULES:
    _twice = CASES.keys() & _module.CASES.keys()
    if _twice:
        raise ValueError(f"rows with one name: {sorted(_twice)}")
    CASES.update(_module.CASES)


def every(keep: Callable[[DistCase], Any] = lambda case: True, *, costly: bool = False) -> Any:
    """Cross a test with all rows that ``keep`` keeps; of a costly test the default run takes a part of them."""
    rows = [(name, case) for name, case in CASES.items() if keep(case)]
    all_quick = [pytest.param(case, id=name) for name, case in rows]
    return pytest.mark.parametrize("case", thinned(rows) if costly else all_quick)


every_case = every()
every_discrete = every(lambda case: case.discrete)
every_scalar = every(lambda case: case.scalar)
