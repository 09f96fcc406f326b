"""Runs over the devices of several processes: data from each, and decisions that are the same on all.

Every process runs the same program in the same order. What a clock, a callback or an interrupt decides on one of them
is therefore told to the others between chunks, by one small broadcast.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from svijax.base import ArgumentError, DataError, message


def share(mesh: Mesh, data_axis: str, arrays: Any) -> Any:
    """Global arrays whose rows are those of all processes, in their order; ``arrays`` are the rows of this one.

    A pytree of arrays with equally many rows on each process; together they lie along ``data_axis`` of the mesh. Each
    process calls it, and only its own rows are in its memory. With one process it places the arrays on the mesh.

    :raises ArgumentError: no axis of the mesh. :raises DataError: rows that are not as many on each process, or that
        its devices cannot share out evenly.
    """
    if not isinstance(mesh, Mesh) or data_axis not in mesh.axis_names:
        raise ArgumentError(
            message(
                "data_axis is no axis of the mesh.",
                expected=getattr(mesh, "axis_names", "a jax.sharding.Mesh"),
                got=repr(data_axis),
            )
        )
    processes = spanned(mesh)
    own = mesh.shape[data_axis] // min(processes, mesh.shape[data_axis])
    leaves, structure = jax.tree.flatten_with_path(arrays)
    lengths = np.array([np.shape(x)[0] if np.ndim(x) else 0 for _, x in leaves], np.int64)
    everywhere = multihost_utils.process_allgather(lengths) if processes > 1 else lengths[None]
    for i, (path, _) in enumerate(leaves):
        found = np.asarray(everywhere)[:, i]
        if (found != found[0]).any() or found[0] % own or not found[0]:
            raise DataError(
                message(
                    f"share: the rows of array{jax.tree_util.keystr(path)} do not fit the devices.",
                    expected=f"as many rows on each process, a multiple of {own}, which is its devices "
                    f"along {data_axis!r}",
                    got=f"{', '.join(map(str, found))} rows on processes 0 to {len(found) - 1}"
                    if processes > 1
                    else f"{found[0]} rows",
                    fix=f"give each process {max(int(found.min()) // own, 1) * own} rows.",
                )
            )
    sharding = NamedSharding(mesh, PartitionSpec(data_axis))
    make = partial(jax.make_array_from_process_local_data, sharding)
    return jax.tree.unflatten(structure, [make(np.asarray(x)) for _, x in leaves])


def spanned(mesh: Mesh | None) -> int:
    """How many processes the devices of a mesh belong to."""
    return 1 if mesh is None else len({device.process_index for device in mesh.devices.flat})


def read(x: Any) -> np.ndarray:
    """The array on the host, all of it, on every process."""
    return np.asarray(gathered(x))


def gathered(tree: Any) -> Any:
    """Arrays that this process has but a part of, as a whole on each of its devices."""

    def leaf(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        whole = NamedSharding(x.sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
        return moved(x, whole)

    return jax.tree.map(leaf, tree)


@partial(jax.jit, static_argnums=1)
def moved(x: jax.Array, sharding: NamedSharding) -> jax.Array:
    """A global array where it shall lie; ``jax.device_put`` does not move typed keys between processes."""
    return jax.lax.with_sharding_constraint(x, sharding)


class Hosts:
    """The processes of one run, 1 or more: what the first of them decides, all do."""

    def __init__(self, mesh: Mesh | None) -> None:
        self.several = spanned(mesh) > 1

    @property
    def leads(self) -> bool:
        """Whether this process shows bars and writes files."""
        return not self.several or jax.process_index() == 0

    def first(self, number: int) -> int:
        """The number of the first process."""
        if not self.several:
            return number
        return int(multihost_utils.broadcast_one_to_all(np.int32(number)))

    def most(self, number: int) -> int:
        """The largest of the processes' numbers."""
        if not self.several:
            return number
        return int(np.max(multihost_utils.process_allgather(np.int32(number))))

    @contextmanager
    def interrupts(self) -> Iterator[Callable[[], bool]]:
        """Whether this process was interrupted, to be asked between chunks; the second time it is at once.

        With one process an interrupt raises where it comes, as always.
        """
        heard: list[bool] = []
        if not self.several or threading.current_thread() is not threading.main_thread():
            yield lambda: False
            return

        def hear(number: int, frame: Any) -> None:
            if heard:
                raise KeyboardInterrupt
            heard.append(True)

        before = signal.signal(signal.SIGINT, hear)
        try:
            yield lambda: bool(heard)
        finally:
            signal.signal(signal.SIGINT, before)
