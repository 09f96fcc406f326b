"""What the bodies of ``scan`` and ``cond`` share: their sites are asked for outside once, and told outside once.

A body is run twice. In the rehearsal, an ordinary run, each of its sites goes out through the handlers, so that what
they have to say of it is known: a value, noise, a key, a mask, another name. Then the body runs inside the JAX control
flow with these answers, and what its sites became comes out and back to the handlers. The computations of the rehearsal
are read by nobody, and compiled away.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ModelError, as_key, message

from ._plate import within
from ._sites import (
    Deterministic,
    Factor,
    KeyRequest,
    Mutable,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    both,
)
from ._stack import Asked, Handler, ask, current_stack, outside, perform, tell, where

Stated = Sample | Factor | Deterministic


@dataclass(frozen=True, eq=False)
class Answer:
    """One site of a body as it was stated in the rehearsal, as it went out, and what came of it outside."""

    stated: Any
    request: Any
    asked: Asked
    key: Any

    @property
    def own(self) -> bool:
        """Whether the value is what the body itself says."""
        return self.asked.record.value is not None and self.asked.record.value is self.request.value

    @property
    def kept(self) -> tuple[str, ...]:
        """The inference options under which a handler outside kept the data of an observation that it took away."""
        held = self.request.value
        infer = getattr(self.asked.record, "infer", {})
        return tuple(name for name, x in infer.items() if held is not None and x is held)

    def arrays(self) -> dict[str, Any]:
        """What handlers outside gave for the site: ``value``, ``noise``, ``seen``."""
        record = self.asked.record
        if not isinstance(record, Sample):
            return {} if self.own else {"value": record.value}
        if record.enumeration is not None and record.enumeration.values is not None:
            return {}
        given = {"value": None if self.own else record.value, "noise": record.noise, "seen": record.seen}
        if record.value is not None or record.noise is self.request.noise:
            del given["noise"]
        return {name: x for name, x in given.items() if x is not None}


class Inside(Handler):
    """Stands between the body and the handlers outside of scan or cond, which hear nothing of what is stated in it."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.met: dict[str, Any] = {}
        self.answered: dict[str, Answer] = {}

    @abstractmethod
    def once(self, site: Any) -> Any:
        """The record of a param or plate, which is the same at each step."""

    @abstractmethod
    def key(self, site: KeyRequest) -> Any:
        """A key for ``prng_key()``."""

    @abstractmethod
    def answer(self, site: Any) -> tuple[Answer, dict[str, Any], Any]:
        """(answer, what was given for this step, the key of this step)."""

    def process(self, site: Site) -> Site:
        match site:
            case Mutable():
                raise ModelError(
                    message(
                        f"{where()} mutable {site.name!r} is stated inside svijax.{self.word}.",
                        expected="state that changes once a run of the program",
                        fix=f"state it outside of {self.word}, and carry what changes inside as part of its values.",
                    )
                )
            case Param() | ParamGroup() | PlateIndices():
                record = self.once(site)
                names = ("size", "whole", "padding") if isinstance(record, PlateIndices) else ()
                changes = {name: getattr(record, name) for name in names}
                return site.having(value=record.value, stop=True, **changes)
            case KeyRequest():
                return site.having(value=self.key(site), stop=True)
            case Sample() | Factor() | Deterministic():
                return self._with_answer(site)
        return site

    def post(self, site: Site) -> Site:
        if not isinstance(site, Sample | Factor | Deterministic):
            return site
        said: Any = site
        for handler in self._outer():
            if handler.sees_inside:
                said = handler.post(said)
        site = said
        self.met[site.name].update(parts_of(said))
        if isinstance(said, Sample | Factor) and said.enumeration is not None:
            self.met[site.name]["density"] = said.enumeration.density(said)
        if isinstance(site, Sample):
            for name in self.answered[site.name].kept:
                self.met[site.name]["data"] = site.infer[name]
            return site if site.seen is None else site.having(value=site.seen)
        return site

    def _with_answer(self, site: Stated) -> Stated:
        if site.name in self.met:
            raise ModelError(
                message(
                    f"{where()}: two sites are named {site.name!r} inside svijax.{self.word}.",
                    expected="a name of its own for each",
                    fix="rename one.",
                )
            )
        for handler in reversed(self._outer()):
            if handler.is_plate and isinstance(site, Sample | Factor):
                site = within(site, handler)
        answer, given, key = self.answer(site)
        self.met[site.name], self.answered[site.name] = {}, answer
        record = answer.asked.record
        if isinstance(site, Sample | Factor) and record.enumeration is not None:
            site = site.having(enumeration=record.enumeration)
        if not isinstance(site, Sample):
            return site.having(stop=True, **given)
        if record.enumeration is not None and record.enumeration.values is not None:
            return site.having(stop=True, value=record.enumeration.values, log_prob=None)
        if answer.own:
            return site.having(stop=True, observed=record.observed, seen=given.get("seen"))
        changes = {"value": None, "log_prob": None, "observed": record.observed, **given}
        if answer.kept:
            changes["infer"] = {**site.infer, **dict.fromkeys(answer.kept, site.value)}
        if site.key is None and key is not None:
            changes["key"] = lambda: key
        return site.having(stop=True, **changes)

    def _outer(self) -> tuple[Handler, ...]:
        stack = current_stack()
        return stack[: next(i for i, handler in enumerate(stack) if handler is self)]


