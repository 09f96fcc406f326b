"""Which weight gets which prior."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, ShapeError, UnknownNameError, message

Prior = Any
"""A distribution for all weights, a dictionary by path or pattern, or a function of (path, shape)."""

ALL, FUNCTION = "(all)", "(function)"


@dataclass(frozen=True)
class Choice:
    """The prior of one weight, in the weight's shape and all of it an event; ``rule``: the pattern that gave it."""

    path: str
    shape: tuple[int, ...]
    prior: Any
    rule: str


def choose(prior: Prior, weights: Mapping[str, Any], what: str) -> dict[str, Choice]:
    """The choice of each weight that gets a prior, by path. The first pattern that matches a weight wins.

    :param weights: arrays, or what has a shape, by dotted path. :param what: names the network in messages.
    :raises UnknownNameError: a pattern that matches no weight. :raises ArgumentError: one that comes too late,
        what is no distribution, or no prior for any weight. :raises ShapeError: a prior that does not fit its weight.
    """
    shapes = {path: tuple(jnp.shape(leaf)) for path, leaf in weights.items()}
    rules, found = _rules(prior, shapes, what), {}
    for path in shapes:
        given, rule = rules.get(path, (None, ""))
        if given is not None:
            found[path] = Choice(path, shapes[path], _as_weight(given, path, shapes[path], what), rule)
    if not found:
        raise ArgumentError(
            message(
                f"{what}: the prior says nothing of any weight.",
                expected=f"a prior for some of {list(shapes)}",
                fix="use the module without a prior (nnx_module, flax_module, eqx_module), or give one.",
            )
        )
    return found


def _rules(prior: Prior, shapes: Mapping[str, tuple[int, ...]], what: str) -> dict[str, tuple[Any, str]]:
    if isinstance(prior, Mapping):
        return _by_pattern(prior, list(shapes), what)
    if _is_distribution(prior):
        return dict.fromkeys(shapes, (prior, ALL))
    if callable(prior) and not isinstance(prior, type):
        function: Callable[..., Any] = prior
        return {path: (function(path, shape), FUNCTION) for path, shape in shapes.items()}
    raise ArgumentError(
        message(
            f"{what}: this is no prior.",
            expected="a distribution, a dictionary of them by path or pattern, or a function of (path, shape)",
            got=repr(prior),
        )
    )


def _by_pattern(prior: Mapping[str, Any], paths: list[str], what: str) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for pattern, given in prior.items():
        matched = [path for path in paths if path == pattern or fnmatchcase(path, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, paths, n=1)
            raise UnknownNameError(
                message(
                    f"{what}: the prior's pattern {pattern!r} matches no weight.",
                    expected=f"a pattern of some of {paths}",
                    fix=f"did you mean {near[0]!r}?" if near else "* stands for any characters, dots too.",
                )
            )
        new = [path for path in matched if path not in found]
        if not new:
            earlier = list(dict.fromkeys(found[path][1] for path in matched))
            raise ArgumentError(
                message(
                    f"{what}: every weight that the prior's pattern {pattern!r} matches has a prior already; "
                    "the first pattern that matches a weight wins.",
                    got=f"{matched}, taken by {earlier}",
                    fix=f"put {pattern!r} before {earlier[0]!r}.",
                )
            )
        found.update(dict.fromkeys(new, (given, pattern)))
    return found


def _is_distribution(x: Any) -> bool:
    wanted = ("sample", "log_prob", "batch_shape", "event_shape")
    return not isinstance(x, type) and all(hasattr(x, name) for name in wanted)


def _as_weight(given: Any, path: str, shape: tuple[int, ...], what: str) -> Any:
    """The distribution in the weight's shape, every axis of it an axis of the event."""
    if not _is_distribution(given):
        raise ArgumentError(
            message(
                f"{what}: the prior of {path!r} is no distribution.",
                expected="a distribution, or None to leave the weight a parameter",
                got=repr(given),
                fix="write Normal(0.0, 1.0), say.",
            )
        )
    batch, event = tuple(given.batch_shape), tuple(given.event_shape)
    target = shape[: max(len(shape) - len(event), 0)]
    fits = (*target, *event) == shape and len(batch) <= len(target)
    if not fits or any(a not in (1, b) for a, b in zip(batch[::-1], target[::-1])):
        raise ShapeError(
            message(
                f"{what}: the prior does not fit the weight {path!r}.",
                expected=f"a shape that broadcasts to {shape}",
                got=f"batch {batch} + event {event}",
                fix="give one for a single number, Normal(0.0, 1.0), or one of the weight's shape.",
            )
        )
    wide = given if batch == target else given.expand(target)
    return wide.to_event(len(target)) if target else wide
