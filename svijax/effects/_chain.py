"""``scan`` in a run that enumerates: the body once, at all values of the step and of the one before.

Step 0 is run with the start of the carry. In every later step the enumerated sites of the step before stand along dims
of their own, so that one body gives the log densities at all pairs of values. Where the carry is nothing but enumerated
values, or what never changes, it is the same array at each step: then all steps are run at once, by ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, message

from ._inside import Answer
from ._sites import Deterministic, Sample, Steps
from ._stack import tell, where


@dataclass(frozen=True, eq=False)
class Chain:
    """The log density of a site of a scan: of step 0 as ``first``, of the later ones, one in a row, as ``rest``.

    ``dims``: by enumerated site of the scan, its own dim and the one of its value in the step before. Steps are in the
    order of the loop; ``reverse``: that is from the last row of the data to the first.
    """

    dims: Mapping[str, tuple[int, int]]
    first: Any
    rest: Any
    length: int
    reverse: bool


def chain_dims(answers: Mapping[str, Answer]) -> dict[str, tuple[int, int]]:
    """The dims of the enumerated sites of a body; empty where it has none."""
    out = {}
    for name, answer in answers.items():
        enumeration = getattr(answer.asked.record, "enumeration", None)
        if enumeration is not None and enumeration.before is not None:
            out[name] = (enumeration.dim, enumeration.before)
    return out


def later_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    carry: Any,
    inputs: Any,
    dims: Mapping[str, tuple[int, int]],
    values: tuple[Any, ...],
    reverse: bool,
) -> tuple[Any, Any]:
    """(last carry, what the steps after the first put out), from the carry after the first one.

    :param values: the enumerated values of the body.
    """
    inputs = jax.tree.map(lambda x: jnp.flip(x, 0)[1:] if reverse else x[1:], inputs)
    events = jax.tree.map(lambda x, start: _event_dims(x, start, dims), carry, init)
    before = _shifted(carry, events, dims)
    if _same_at_each_step(carry, init, values):
        return carry, jax.vmap(lambda x: step(before, x)[1])(inputs)

    def shifting(carry: Any, x: Any) -> tuple[Any, Any]:
        carry, out = step(carry, x)
        return _checked(_shifted(carry, events, dims), before), out

    last, out = jax.lax.scan(shifting, before, inputs)
    return _shifted(last, events, {name: (b, a) for name, (a, b) in dims.items()}), out


def _same_at_each_step(carry: Any, init: Any, values: tuple[Any, ...]) -> bool:
    """Whether each leaf of the carry is an enumerated value itself, or what it was at its place before."""
    starts = jax.tree.leaves(init)
    if len(jax.tree.leaves(carry)) != len(starts):
        return False

    def kept(leaf: Any, start: Any) -> bool:
        # Of two equal starts nobody knows which one the leaf is.
        return leaf is start and sum(x is start for x in starts) == 1

    return all(
        any(leaf is x for x in values) or kept(leaf, start)
        for leaf, start in zip(jax.tree.leaves(carry), starts, strict=True)
    )


def tell_chain(
    answer: Answer, first: Mapping[str, Any], rest: Mapping[str, Any] | None, chain: Chain, steps: Steps
) -> None:
    """Bring a site of the body back to the handlers outside, with its log densities at all steps."""
    record = answer.asked.record
    if isinstance(record, Deterministic):
        value = _joined(first["value"], None if rest is None else rest["value"], chain.reverse)
        if value is not None:
            tell(record.having(value=value), answer.asked.reached)
        return
    if "scale" in first:
        raise ModelError(
            message(
                f"{where()} site {answer.stated.name!r}: its scale is computed inside a scan that is enumerated.",
                expected="one number, the same at each step",
                fix="put handlers.scale around the scan.",
            )
        )
    changes: dict[str, Any] = {}
    scales = [x for x in (answer.stated.scale, record.scale) if x is not None]
    changes["scale"] = scales[0] * scales[1] if len(scales) == 2 else scales[0] if scales else None
    enumeration = record.enumeration
    if enumeration.before is not None:
        changes["value"] = enumeration.values
    elif answer.own:
        changes["value"] = _joined(first["value"], None if rest is None else rest["value"], chain.reverse)
    whole = replace(chain, first=first["density"], rest=None if rest is None else rest["density"])
    changes["enumeration"] = replace(enumeration, chain=whole)
    if isinstance(record, Sample):
        changes |= {"ahead": False, "noise": None, "seen": None}
    tell(record.having(**changes), answer.asked.reached)


def _joined(first: Any, rest: Any, reverse: bool) -> Any:
    """The value at all steps, in the order of the data; None where step 0 has another shape."""
    one = jnp.asarray(first)[None]
    if rest is None:
        return one
    if rest.shape[1:] != one.shape[1:]:
        return None
    whole = jnp.concatenate([one, rest])
    return jnp.flip(whole, 0) if reverse else whole


def joined_outputs(first: Any, rest: Any, reverse: bool) -> Any:
    """The outputs of all steps."""

    def join(a: Any, b: Any) -> Any:
        out = _joined(a, b, reverse)
        if out is None:
            raise ModelError(
                message(
                    f"{where()} scan: an output of the body depends on the enumerated value of the step before.",
                    expected="outputs that are the same function of the step at each step",
                    got=f"shape {jnp.shape(a)} at the first step, {jnp.shape(b)[1:]} at the others",
                    fix="leave it out of the outputs, and compute it from draws of svijax.infer_discrete.",
                )
            )
        return out

    return jax.tree.map(join, first, rest)


def _event_dims(x: Any, start: Any, dims: Mapping[str, tuple[int, int]]) -> int:
    """How many dims a leaf of the carry has right of its batch dims; −1: it depends on nothing that is enumerated.

    A leaf that does has a dim more than at the start, left of all those of plates.
    """
    if jnp.shape(x) == jnp.shape(start):
        return -1
    outside, ndim = min(-own for own, _ in dims.values()) - 1, jnp.ndim(start)
    found = [jnp.ndim(x) + own for own, _ in dims.values()]
    return min((n for n in found if max(0, ndim - outside) <= n <= ndim), default=-1)


def _shifted(carry: Any, events: Any, dims: Mapping[str, tuple[int, int]]) -> Any:
    """The carry as the next step reads it: what this step enumerates along the dims of the step before."""

    def leaf(x: Any, event: int) -> Any:
        x = jnp.asarray(x)
        if event < 0:
            return x
        for own, before in ((a - event, b - event) for a, b in dims.values()):
            if x.ndim >= -own and x.shape[own] != 1:
                x = x.reshape((*(1,) * max(0, -before - x.ndim), *x.shape))
                if x.shape[before] != 1:
                    raise _too_old()
                x = jnp.swapaxes(x, own, before)
        return x

    return jax.tree.map(leaf, carry, events)


def _checked(carry: Any, before: Any) -> Any:
    shapes = [jax.tree.map(jnp.shape, x) for x in (carry, before)]
    if shapes[0] != shapes[1]:
        raise _too_old()
    return jax.tree.map(lambda x, y: x.astype(y.dtype), carry, before)


def _too_old() -> ModelError:
    return ModelError(
        message(
            f"{where()} scan: the carry depends on enumerated values that are older than one step.",
            expected="a carry that is a function of what the step itself enumerates, and of what never changes",
            fix="for longer memory write the loop with svijax.markov(range(T), history=...), or enumerate pairs of "
            "states as one site.",
        )
    )
