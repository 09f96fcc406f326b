"""The error for a support that no library tells."""

from __future__ import annotations

from typing import Any, NoReturn

from svijax.base import ArgumentError, message


def unknown_support(obj: Any) -> NoReturn:
    """Raise: the support of this object has to be stated."""
    kind = type(obj)
    raise ArgumentError(
        message(
            f"svijax.interop.wrap: the support of {kind.__module__}.{kind.__qualname__} is not known.",
            fix="state it: svijax.interop.wrap(d, support=svijax.distributions.constraints.positive), say.",
        )
    )