class Rehearsal(Inside):
    """The first run of a body: asks for everything outside."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.answers: dict[str, Answer] = {}
        self.shared: list[Any] = []
        self.keys: list[Any] = []

    @abstractmethod
    def request(self, site: Any) -> Any:
        """The record that goes out for a site of the body."""

    @abstractmethod
    def part(self, site: Any, given: Any) -> Any:
        """What of something given belongs to this run of the body."""

    @abstractmethod
    def own_key(self, key: Any) -> Any:
        """The key of this run of the body."""

    def once(self, site: Any) -> Any:
        with outside(self):
            self.shared.append(perform(site))
        return self.shared[-1]

    def key(self, site: KeyRequest) -> Any:
        with outside(self):
            self.keys.append(perform(site).value)
        return None if self.keys[-1] is None else self.own_key(as_key(self.keys[-1]))

    def answer(self, site: Any) -> tuple[Answer, dict[str, Any], Any]:
        if isinstance(site, Sample):
            _check_pytree(site, self.word)
        request = self.request(site)
        with outside(self):
            asked = ask(request)
            key = _key_of(asked.record)
        answer = self.answers[site.name] = Answer(site, request, asked, key)
        given = {name: self.part(site, x) for name, x in answer.arrays().items()}
        return answer, given, None if key is None else self.own_key(key)


class Performance(Inside):
    """The run of a body inside the control flow: everything is known from the rehearsal.

    :param given: for this step, by site and kind. :param own_key: the key of this step from a key.
    """

    def __init__(
        self,
        rehearsal: Rehearsal,
        given: Mapping[str, dict[str, Any]],
        own_key: Callable[[Any], Any],
    ) -> None:
        super().__init__(rehearsal.word)
        self.rehearsal = rehearsal
        self.given = given
        self.own_key = own_key
        self._shared = iter(rehearsal.shared)
        self._keys = iter(rehearsal.keys)

    def once(self, site: Any) -> Any:
        return next(self._shared)

    def key(self, site: KeyRequest) -> Any:
        key = next(self._keys)
        return None if key is None else self.own_key(as_key(key))

    def answer(self, site: Any) -> tuple[Answer, dict[str, Any], Any]:
        answer = self.rehearsal.answers[site.name]
        return (
            answer,
            dict(self.given.get(site.name, {})),
            None if answer.key is None else self.own_key(answer.key),
        )


def parts_of(site: Stated) -> dict[str, Any]:
    """What of a site can differ from step to step, as arrays: value, distribution, mask and scale."""
    if isinstance(site, Deterministic):
        return {"value": jax.tree.map(jnp.asarray, site.value)}
    # A mask or scale that is no JAX array is the same at each step.
    parts = {name: x for name in ("mask", "scale") if isinstance(x := getattr(site, name), jax.Array)}
    if isinstance(site, Sample):
        parts["fn"] = site.fn
        if site.log_prob is not None:
            parts["log_prob"] = site.log_prob
    return {"value": site.value, **parts}


def tell_outside(answer: Answer, parts: Mapping[str, Any]) -> None:
    """Bring a site of a body back to the handlers outside, with its ``parts`` at all steps."""
    record = answer.asked.record
    changes = {name: x for name, x in parts.items() if name in ("fn", "log_prob")}
    if answer.own or record.value is None:
        changes["value"] = parts["value"]
    if isinstance(record, Sample | Factor):
        inner = {name: parts.get(name, getattr(answer.stated, name)) for name in ("mask", "scale")}
        changes["mask"] = both(inner["mask"], record.mask)
        scales = [x for x in (inner["scale"], record.scale) if x is not None]
        changes["scale"] = scales[0] * scales[1] if len(scales) == 2 else scales[0] if scales else None
    if isinstance(record, Sample):
        infer = {**record.infer, **dict.fromkeys(answer.kept, parts.get("data"))}
        changes |= {"infer": infer, "ahead": False, "noise": None, "seen": None}
    tell(record.having(**changes).resolve(where()), answer.asked.reached)


def _key_of(record: Any) -> Any:
    """The key that a latent is to be drawn with; None where none is needed or none is there."""
    if not isinstance(record, Sample) or record.value is not None or record.noise is not None:
        return None
    key = None if record.key is None else record.key()
    return None if key is None else as_key(key)


def _check_pytree(site: Sample, word: str) -> None:
    leaves = jax.tree.leaves(site.fn)
    if not all(isinstance(leaf, bool | int | float) or hasattr(leaf, "dtype") for leaf in leaves):
        raise ModelError(
            message(
                f"{where()} site {site.name!r}: its distribution cannot be used inside svijax.{word}.",
                expected="a pytree of arrays, as the distributions of svijax are",
                got=f"{type(site.fn).__module__}.{type(site.fn).__qualname__}",
                fix="register its class with jax.tree_util, its parameters as children.",
            )
        )
