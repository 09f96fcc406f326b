"""Options by parameter: rates, schedules, freezing, whole optimisers, by name or pattern."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import optax

from svijax.base import ArgumentError, UnknownNameError, message

from ._cached import cached
from ._peers import Adam
from ._rate import check_rate, is_rate
from ._transformation import as_transformation, is_schedule

_DEFAULT = -1


def per_site(rules: Mapping[str, Any], default: Any = None) -> optax.GradientTransformationExtraArgs:
    """Another optimiser for each group of parameters, told apart by the names of their ``param`` sites.

    ``per_site({"w": optax.sgd(1e-2), "encoder*": 1e-4, "b_*": "freeze"}, default=1e-3)``

    :param rules: by name or pattern (``*``, ``?``, ``[...]``): a rate or a schedule for Adam, "freeze" (or
        the rate 0), or an optax transformation. Names go before patterns, earlier patterns before later ones.
    :param default: the same for parameters that no rule names; without it each must be named.
    :raises ArgumentError: a rule that is no option; or, at init, a parameter without a rule.
    :raises UnknownNameError: at init, a name or pattern that no parameter has.
    """
    if not isinstance(rules, Mapping):
        raise ArgumentError(message("per_site takes a dictionary of options by name.", got=repr(rules)))
    return _per_site(tuple(rules.items()), default)


@cached
def _per_site(rules: tuple[tuple[str, Any], ...], default: Any) -> optax.GradientTransformationExtraArgs:
    parts = {i: _option(rule, repr(pattern)) for i, (pattern, rule) in enumerate(rules)}
    if default is not None:
        parts[_DEFAULT] = _option(default, "default")
    patterns = tuple(pattern for pattern, _ in rules)
    grouped = optax.multi_transform(parts, lambda tree: _labels(patterns, tree))

    def init(params: Mapping[str, Any]) -> Any:
        _check(patterns, list(params), default is not None)
        return grouped.init(params)

    return optax.GradientTransformationExtraArgs(init, grouped.update)


def _option(rule: Any, name: str) -> optax.GradientTransformationExtraArgs:
    if isinstance(rule, str):
        if rule == "freeze":
            return as_transformation(optax.set_to_zero())
        raise ArgumentError(
            message(
                f"per_site: the option of {name} is not known.",
                expected="'freeze', a rate, ...",
                got=repr(rule),
            )
        )
    if is_rate(rule):
        rate = check_rate(rule, freezes=True)
        return _option("freeze", name) if isinstance(rate, float) and rate == 0.0 else Adam(rate)
    if not isinstance(rule, optax.GradientTransformation) and is_schedule(rule):
        return Adam(rule)
    return as_transformation(rule)


def _labels(patterns: tuple[str, ...], names: Iterable[str]) -> dict[str, int]:
    return {name: _rule_of(patterns, name) for name in names}


def _rule_of(patterns: tuple[str, ...], name: str) -> int:
    if name in patterns:
        return patterns.index(name)
    return next((i for i, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), _DEFAULT)


def _check(patterns: tuple[str, ...], names: list[str], has_default: bool) -> None:
    for pattern in patterns:
        if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.5)
            raise UnknownNameError(
                message(
                    f"per_site: no parameter matches {pattern!r}.",
                    expected=f"one of {names}",
                    got=repr(pattern),
                    fix=f"did you mean {near[0]!r}?" if near else "mend the pattern, or remove it.",
                )
            )
    bare = [name for name in names if _rule_of(patterns, name) == _DEFAULT]
    if bare and not has_default:
        raise ArgumentError(
            message(
                f"per_site: no rule for the parameters {bare}.",
                expected="a rule for each parameter, or a default",
                fix=f'per_site({{..., {bare[0]!r}: "freeze"}}), or per_site({{...}}, default=1e-2).',
            )
        )
