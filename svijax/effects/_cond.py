"""``cond``: a choice between two branches that state the same sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, ShapeError, message

from ._inside import Answer, Performance, Rehearsal, tell_outside
from ._sites import Deterministic, Sample
from ._stack import where

Parts = dict[str, dict[str, Any]]


def cond(
    pred: Any, true_fun: Callable[[Any], Any], false_fun: Callable[[Any], Any], operand: Any = None
) -> Any:
    """``jax.lax.cond`` whose branches may state sites: ``true_fun(operand)`` or ``false_fun(operand)``.

    Both state the same sites, in one order, with distributions of one class and shape. Each is one site of the program,
    which has the parameters, the observation, the mask and the scale of the branch that is taken, so that its log
    density is that of this branch. A ``param`` may stand in one branch alone. ``mutable`` is refused.

    Statements of svijax inside a bare ``jax.lax.cond`` are no substitute: their values leave it as tracers.

    :param pred: one boolean. For a choice by element use ``jnp.where`` on parameters, or ``handlers.mask``.
    :raises ModelError: the branches differ in their sites. :raises ShapeError: ``pred`` is an array.
    """
    if jnp.shape(pred) != ():
        raise ShapeError(
            message(
                f"{where()} cond: pred is one boolean.",
                expected="shape ()",
                got=jnp.shape(pred),
                fix="choose by element with jnp.where on the parameters, or with svijax.handlers.mask.",
            )
        )
    if_true = _Branch()
    with if_true:
        true_fun(operand)
    if_false = _Branch(if_true)
    with if_false:
        false_fun(operand)
    _check_same(if_true, if_false)
    example = _common(if_true, if_false)
    given = {name: answer.arrays() for name, answer in if_true.answers.items()}

    def run(branch: Callable[[Any], Any], rehearsal: _Branch) -> Callable[[Any], Any]:
        def taken(inputs: tuple[Any, Mapping[str, dict[str, Any]]]) -> tuple[Any, Parts]:
            operand, here = inputs
            performance = Performance(rehearsal, here, lambda key: key)
            with performance:
                out = branch(operand)
            parts = _with_weights(performance.met, rehearsal, example)
            return out, jax.tree.map(_like, parts, example)

        return taken

    choice = jnp.asarray(pred).astype(bool)
    out, met = jax.lax.cond(choice, run(true_fun, if_true), run(false_fun, if_false), (operand, given))
    for name, answer in if_true.answers.items():
        tell_outside(answer, met[name])
    return out


class _Branch(Rehearsal):
    """A branch for what its sites are; the second takes the answers that the ``first`` was given."""

    def __init__(self, first: _Branch | None = None) -> None:
        super().__init__("cond")
        self.first = first

    def answer(self, site: Any) -> tuple[Answer, dict[str, Any], Any]:
        if self.first is None:
            return super().answer(site)
        known = self.first.answers.get(site.name)
        if known is None:
            raise _differ(site.name, "is stated by false_fun only", list(self.first.answers), None)
        _check_site(known.stated, site)
        if _fixed_support(known) and known.stated.fn.support != site.fn.support:
            supports = known.stated.fn.support, site.fn.support
            raise _differ(site.name, "has two supports, which an autoguide cannot follow", *supports)
        self.answers[site.name] = Answer(site, known.request, known.asked, known.key)
        return self.answers[site.name], known.arrays(), known.key

    def request(self, site: Any) -> Any:
        if isinstance(site, Deterministic):
            return site
        ahead = {"ahead": True, "log_prob": None} if isinstance(site, Sample) else {}
        return site.having(mask=None, scale=None, **ahead)

    def part(self, site: Any, given: Any) -> Any:
        return given

    def own_key(self, key: Any) -> Any:
        return key


def _common(if_true: _Branch, if_false: _Branch) -> Parts:
    """What both branches give, of the dtypes that hold the parts of either."""
    weights = [_weights(a, if_false.answers[name]) for name, a in if_true.answers.items()]
    sides = []
    for branch in (if_true, if_false):
        parts = {}
        for (name, answer), kinds in zip(branch.answers.items(), weights, strict=True):
            own = {kind: x for kind, x in branch.met[name].items() if kind not in ("mask", "scale")}
            parts[name] = {**own, **{kind: _weight(answer, kind, branch.met[name]) for kind in kinds}}
        sides.append(parts)
    a, b = sides
    for name, x in a.items():
        one: Any = jax.tree.structure(x)
        if one != jax.tree.structure(b[name]):
            raise _differ(name, "holds its parameters in two ways", _tree(x), _tree(b[name]))
        shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(parts)] for parts in (x, b[name])]
        if shapes[0] != shapes[1]:
            raise _differ(name, "has values or parameters of two shapes", *shapes)
    struct = lambda x, y: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x, y))  # noqa: E731
    return jax.tree.map(struct, a, b)


def _weights(a: Answer, b: Answer) -> tuple[str, ...]:
    """Which of mask and scale are not the same numbers in both branches."""
    if isinstance(a.stated, Deterministic):
        return ()
    pairs = {kind: (getattr(a.stated, kind), getattr(b.stated, kind)) for kind in ("mask", "scale")}
    return tuple(kind for kind, (x, y) in pairs.items() if not _same(x, y))


def _same(x: Any, y: Any) -> bool:
    numbers = all(isinstance(w, bool | int | float) for w in (x, y))
    return (x is None and y is None) or (numbers and x == y)


def _weight(answer: Answer, kind: str, met: Mapping[str, Any]) -> Any:
    """Mask or scale of a branch over the batch shape, also where it has none."""
    site = answer.stated
    weight = met.get(kind, getattr(site, kind))
    shape = tuple(site.fn.batch_shape) if isinstance(site, Sample) else jnp.shape(site.value)
    if kind == "mask":
        return jnp.broadcast_to(jnp.asarray(True if weight is None else weight, bool), shape)
    return jnp.broadcast_to(jnp.asarray(1.0 if weight is None else weight), shape)


def _with_weights(met: Parts, branch: _Branch, example: Parts) -> Parts:
    out = {}
    for name, kinds in example.items():
        answer = branch.answers[name]
        out[name] = {
            kind: _weight(answer, kind, met[name]) if kind in ("mask", "scale") else met[name][kind]
            for kind in kinds
        }
    return out


def _like(x: Any, example: Any) -> Any:
    return jax.lax.convert_element_type(x, example.dtype)


def _check_same(if_true: _Branch, if_false: _Branch) -> None:
    names, others = list(if_true.answers), list(if_false.answers)
    missing = [name for name in names if name not in others]
    if missing:
        raise _differ(missing[0], "is stated by true_fun only", names, others)
    if names != others:
        raise _differ(names[0], "and others are stated in two orders", names, others)


def _check_site(a: Any, b: Any) -> None:
    kinds = [type(site).__name__.lower() for site in (a, b)]
    if kinds[0] != kinds[1]:
        raise _differ(a.name, "is of two kinds", *kinds)
    if not isinstance(a, Sample):
        return
    for what, x, y in (
        ("has distributions of two classes", type(a.fn).__name__, type(b.fn).__name__),
        ("has distributions of two shapes", _shapes(a), _shapes(b)),
        ("is observed in one branch only", _state(a), _state(b)),
        ("stands in different plates", [str(f) for f in a.plates], [str(f) for f in b.plates]),
    ):
        if x != y:
            raise _differ(a.name, what, x, y)


def _fixed_support(answer: Answer) -> bool:
    """Whether the value given for a site was made for one support."""
    record = answer.asked.record
    return isinstance(record, Sample) and bool(record.infer.get("fixed_support", False))


def _shapes(site: Sample) -> str:
    return (
        f"draws {site.sample_shape}, batch {tuple(site.fn.batch_shape)}, event {tuple(site.fn.event_shape)}"
    )


def _state(site: Sample) -> str:
    return "observed" if site.observed else "latent" if site.value is None else "latent with a value"


def _tree(parts: Mapping[str, Any]) -> str:
    fn = parts.get("fn")
    held = [name for name in getattr(fn, "_fields", ()) if getattr(fn, name) is not None]
    return (
        f"{type(fn).__name__} of {[name.lstrip('_') for name in held]}, and {[k for k in parts if k != 'fn']}"
    )


def _differ(name: str, what: str, in_true: Any, in_false: Any) -> ModelError:
    return ModelError(
        message(
            f"{where()} cond: site {name!r} {what}.",
            expected=f"the same in both branches; true_fun: {in_true}",
            got=f"false_fun: {in_false}" if in_false is not None else f"false_fun: {name!r} too",
            fix="state the same sites in both branches, with distributions of one class and shape.",
        )
    )
