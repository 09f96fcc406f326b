"""Which feed a run's chunks take: one for all of them, or one for each group of batches that is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from svijax.base import join_arguments, split_arguments

from ._chains import Chains
from ._feed import Feed, Whole
from ._options import Options

FOREVER = sys.maxsize
"""Steps that a feed lasts which does not end."""


@dataclass(frozen=True)
class Supply:
    """``first``: the feed that programs are compiled for. ``feeds``: each with the steps that it lasts.

    ``args``, ``kwargs``: what stands for the data after the run.
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
    place: Callable[[Feed], Any],
    chains: Chains | None = None,
    taken: int = 0,
) -> Iterator[Supply]:
    """The supply of a run; what reads batches in the background ends with it.

    ``place``: puts a feed on the devices. ``taken``: steps taken before.
    """
    arrays, static = split_arguments(args, kwargs)
    axes = None if chains is None else chains.axes(args, kwargs)
    feed = place(Whole(arrays, static, axes))
    yield Supply(feed, iter([(feed, FOREVER)]), *join_arguments(feed.arrays, static))


def traced_feed(
    options: Options, args: tuple[Any, ...], kwargs: Mapping[str, Any], chains: Chains | None
) -> Feed:
    """The feed of a run that is part of a traced program."""
    return Whole(*split_arguments(args, kwargs), None if chains is None else chains.axes(args, kwargs))
