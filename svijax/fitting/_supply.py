"""Which feed a run's chunks take: one for all of them, or one for each group of batches that is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import jax
import numpy as np

from svijax.base import ArgumentError, DataError, join_arguments, message, split_arguments

from ._batches import Batches
from ._chains import Chains
from ._feed import BatchSpec, Feed, Group, InMemory, Whole
from ._options import Options
from ._reader import Reader

FOREVER = sys.maxsize
"""Steps that a feed lasts which does not end."""

Place = Callable[[Feed], Any]
"""Puts a feed on the devices."""


@dataclass(frozen=True)
class Supply:
    """``first``: the feed that programs are compiled for. ``feeds``: each with the steps that it lasts.

    ``args``, ``kwargs``: what stands for the data after the run: all of them, or the first batch that was read.
    """

    first: Feed
    feeds: Iterator[tuple[Feed, int]]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@contextmanager
def supply_of(
    options: Options,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    place: Place,
    chains: Chains | None = None,
    steps: tuple[int, int] = (0, FOREVER),
    shards: int = 1,
) -> Iterator[Supply]:
    """The supply of a run; what reads batches in the background ends with it.

    ``steps``: where it begins and ends, counted from the run's first. ``shards``: blocks of rows that arrays lie in
    on the devices.
    """
    batches = options.batches
    if batches is None or batches.in_memory:
        feed = place(_feed(batches, args, kwargs, chains, shards))
        yield Supply(feed, iter([(feed, FOREVER)]), *_arguments(feed))
        return
    _check_chains(chains)
    rest, static = split_arguments(args, kwargs)
    spec = replace(_spec(batches, 1), shards=1)  # the rows of a batch from outside lie as they come
    begun = 0 if options.init_state is None else int(jax.device_get(options.init_state.step).max())
    with Reader(batches, skip=steps[0], limit=max(1, steps[1] - steps[0])) as reader:
        feeds = _groups(reader, rest, static, spec, place, begun + steps[0])
        first = next(feeds, None)
        if first is None:
            raise DataError(
                message(
                    "Batches: the iterable has no batches.",
                    got=repr(batches.data) + (f" after {steps[0]} batches" if steps[0] else ""),
                    fix="pass one that begins anew, or a function that makes an iterator for each epoch.",
                )
            )
        yield Supply(first[0], chain([first], feeds), *_arguments(first[0]))


def traced_feed(
    options: Options, args: tuple[Any, ...], kwargs: Mapping[str, Any], chains: Chains | None
) -> Feed:
    """The feed of a run that is part of a traced program."""
    if options.batches is not None and not options.batches.in_memory:
        raise ArgumentError(
            message(
                "batches that are read from outside need the host, and inside jit or vmap there is none.",
                fix="pass arrays to Batches, or call run outside of them.",
            )
        )
    return _feed(options.batches, args, kwargs, chains, 1)


def _feed(
    batches: Batches | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    chains: Chains | None,
    shards: int,
) -> Whole | InMemory:
    """The feed of arguments that are there as a whole."""
    arrays, static = split_arguments(args, kwargs)
    if batches is None:
        return Whole(arrays, static, None if chains is None else chains.axes(args, kwargs))
    _check_chains(chains)
    return InMemory(batches.data, arrays, static, _spec(batches, shards))


def _spec(batches: Batches, shards: int) -> BatchSpec:
    return BatchSpec(
        plate=batches.plate,
        length=batches.length,
        size=batches.size,
        shuffle=batches.shuffle,
        shards=max(batches.shards, shards),
        rows=batches.rows,
        transform=batches.transform,
    )


def _groups(
    reader: Reader, rest: tuple[Any, ...], static: Any, spec: BatchSpec, place: Place, step: int
) -> Iterator[tuple[Feed, int]]:
    """The groups that are read, each with the number of its batches; ``step``: that of the first."""
    for data, counts, number in reader:
        yield place(Group(data, counts, np.int32(step), rest, static, spec)), number
        step += number


def _arguments(feed: Feed) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What stands for the data after the run, as it was given: without ``transform``."""
    if isinstance(feed, Whole):
        return join_arguments(feed.arrays, feed.static)
    data = feed.data if isinstance(feed, InMemory) else jax.tree.map(lambda x: x[0], feed.data)
    return feed.spec.arguments(data, feed.rest, feed.static)


def _check_chains(chains: Chains | None) -> None:
    if chains is not None and chains.differs_in_data:
        raise ArgumentError(
            message(
                "Chains(args=) and Chains(kwargs=) say where whole arguments differ by chain, and batches= are none.",
                fix="one of the two: all chains take their batches from the same data.",
            )
        )
