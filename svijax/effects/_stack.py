"""The handler stack: an immutable tuple in a context variable, so that threads and exceptions are safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Self, TypeVar

from svijax.base import ArgumentError, message

from ._sites import Site

S = TypeVar("S", bound=Site)

_STACK: ContextVar[tuple[Handler, ...]] = ContextVar("svijax.handlers", default=())


class Handler:
    """Sees each statement of a program twice: ``process`` before it has a value, ``post`` after.

    Use it around a function, ``handler(fn, ...)(*args)``, or as a context manager, ``with handler(...):``.
    """

    is_plate: bool = False
    # Whether ``post`` also sees the sites inside scan and cond as they get their values: for a handler that
    # changes the value that the program goes on with.
    sees_inside: bool = False
    # Whether the handler notes what a program states, so that a run that is to leave no mark must go without it.
    records: bool = False
    # Whether the handler says what the data are rather than what a program does with them: every run hears it.
    describes_data: bool = False

    def __init__(self, fn: Callable[..., Any] | None = None) -> None:
        self.fn = fn

    def process(self, site: Site) -> Site:
        """The record with this handler's say in it. The innermost handler is asked first."""
        return site

    def post(self, site: Site) -> Site:
        """The record as this handler passes it inwards. The outermost handler is asked first."""
        return site

    def fresh(self) -> Handler:
        """The handler of one call: itself, unless calls leave marks on it."""
        return self

    def finish(self) -> None:
        """Called when a program ended under this handler without an exception."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None:
            name = type(self).__name__
            raise ArgumentError(
                message(
                    f"{name} has no function to call.",
                    fix=f"write {name}(fn, ...)(*args), or use it as a context manager.",
                )
            )
        with self.fresh():
            return self.fn(*args, **kwargs)

    def __enter__(self) -> Self:
        _STACK.set((*_STACK.get(), self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        stack = _STACK.get()
        position = _position(stack, self)
        _STACK.set(stack[:position])
        if kind is None:
            self.finish()


class label(Handler):
    """Names the program that runs, for messages."""

    def __init__(self, fn: Callable[..., Any] | None = None, role: str = "model") -> None:
        super().__init__(fn)
        self.role = role


def _position(stack: tuple[Handler, ...], handler: Handler) -> int:
    for position in range(len(stack) - 1, -1, -1):
        if stack[position] is handler:
            return position
    raise RuntimeError(f"{type(handler).__name__} is not on the handler stack")


def current_stack() -> tuple[Handler, ...]:
    """The handlers in force, the outermost first."""
    return _STACK.get()


@contextmanager
def no_handlers() -> Iterator[None]:
    """Statements inside are heard by nobody outside, but for the handlers that describe the data."""
    token = _STACK.set(tuple(h for h in _STACK.get() if h.describes_data))
    try:
        yield
    finally:
        _STACK.reset(token)


@contextmanager
def outside(handler: Handler, *, plates: bool = True) -> Iterator[None]:
    """Run with the part of the stack that lies outside the handler, without its plates if they are not wanted."""
    stack = _STACK.get()
    kept = stack[: _position(stack, handler)]
    token = _STACK.set(kept if plates else tuple(h for h in kept if not h.is_plate))
    try:
        yield
    finally:
        _STACK.reset(token)


@contextmanager
def unheard() -> Iterator[None]:
    """Run with the stack as it is, but for the handlers that record what is stated."""
    token = _STACK.set(tuple(h for h in _STACK.get() if not h.records))
    try:
        yield
    finally:
        _STACK.reset(token)


def has_plates() -> bool:
    """Whether a plate is open."""
    return any(h.is_plate for h in _STACK.get())


def is_innermost(handler: Handler) -> bool:
    """Whether no other handler of its class stands further in."""
    kind = type(handler)
    return next((h for h in reversed(_STACK.get()) if isinstance(h, kind)), handler) is handler


def where() -> str:
    """The word for the running program: "model", "guide", or "program" where nobody said."""
    for handler in reversed(_STACK.get()):
        if isinstance(handler, label):
            return handler.role
    return "program"


class Asked(NamedTuple):
    """A record after the handlers had their say, and how far out it went."""

    record: Any
    reached: int


def perform(site: S) -> S:
    """Send one record out through the handlers, give it a value, and bring it back."""
    record, reached = ask(site)
    return tell(record.resolve(where()), reached)


def ask(site: Site) -> Asked:
    """Send a record out through the handlers."""
    stack = _STACK.get()
    record: Any = site
    for position in range(len(stack) - 1, -1, -1):
        record = stack[position].process(record)
        if record.stop:
            return Asked(record, position)
    return Asked(record, 0)


def tell(record: Any, reached: int = 0) -> Any:
    """Bring a record that has its value back to the program, under the same handlers as it was sent out."""
    for handler in _STACK.get()[reached:]:
        record = handler.post(record)
    return record
