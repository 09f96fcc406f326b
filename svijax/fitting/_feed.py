"""Where the arguments of a step come from: the same at each step, rows that are gathered, or batches from outside.

The rows of step t follow from the key of the run and t alone, so the position in the data is the state's step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, StaticArguments, join_arguments, message, site_key
from svijax.density import Program
from svijax.handlers import batch

from ._order import rows_of

ORDER = 2**31 - 2
"""Folded into the key of a run it gives the key of the order of rows: no step has this number."""


@dataclass(frozen=True)
class Call:
    """The arguments of one step. ``rows``, ``count``: of its minibatch, see ``svijax.handlers.batch``."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    spec: BatchSpec | None = None
    rows: Any = None
    count: Any = None

    def bind(self, program: Program) -> Program:
        """The program with the plate of its data in the size of all of them."""
        if self.spec is None:
            return program
        spec = self.spec
        return batch(
            program,
            plate=spec.plate,
            size=spec.length,
            rows=self.rows,
            count=self.count,
            length=spec.size,
            shards=spec.shards,
        )


@dataclass(frozen=True)
class BatchSpec:
    """What of ``Batches`` a compiled program depends on.

    ``length``: rows in all. ``size``: of a batch. ``rows``: the entry that holds row numbers.
    """

    plate: str
    length: int
    size: int
    shuffle: bool = True
    shards: int = 1
    rows: Any = None
    transform: Callable[..., Any] | None = None

    def call(
        self, data: Any, rest: tuple[Any, ...], static: StaticArguments, rows: Any, count: Any, key: Any
    ) -> Call:
        """The call on one batch."""
        if self.rows is not None:
            rows, data = data[self.rows], without(data, self.rows)
        if self.transform is not None:
            data = self.transform(site_key(key, "transform"), data)
        return Call(*_joined(data, rest, static), self, rows, count)

    def arguments(
        self, data: Any, rest: tuple[Any, ...], static: StaticArguments
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with these data in place of a batch, as they are."""
        return _joined(data if self.rows is None else without(data, self.rows), rest, static)


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["static", "axes"])
@dataclass(frozen=True)
class Whole:
    """The same arguments at each step. ``axes``: of the arrays that differ by chain; None where they do not."""

    arrays: tuple[Any, ...]
    static: StaticArguments
    axes: tuple[int | None, ...] | None = None

    def ahead(self, key: jax.Array, first: Any, count: int) -> Any:
        """Nothing needs to be known of the steps ahead."""
        return ()

    def call(self, ahead: Any, step: Any, key: Any) -> Call:
        """The arguments."""
        return Call(*join_arguments(self.arrays, self.static))

    @property
    def programs(self) -> tuple[Any, ...]:
        """Functions that a step calls to make its arguments."""
        return ()

    @property
    def chain_axes(self) -> Any:
        """As ``in_axes`` of ``jax.vmap``: where the chains lie."""
        return None if self.axes is None else replace(self, arrays=self.axes, axes=self.axes)

    def of_chain(self, index: int) -> Whole:
        """The feed of one chain."""
        if self.axes is None:
            return self
        taken = (
            x if axis is None else jax.lax.index_in_dim(jnp.asarray(x), index, axis, keepdims=False)
            for x, axis in zip(self.arrays, self.axes, strict=True)
        )
        return Whole(tuple(taken), self.static)


@dataclass(frozen=True)
class _OneForAll:
    """What the feeds of batches share."""

    @property
    def programs(self) -> tuple[Any, ...]:
        """Functions that a step calls to make its arguments."""
        spec: BatchSpec = self.spec  # type: ignore[attr-defined]
        return () if spec.transform is None else (spec.transform,)

    @property
    def chain_axes(self) -> Any:
        """No array differs by chain."""
        return None

    def of_chain(self, index: int) -> Any:
        """The feed itself."""
        return self


@partial(jax.tree_util.register_dataclass, data_fields=["data", "rest"], meta_fields=["static", "spec"])
@dataclass(frozen=True)
class InMemory(_OneForAll):
    """Rows of arrays on the device, each once in an epoch."""

    data: Any
    rest: tuple[Any, ...]
    static: StaticArguments
    spec: BatchSpec

    def ahead(self, key: jax.Array, first: Any, count: int) -> Any:
        """(rows, how many of them are real) of steps ``first`` ... ``first + count − 1``."""
        spec = self.spec
        order = jax.random.fold_in(key, ORDER)
        return rows_of(order, first, count, spec.length, spec.size, spec.shuffle, spec.shards)

    def call(self, ahead: Any, step: Any, key: Any) -> Call:
        """The arguments with the rows of this step."""
        rows, count = ahead
        data = jax.tree.map(lambda x: self._gather(x, rows), self.data)
        return self.spec.call(data, self.rest, self.static, rows, count, key)

    def _gather(self, x: Any, rows: Any) -> Any:
        shards = self.spec.shards
        if shards == 1:
            return jnp.take(x, rows, axis=0, mode="clip")
        # Shard by shard, so that on several devices each takes rows of its own block.
        block, own = x.shape[0] // shards, rows.reshape(shards, -1)
        own = own - block * jnp.arange(shards, dtype=own.dtype)[:, None]
        blocks = jnp.reshape(x, (shards, block, *x.shape[1:]))
        taken = jax.vmap(lambda part, i: jnp.take(part, i, axis=0, mode="clip"))(blocks, own)
        return jnp.reshape(taken, (rows.shape[0], *x.shape[1:]))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["data", "counts", "first", "rest"],
    meta_fields=["static", "spec"],
)
@dataclass(frozen=True)
class Group(_OneForAll):
    """Batches from outside, stacked: batch i is that of step ``first + i`` and has ``counts[i]`` real rows."""

    data: Any
    counts: Any
    first: Any
    rest: tuple[Any, ...]
    static: StaticArguments
    spec: BatchSpec

    def ahead(self, key: jax.Array, first: Any, count: int) -> Any:
        """Nothing: the batches are there."""
        return ()

    def call(self, ahead: Any, step: Any, key: Any) -> Call:
        """The arguments with the batch of this step."""
        index = step - self.first
        data, count = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), (self.data, self.counts)
        )
        return self.spec.call(data, self.rest, self.static, None, count, key)


Feed = Whole | InMemory | Group


def call_at(feed: Feed, key: jax.Array, step: Any) -> Call:
    """The call of one step of a single chain."""
    ahead = jax.tree.map(lambda x: x[0], feed.ahead(key, step, 1))
    return feed.call(ahead, step, jax.random.fold_in(key, step))


def _joined(
    data: Any, rest: tuple[Any, ...], static: StaticArguments
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A tuple goes before the other arguments, a dictionary to the keywords."""
    args, kwargs = join_arguments(rest, static)
    if isinstance(data, Mapping):
        twice = sorted(set(kwargs) & set(data))
        if twice:
            raise ArgumentError(
                message(
                    f"an argument is given to run and among the batches: {twice}.",
                    fix="leave it out of the one or the other.",
                )
            )
        return args, {**kwargs, **data}
    return (*(data if isinstance(data, tuple | list) else (data,)), *args), kwargs


def without(data: Any, entry: Any) -> Any:
    """A batch without the entry of its row numbers, if it has one."""
    if entry is None:
        return data
    if isinstance(data, Mapping):
        return {k: v for k, v in data.items() if k != entry}
    return tuple(x for i, x in enumerate(data) if i != entry)
