"""KL divergences in closed form: the registry of rules by pairs of families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, broadcast, message
from svijax.transforms import IdentityTransform, IndependentTransform

from ._distribution import Distribution
from ._expanded import ExpandedDistribution
from ._independent import Independent
from ._masked import MaskedDistribution
from ._transformed import TransformedDistribution

Rule = Callable[[Any, Any], Any]
Condition = Callable[[Any, Any], bool]


class _Entry(NamedTuple):
    rule: Rule
    when: Condition | None


_RULES: dict[tuple[type, type], _Entry] = {}


def register_kl(p: type, q: type, *, when: Condition | None = None) -> Callable[[Rule], Rule]:
    """Decorator: the function of ``(p, q)`` is KL(p || q) for these two classes, over the joint batch shape.

    The classes are matched exactly, so a subclass needs a rule of its own or ``_kl_as``, the class whose
    rules hold for it. ``Distribution`` stands for any class that has no rule of its own.

    :param when: whether the rule holds for this pair, told without computing it; None: always.
    """

    def add(rule: Rule) -> Rule:
        if (p, q) in _RULES:
            raise ArgumentError(message(f"KL({p.__name__} || {q.__name__}) has a rule already."))
        _RULES[p, q] = _Entry(rule, when)
        return rule

    return add


def kl_divergence(p: Any, q: Any) -> Any:
    """KL(p || q) = E_p[log p(x) - log q(x)] in closed form, over the joint batch shape of the two.

    inf where p has mass outside the support of q. Where the masks of two masked distributions are the same,
    masked entries are 0.

    :raises ArgumentError: there is no closed form; ``has_kl(p, q)`` tells beforehand.
    :raises ShapeError: the two are not over the same events, or their batches do not broadcast.
    """
    shape = _joint_batch(p, q)
    inner_p, inner_q = _unwrapped(p), _unwrapped(q)
    entry = _entry(inner_p, inner_q)
    if entry is None:
        raise ArgumentError(_no_rule(p, q))
    value = entry.rule(inner_p, inner_q)
    return broadcast(value, np.broadcast_shapes(np.shape(value), shape))


def has_kl(p: Any, q: Any) -> bool:
    """Whether ``kl_divergence(p, q)`` is known in closed form; nothing is computed."""
    return _entry(_unwrapped(p), _unwrapped(q)) is not None


def has_rule(p: type, q: type) -> bool:
    """Whether a rule is registered for exactly these classes."""
    return (p, q) in _RULES


def _entry(p: Any, q: Any) -> _Entry | None:
    """The rule that holds for this pair."""
    a, b = _family(p), _family(q)
    for pair in ((a, b), (a, Distribution), (Distribution, b)):
        entry = _RULES.get(pair)
        if entry is not None:
            return entry if entry.when is None or entry.when(p, q) else None
    return None


def _family(dist: Any) -> type:
    """The class whose rules hold for ``dist``."""
    # Of the class's own body: a subclass may have changed the density.
    twin = type(dist).__dict__.get("_kl_as")
    return type(dist) if twin is None else twin


def _unwrapped(dist: Any) -> Any:
    """``dist`` without the wrappers that change no density: copies over a batch, no axes, the mask True, x ↦ x."""
    while True:
        kind = type(dist)
        idle = (
            kind is ExpandedDistribution
            or (kind is Independent and dist.reinterpreted_batch_ndims == 0)
            or (kind is MaskedDistribution and dist.mask_value is True)
            or (kind is TransformedDistribution and all(map(_is_identity, dist.transforms)))
        )
        if not idle:
            return dist
        dist = dist.base_dist


def _is_identity(transform: Any) -> bool:
    while type(transform) is IndependentTransform:
        transform = transform.base
    return type(transform) is IdentityTransform


def _joint_batch(p: Any, q: Any) -> tuple[int, ...]:
    p_event, q_event = tuple(p.event_shape), tuple(q.event_shape)
    p_batch, q_batch = tuple(p.batch_shape), tuple(q.batch_shape)
    names = f"KL({type(p).__name__} || {type(q).__name__})"
    if p_event != q_event:
        raise ShapeError(
            message(
                f"{names}: the two are not over the same events.",
                expected=f"event_shape {p_event} for both",
                got=f"event_shape {q_event} for the second",
                fix="make batch axes part of the event with to_event(n), or expand.",
            )
        )
    try:
        return np.broadcast_shapes(p_batch, q_batch)
    except ValueError as error:
        raise ShapeError(
            message(f"{names}: the batch shapes do not broadcast.", got=f"{p_batch} and {q_batch}")
        ) from error


def describe(dist: Any) -> str:
    """The class, with those inside it: Independent(Normal)."""
    inner = getattr(dist, "base_dist", None)
    return type(dist).__name__ + ("" if inner is None else f"({describe(inner)})")


def _innermost(dist: Any) -> Any:
    inner = getattr(dist, "base_dist", None)
    return dist if inner is None else _innermost(inner)


def _no_rule(p: Any, q: Any) -> str:
    unequal = ""
    if type(p) is type(q) is MaskedDistribution:
        unequal = "; the masks of the two have to be the same, and known to be"
    classes = f"{_family(_innermost(p)).__name__}, {_family(_innermost(q)).__name__}"
    return message(
        f"KL({describe(p)} || {describe(q)}) is not known in closed form{unequal}.",
        fix="average p.log_prob(x) - q.log_prob(x) over draws x of p, "
        f"or register a rule with @register_kl({classes}).",
    )


def inf_unless(inside: Any, value: Any) -> Any:
    """``value`` where ``inside``, else inf."""
    value = jnp.asarray(value)
    return jnp.where(inside, value, jnp.asarray(jnp.inf, value.dtype))
