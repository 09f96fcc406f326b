"""``scan``: a loop over time whose body may state sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, ShapeError, message

from ._chain import Chain, chain_dims, joined_outputs, later_steps, tell_chain
from ._inside import Answer, Performance, Rehearsal, tell_outside
from ._sites import Deterministic, Sample, Steps
from ._stack import where

Carry = TypeVar("Carry")


def scan(
    f: Callable[[Carry, Any], tuple[Carry, Any]],
    init: Carry,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    history: int = 1,
) -> tuple[Carry, Any]:
    """``jax.lax.scan`` whose body may state sites: (last carry, stacked outputs) of ``carry, y = f(carry, x)``.

    Each site of ``f`` is one site of the program, its steps along an axis on the left of its batch shape: ``x`` of
    shape () in ``f`` is a site of shape (T,), by whatever handler it is seen, and in a plate of 10 around the scan,
    or inside ``f``, one of shape (T, 10). So values for it, a mask or a scale are given for all steps at once. A
    ``param`` and the rows of a plate are the same at each step. ``mutable`` is refused: carry the state.

    Statements of svijax inside a bare ``jax.lax.scan`` are no substitute: their values leave the loop as tracers.

    :param length: the number of steps, where ``xs`` has no arrays. :param reverse: from the last step to the first.
    :param history: how many steps back the body reads; for the enumeration of discrete sites.
    :raises ArgumentError: no steps, or two numbers of them. :raises ModelError: two sites of one name in the body, or
        a mutable.
    """
    if not isinstance(history, int) or history < 0:
        raise ArgumentError(message(f"{where()} scan: history is a number of steps.", got=repr(history)))
    steps = Steps(_length(xs, length), history)
    first = steps.length - 1 if reverse else 0
    # As arrays, so that nobody takes the numbers of the first step for those of all steps.
    init = jax.tree.map(jnp.asarray, init)
    rehearsal = _FirstStep(steps, first)
    with rehearsal:
        carry, y = f(init, jax.tree.map(lambda x: jnp.asarray(x)[first], xs))
    given = {name: _time_first(answer) for name, answer in rehearsal.answers.items()}

    def step(carry: Carry, inputs: tuple[Any, Any, Any]) -> tuple[Carry, Any]:
        x, index, here = inputs
        performance = Performance(rehearsal, here, lambda key: jax.random.fold_in(key, index))
        with performance:
            carry, y = f(carry, x)
        return carry, (y, performance.met)

    inputs = (xs, jnp.arange(steps.length, dtype=jnp.uint32), given)
    dims = chain_dims(rehearsal.answers)
    if dims:
        return _enumerated(step, init, carry, y, inputs, rehearsal, dims, reverse)
    last, (ys, met) = jax.lax.scan(step, init, inputs, length=steps.length, reverse=reverse)
    for name, answer in rehearsal.answers.items():
        tell_outside(answer, _over_steps(answer, met[name], steps))
    return last, ys


def _enumerated(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    carry: Any,
    y: Any,
    inputs: Any,
    rehearsal: _FirstStep,
    dims: dict[str, tuple[int, int]],
    reverse: bool,
) -> tuple[Any, Any]:
    """The loop in a run that enumerates sites of the body; its first step was the rehearsal."""
    steps, rest = rehearsal.steps, None
    chain = Chain(dims, None, None, steps.length, reverse)
    ys = jax.tree.map(lambda x: jnp.asarray(x)[None], y)
    if steps.length > 1:
        values = tuple(rehearsal.answers[name].asked.record.enumeration.values for name in dims)
        carry, (later, rest) = later_steps(step, init, carry, inputs, dims, values, reverse)
        ys = joined_outputs(y, later, reverse)
    for name, answer in rehearsal.answers.items():
        tell_chain(answer, rehearsal.met[name], None if rest is None else rest[name], chain, steps)
    return carry, ys


class _FirstStep(Rehearsal):
    """The step that is run first, for what its sites are: what goes out for one stands for all steps."""

    def __init__(self, steps: Steps, index: int) -> None:
        super().__init__("scan")
        self.steps = steps
        self.index = index

    def request(self, site: Any) -> Any:
        steps = (self.steps, *site.steps)
        axis = _axis(site)
        value = None if site.value is None else jax.tree.map(lambda x: self._repeated(x, axis), site.value)
        if not isinstance(site, Sample):
            return site.having(value=value, steps=steps, **_unweighed(site))
        fn = site.fn.expand((self.steps.length, *site.fn.batch_shape))
        return site.having(fn=fn, value=value, steps=steps, ahead=True, log_prob=None, **_unweighed(site))

    def part(self, site: Any, given: Any) -> Any:
        return jax.tree.map(lambda x: jnp.take(jnp.asarray(x), self.index, axis=_axis(site)), given)

    def own_key(self, key: Any) -> Any:
        return jax.random.fold_in(key, np.uint32(self.index))

    def _repeated(self, x: Any, axis: int) -> Any:
        x = jnp.asarray(x)
        return jnp.repeat(jnp.expand_dims(x, min(axis, x.ndim)), self.steps.length, axis=min(axis, x.ndim))


def _axis(site: Any) -> int:
    """Where the steps lie in values of a site: on the left of the batch shape, after the axes of draws."""
    return len(site.sample_shape) if isinstance(site, Sample) else 0


def _unweighed(site: Any) -> dict[str, Any]:
    # Those of the body may differ from step to step; they come in afterwards.
    return {} if isinstance(site, Deterministic) else {"mask": None, "scale": None}


def _time_first(answer: Answer) -> dict[str, Any]:
    axis, record = _axis(answer.request), answer.asked.record
    arrays = answer.arrays()
    for name, x in arrays.items():
        if isinstance(record, Sample) and name != "noise" and jnp.shape(x) != record.shape:
            raise ShapeError(
                message(
                    f"{where()} site {record.name!r}: the value given for it has not the shape of the site.",
                    plates=record.plates,
                    expected=f"{record.shape}, the steps of the scan first",
                    got=jnp.shape(x),
                    fix="give values for all steps at once.",
                )
            )
    return {name: jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), x) for name, x in arrays.items()}


def _over_steps(answer: Answer, met: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """The parts of a site at all steps, as the parts of one site."""
    site = answer.stated
    parts = dict(met)
    if isinstance(site, Deterministic):
        return parts
    batch = len(site.fn.batch_shape) if isinstance(site, Sample) else jnp.ndim(site.value)
    if isinstance(site, Sample):
        axis = _axis(site)
        parts["fn"] = _stacked(site, met["fn"], steps)
        for name in ("value", "log_prob", "data"):
            if name in parts:
                parts[name] = jnp.moveaxis(parts[name], 0, axis)
    for name in ("mask", "scale"):
        if name in parts:
            x = parts[name]
            parts[name] = x.reshape((x.shape[0], *(1,) * (batch - x.ndim + 1), *x.shape[1:]))
    return parts


def _stacked(site: Sample, fn: Any, steps: Steps) -> Any:
    if not hasattr(site.fn, "over_steps"):
        raise ModelError(
            message(
                f"{where()} site {site.name!r}: its distribution cannot be used inside svijax.scan.",
                expected="a subclass of svijax.distributions.Distribution",
                got=f"{type(site.fn).__module__}.{type(site.fn).__qualname__}",
                fix="wrap it: svijax.interop.wrap(d).",
            )
        )
    return site.fn.over_steps(fn, steps.length)


def _length(xs: Any, length: int | None) -> int:
    found = {jnp.shape(x)[:1] for x in jax.tree.leaves(xs)}
    if () in found:
        raise ShapeError(
            message(
                f"{where()} scan: an entry of xs is one number.",
                expected="arrays with the steps on their first axis",
                fix="read what is the same at each step from outside of the body.",
            )
        )
    sizes = sorted({n for (n,) in found} | ({length} if length is not None else set()))
    if len(sizes) != 1:
        raise ArgumentError(
            message(
                f"{where()} scan: "
                + ("nothing says how many steps there are." if not sizes else "two lengths."),
                expected="one number of steps",
                got=sizes or None,
                fix="pass length=, or xs with the steps on the first axis of every array.",
            )
        )
    if sizes[0] < 1:
        raise ArgumentError(
            message(
                f"{where()} scan: there are no steps, so nothing says which sites the body has.",
                expected="one step at least",
                got=sizes[0],
                fix="leave the scan out where the data are empty.",
            )
        )
    return int(sizes[0])
