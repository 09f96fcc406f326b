"""Markov windows: how long an enumerated variable can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from svijax.base import ArgumentError, message

from ._sites import MarkovStep
from ._stack import perform


def markov(fn: Any = None, history: int = 1) -> Any:
    """A loop, or a function that is called again and again, each step of which reads at most ``history`` steps back.

    ``for t in svijax.markov(range(T)): z = svijax.sample(f"z_{t}", dist.Categorical(probs[z]))``. Enumerated variables
    older than that give their dim back, so that a long chain needs few; reading one of them is an error.

    :param fn: what to iterate over, or a function each call of which is one step; None to decorate with ``history``.
    :raises ArgumentError: a history that is no int of at least 0, or ``fn`` neither iterable nor a function.
    """
    if isinstance(history, bool) or not isinstance(history, int) or history < 0:
        raise ArgumentError(
            message(
                "markov: history must be an int of at least 0.",
                got=repr(history),
                fix="write svijax.markov(range(T), history=1) where step t reads step t - 1.",
            )
        )
    if fn is None:
        return lambda function: markov(function, history)
    if isinstance(fn, Iterable):
        return _steps(fn, history)
    if callable(fn):
        return _each_call(fn, history)
    raise ArgumentError(message("markov takes an iterable or a function.", got=repr(fn)))


def _steps(items: Iterable[Any], history: int) -> Iterator[Any]:
    loop = object()
    for item in items:
        perform(MarkovStep(name="", loop=loop, history=history))
        yield item
    perform(MarkovStep(name="", loop=loop, history=history, ends=True))


def _each_call(fn: Callable[..., Any], history: int) -> Callable[..., Any]:
    loop = object()

    @wraps(fn)
    def step(*args: Any, **kwargs: Any) -> Any:
        perform(MarkovStep(name="", loop=loop, history=history))
        return fn(*args, **kwargs)

    return step
