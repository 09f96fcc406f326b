"""What ``check`` found: a table, and an error made of the rows that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from svijax.base import ArgumentError, message


class Fault(Exception):
    """A check failed: what it expected, what it got, and what mends it."""

    def __init__(self, expected: object, got: object, fix: str) -> None:
        super().__init__(expected, got, fix)
        self.expected, self.got, self.fix = expected, got, fix


class Unseen(Exception):
    """A check cannot tell: why."""


@dataclass(frozen=True)
class Check:
    """One row of the report. ``ok`` is None where the check could not be made; ``note`` then says why.

    ``error`` is what the distribution raised, if it did.
    """

    name: str
    ok: bool | None
    note: str = ""
    expected: object = None
    got: object = None
    fix: str | None = None
    error: Exception | None = None

    def __str__(self) -> str:
        word = {True: "ok", False: "WRONG", None: "-"}[self.ok]
        lines = [f"{self.name:<14}{word:<7}{self.note}".rstrip()]
        if self.ok is False:
            rows = message("", expected=self.expected, got=self.got, fix=self.fix).splitlines()[1:]
            lines += [f"{'':<14}{row.strip()}" for row in rows]
        return "\n".join(lines)


def perform(name: str, test: Callable[[Any], str | None], case: Any) -> Check:
    """The row that a test makes; an error inside the distribution is a row too."""
    try:
        return Check(name, True, note=test(case) or "")
    except Unseen as reason:
        return Check(name, None, note=str(reason))
    except Fault as fault:
        return Check(name, False, expected=fault.expected, got=fault.got, fix=fault.fix)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        got = f"{type(error).__name__}: {lines[0]}"
        fix = "make this call work, then check again."
        return Check(name, False, expected="no error", got=got, fix=fix, error=error)


@dataclass(frozen=True, repr=False)
class Report:
    """The checks of one distribution. ``str(report)`` is a table; ``report.failed`` the rows that are wrong."""

    subject: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The rows that are wrong."""
        return tuple(check for check in self.checks if check.ok is False)

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.failed

    def raise_if_failed(self) -> None:
        """Raise ``ArgumentError`` with every row that is wrong, from the errors that the distribution raised."""
        if self.failed:
            head = f"{self.subject}: {len(self.failed)} of {len(self.checks)} checks failed."
            text = "\n".join([head, *(f"  {line}" for line in self._lines(self.failed))])
            raise ArgumentError(text) from self._cause()

    def _cause(self) -> Exception | None:
        """The one error inside the distribution, or all of them as a group."""
        errors = [check.error for check in self.failed if check.error is not None]
        return ExceptionGroup(self.subject, errors) if len(errors) > 1 else next(iter(errors), None)

    def _lines(self, checks: tuple[Check, ...]) -> list[str]:
        return [line for check in checks for line in str(check).splitlines()]

    def __repr__(self) -> str:
        return "\n".join([self.subject, *(f"  {line}" for line in self._lines(self.checks))])
