"""Checks that the options of stop rules share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from svijax.base import ArgumentError, message


def check_least(owner: str, name: str, value: Any, least: int) -> None:
    """Raise unless the value is an int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(
            message(
                f"{owner}: {name} is out of its range.", expected=f"an int, at least {least}", got=repr(value)
            )
        )


def check_number(
    owner: str, name: str, value: Any, *, above: float | None = None, most: float | None = None
) -> None:
    """Raise unless the value is a finite number: at least 0, or greater than ``above``, and at most ``most``."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    fits = number and math.isfinite(value) and (value >= 0 if above is None else value > above)
    if not fits or (most is not None and value > most):
        wanted = "at least 0" if above is None else f"greater than {above:g}"
        wanted += "" if most is None else f", at most {most:g}"
        raise ArgumentError(
            message(f"{owner}: {name} is out of its range.", expected=f"a number, {wanted}", got=repr(value))
        )
