"""``check``: whether a distribution of one's own keeps what every distribution promises."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from svijax.base import ArgumentError, as_key, is_concrete, message

from . import _check_density, _check_gradients, _check_structure
from ._check_case import Case
from ._check_report import Check, Report, perform
from ._protocol import DistributionLike

_STRUCTURE = {
    "shapes": _check_structure.shapes,
    "support": _check_structure.support,
    "dtypes": _check_structure.dtypes,
    "pytree": _check_structure.pytree,
    "jit": _check_structure.jit,
    "vmap": _check_structure.vmap,
    "copies": _check_structure.copies,
}
_NUMBERS = {
    "log_prob": _check_gradients.log_prob,
    "pathwise": _check_gradients.pathwise,
    "mass": _check_density.mass,
    "draws": _check_density.draws,
}


def check(d: Any, key: Any = None, *, raise_if_failed: bool = True) -> Report:
    """Hold a distribution, most usefully of a class of one's own, against what svijax expects of one.

    Shapes and dtypes of draws, log densities and support; the pytree, under ``jit`` and ``vmap``; ``expand``,
    ``to_event`` and ``mask``; derivatives of ``log_prob`` against differences, and those of draws where
    ``has_rsample`` claims them; the mass of the density; draws against the density. Numbers are compared in
    double precision. Takes seconds. A scale or a normaliser that is wrong by two per cent is seen for single
    numbers; of vectors six unconstrained dimensions.

    :param key: for the draws; the same for every call if it is left out.
    :param raise_if_failed: False: only return the report, whose ``str`` is a table.
    :raises ArgumentError: a check failed; the text has each one with what was expected, found, and the remedy.
    """
    if isinstance(d, type) or not isinstance(d, DistributionLike):
        raise ArgumentError(
            message(
                "check: this is no distribution.",
                expected="an instance with batch_shape, event_shape, support, sample and log_prob",
                got=f"{type(d).__module__}.{type(d).__qualname__}",
                fix="derive your class from svijax.distributions.Distribution and pass an instance.",
            )
        )
    if not all(is_concrete(leaf) for leaf in jax.tree.leaves(d) if isinstance(leaf, jax.Array)):
        raise ArgumentError(message("check: the parameters are traced.", fix="call it outside jit and vmap."))
    case = Case(d, jax.random.key(0) if key is None else as_key(key))
    with np.errstate(all="ignore"):
        checks = _all(case)
    shapes = f"batch_shape={case.batch}, event_shape={case.event}"
    report = Report(f"check of {type(d).__name__}({shapes})", tuple(checks))
    if raise_if_failed:
        report.raise_if_failed()
    return report


def _all(case: Case) -> list[Check]:
    checks = [perform(name, test, case) for name, test in _STRUCTURE.items()]
    # With wrong shapes the numbers would only say the same again.
    if not checks[0].ok:
        return checks + [Check(name, None, note="not made: the shapes are wrong") for name in _NUMBERS]
    return checks + [perform(name, test, case) for name, test in _NUMBERS.items()]
