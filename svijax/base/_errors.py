"""Exceptions of the library, and the one form in which their messages are written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SvijaxError(Exception):
    """Root of every exception that svijax raises on purpose."""


class ModelError(SvijaxError, ValueError):
    """A model or guide is wrong in its structure: a missing site, a duplicate name, a bad pairing."""


class ShapeError(ModelError):
    """A shape is not the one that the plates, the site or the data need."""


class SupportError(ModelError):
    """A guide can leave the support of the prior, or a value lies outside a support."""


class DataError(SvijaxError, ValueError):
    """Observed data is not finite, outside the support, or of the wrong length."""


class ParameterError(SvijaxError, ValueError):
    """A parameter of a distribution or of a ``param`` statement is outside its constraint."""


class UnknownNameError(SvijaxError, ValueError):
    """A name was given that no site of the program has."""


class MissingKeyError(SvijaxError, ValueError):
    """A draw was asked for where no random key is to be had."""


class ArgumentError(SvijaxError, ValueError):
    """An argument of a library function is not usable."""


class StateError(SvijaxError, ValueError):
    """A state does not belong to the ``SVI`` that it was given to."""


class DerivativeError(SvijaxError, TypeError):
    """A derivative of an order that an estimator does not have."""


class NonFiniteError(SvijaxError, ArithmeticError):
    """A fit met a loss, gradient or parameter that is not finite. ``result``: the fit up to there."""

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class LoaderError(SvijaxError, RuntimeError):
    """An iterator of batches failed, or gave one that does not fit. ``result``: the fit up to there."""

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class CheckpointError(SvijaxError, ValueError):
    """A checkpoint cannot be written, or does not fit what it is to be restored as. ``result``: the fit so far."""

    def __init__(self, text: str, result: object = None) -> None:
        super().__init__(text)
        self.result = result


class DamagedCheckpointError(CheckpointError):
    """A file is truncated or damaged, or svijax did not write it."""


def message(
    summary: str,
    *,
    plates: Iterable[object] = (),
    expected: object = None,
    got: object = None,
    fix: str | None = None,
) -> str:
    """One line that says what is wrong, then what was wanted, what was found, and the edit that mends it."""
    rows = [
        ("plates", ", ".join(str(plate) for plate in plates)),
        ("expected", "" if expected is None else str(expected)),
        ("got", "" if got is None else str(got)),
        ("fix", fix or ""),
    ]
    return "\n".join([summary, *(f"  {label + ':':<10}{text}" for label, text in rows if text)])


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ``UnknownNameError`` for the first given name that is not known, with its nearest match."""
    pool = list(known)
    for name in given:
        if name not in pool:
            near = difflib.get_close_matches(name, pool, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the names are {pool}."
            raise UnknownNameError(message(f"{what}: no site is named {name!r}.", fix=hint))
