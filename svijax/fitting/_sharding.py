"""Where the arrays of a run lie on several devices: rows of data, chains, or particles along an axis of a mesh.

The compiler partitions the program of one device, so that every number is that of one device to rounding. Each device
has rows of the data and all of the parameters; what it must be told is only that the parameters stay whole in the loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from svijax.base import ArgumentError, DataError, FreeParams, as_key, is_array, join_arguments, message
from svijax.density import Draws

from ._feed import BatchSpec, Feed, InMemory, Whole
from ._hosts import moved
from ._state import SVIState, from_view, optim_view

WHOLE = PartitionSpec()
"""Each device has all of the array."""


@dataclass(frozen=True)
class Placement:
    """A mesh whose axes are the compiler's business, and which of them rows, chains and particles lie along.

    ``view``: the specs of the parameters as the optimiser sees them, chains first; none while they are not known.
    """

    mesh: Mesh
    data_axis: str | None = None
    chain_axis: str | None = None
    particle_axis: str | None = None
    view: tuple[PartitionSpec, ...] = ()

    def size(self, axis: str | None) -> int:
        """How many devices an axis has; 1 for none."""
        return 1 if axis is None else int(self.mesh.shape[axis])

    @property
    def shards(self) -> int:
        """Blocks of rows that the data lie in."""
        return self.size(self.data_axis)

    def sharding(self, *names: str | None) -> NamedSharding:
        """The sharding along these axes of the mesh, a name or None for each of the array's."""
        return NamedSharding(self.mesh, PartitionSpec(*names))

    # Before the loop

    def key(self, key: jax.Array) -> jax.Array:
        """The key of a run, on each device."""
        alone = key.addressable_data(0) if isinstance(key, jax.Array) and key.is_fully_replicated else key
        made = as_key(alone)
        # Its data, because typed keys cannot be put on the devices of other processes.
        data = jax.device_put(np.asarray(jax.random.key_data(made)), self.sharding())
        return jax.random.wrap_key_data(data, impl=str(jax.random.key_impl(made)))

    def spread(self, keys: jax.Array) -> jax.Array:
        """The keys of the chains, where the chains lie."""
        return moved(keys, self._of_chains(keys.ndim == 1))

    def start(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Starting values on the devices, those that the user has sharded as they are."""
        return {
            name: jax.tree.map(lambda x, name=name: self._put(f"init_params {name!r}", x, WHOLE), value)
            for name, value in given.items()
        }

    def feed(self, feed: Feed, model: Callable[..., Any]) -> Feed:
        """The data of a run on the devices; arrays that lie on the mesh already stay as they are.

        :raises DataError: a length that the axis does not divide. :raises ArgumentError: an array on other devices.
        """
        names = _names(feed, model)
        if isinstance(feed, Whole):
            axes = feed.axes or (None,) * len(feed.arrays)
            put = zip(names, feed.arrays, axes, strict=True)
            return replace(feed, arrays=tuple(self._whole(name, x, axis) for name, x, axis in put))
        rest = tuple(self._put(name, x, WHOLE) for name, x in zip(names, feed.rest, strict=True))
        if isinstance(feed, InMemory):
            spec = self._in_blocks(feed.spec)
            return replace(feed, data=self._rows(feed.data, WHOLE), rest=rest, spec=spec)
        self._in_blocks(feed.spec)
        counts, first = (jax.device_put(x, self.sharding()) for x in (feed.counts, feed.first))
        return replace(
            feed, data=self._rows(feed.data, PartitionSpec(None)), counts=counts, first=first, rest=rest
        )

    def on(self, state: SVIState, given: Mapping[str, Any] | None = None) -> Placement:
        """With the specs of the parameters: of those that the user has sharded the user's, whole ones for the others.

        ``given``: starting values by name; without them those of the state itself count.
        """
        chained = bool(np.ndim(state.step))
        arrays = state.free.arrays if given is None else _slots(state.free, given)
        lead = (self.chain_axis,) if chained else ()
        own = given is not None

        def spec(x: Any) -> PartitionSpec:
            found = self._placed(x)
            if found is None or found == WHOLE:
                return PartitionSpec(*lead) if chained and self.chain_axis else WHOLE
            return PartitionSpec(*(lead or (None,) * chained), *found) if own else found

        specs = optim_view(FreeParams(tuple(map(spec, arrays)), state.free.layout))
        return replace(self, view=tuple(jax.tree.leaves(specs)))

    def put(self, carry: Any, state: SVIState) -> Any:
        """A carry, or a state, on the devices."""
        return jax.device_put(carry, self._shardings(carry, state))

    # Inside the loop

    def keep(self, carry: Any, state: SVIState) -> Any:
        """The carry where it was put, so that the next chunk finds it there."""
        return jax.lax.with_sharding_constraint(carry, self._shardings(carry, state))

    def keep_losses(self, losses: Any) -> Any:
        """The losses, of shape (steps,) or (steps, chains)."""
        names = (None, self.chain_axis) if losses.ndim == 2 and self.chain_axis else ()
        return jax.lax.with_sharding_constraint(losses, self.sharding(*names))

    def keep_view(self, view: Any, chained: bool = False) -> Any:
        """The parameters where they were put, and by transposition their gradient.

        Otherwise the sharding of the data may spread into them, and they are gathered over and over.
        """
        leaves, structure = jax.tree.flatten(view)
        specs = [self._inner(s, x.ndim) if chained else s for s, x in zip(self.view, leaves, strict=True)]
        kept = [
            jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, s))
            for s, x in zip(specs, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, kept)

    def draws(self, draw: Callable[[jax.Array, Any], Draws], key: jax.Array, first: Any) -> Draws:
        """The noise of steps from ``first``, each device that of its own chains, which is what it would be alone."""
        axis = self.chain_axis
        if axis is None or not key.ndim:
            return draw(key, first)
        noise, keys = PartitionSpec(None, None, None, axis), PartitionSpec(None, axis)
        specs = Draws(noise, noise, keys)  # type: ignore[arg-type]
        own = jax.shard_map(
            draw, mesh=self.mesh, in_specs=(PartitionSpec(axis), WHOLE), out_specs=specs, axis_names={axis}
        )
        return own(key, first)

    def keep_draws(self, draws: Draws) -> Draws:
        """The noise of a step, particles first: each device evaluates its own particles."""
        if self.particle_axis is None:
            return draws

        def along(x: Any) -> Any:
            chains = self.chain_axis if x.ndim == 3 else None
            sharding = self.sharding(self.particle_axis, *(None, chains)[: x.ndim - 1])
            return jax.lax.with_sharding_constraint(x, sharding)

        return Draws(along(draws.normal), along(draws.uniform), draws.key)

    def _inner(self, spec: PartitionSpec, ndim: int) -> PartitionSpec:
        """Inside the loop vectors have their chains last."""
        names = (*spec, *(None,) * (ndim - len(spec)))
        return PartitionSpec(names[1], names[0]) if ndim == 2 else PartitionSpec(*names)

    # How

    def _of_chains(self, chained: bool) -> NamedSharding:
        return self.sharding(self.chain_axis) if chained and self.chain_axis else self.sharding()

    def _shardings(self, carry: Any, state: SVIState) -> Any:
        """For each leaf: trees like the parameters (moments, averages) lie as these do, all else by its chains."""
        view = optim_view(state.free)
        structure: Any = jax.tree.structure(view)
        shapes = [np.shape(x) for x in jax.tree.leaves(view)]
        rest = self._of_chains(bool(np.ndim(state.step)))
        like = [NamedSharding(self.mesh, spec) for spec in self.view]

        def is_view(tree: Any) -> bool:
            return bool(shapes) and bool(structure == jax.tree.structure(tree))

        def subtree(tree: Any) -> Any:
            if is_view(tree) and [np.shape(x) for x in jax.tree.leaves(tree)] == shapes:
                return jax.tree.unflatten(structure, like)
            if isinstance(tree, FreeParams):
                return from_view(jax.tree.unflatten(structure, like), tree)
            return jax.tree.map(lambda _: rest, tree)

        return jax.tree.map(subtree, carry, is_leaf=lambda x: is_view(x) or isinstance(x, FreeParams))

    def _whole(self, name: str, x: Any, chain_dim: int | None) -> Any:
        """An argument that all steps see: rows first, or chains where it differs by chain."""
        if chain_dim is not None:
            return self._put(name, x, PartitionSpec(*(None,) * chain_dim, self.chain_axis))
        return self._put(name, x, WHOLE, rows=True)

    def _in_blocks(self, spec: BatchSpec) -> BatchSpec:
        """Batches that take as many rows from the block of each device."""
        shards = spec.shards if spec.shards > 1 else self.shards
        if shards % self.shards or spec.size % shards:
            raise ArgumentError(
                message(
                    f"the batches cannot be shared out along the axis {self.data_axis!r} of the mesh.",
                    expected=f"a size, and shards if you state them, that are multiples of {self.shards} devices",
                    got=f"size {spec.size}"
                    + (f", shards {spec.shards}" if spec.shards not in (1, self.shards) else ""),
                    fix=f"Batches(..., size={max(spec.size // self.shards, 1) * self.shards}).",
                )
            )
        return replace(spec, shards=shards)

    def _rows(self, data: Any, before: PartitionSpec) -> Any:
        leaves, structure = jax.tree.flatten_with_path(data)
        put = [
            self._put(f"array {jax.tree_util.keystr(path)} of batches", x, before, rows=True)
            for path, x in leaves
        ]
        return jax.tree.unflatten(structure, put)

    def _put(self, name: str, x: Any, before: PartitionSpec, rows: bool = False) -> Any:
        """``x`` with the axes of ``before`` along the mesh, and then its rows."""
        found = self._placed(x)
        if found is not None:
            return jax.device_put(x, NamedSharding(self.mesh, found))
        shape, dim = np.shape(x), len(before)
        if not rows or self.data_axis is None or dim >= len(shape):
            return jax.device_put(x, NamedSharding(self.mesh, before))
        if shape[dim] % self.shards:
            raise DataError(
                message(
                    f"{name}: its rows cannot be shared out along the axis {self.data_axis!r} of the mesh.",
                    expected=f"a length that {self.shards} devices divide",
                    got=f"{shape[dim]} rows, shape {shape}",
                    fix=f"leave out {shape[dim] % self.shards} rows (x[:{shape[dim] - shape[dim] % self.shards}]); "
                    "or, if it has no rows of data, place it yourself, "
                    "jax.device_put(x, NamedSharding(mesh, PartitionSpec())).",
                )
            )
        return jax.device_put(x, NamedSharding(self.mesh, PartitionSpec(*before, self.data_axis)))

    def _placed(self, x: Any) -> PartitionSpec | None:
        """The spec of an array that the user has put on this mesh; None of one that lies on a single device."""
        sharding = getattr(x, "sharding", None)
        if not isinstance(sharding, NamedSharding) or sharding.mesh.size == 1:
            return None
        mesh = sharding.mesh
        if sharding.is_fully_replicated and mesh.devices.size != self.mesh.devices.size:
            return None  # the end of a run on another mesh
        if mesh.axis_names == self.mesh.axis_names and np.array_equal(mesh.devices, self.mesh.devices):
            return PartitionSpec(*sharding.spec)
        raise ArgumentError(
            message(
                "an array lies on another mesh than the run.",
                expected=f"the mesh {dict(self.mesh.shape)} of this run",
                got=f"shape {np.shape(x)} on {dict(mesh.shape)}",
                fix="give the run the mesh that the array lies on, or move the array with jax.device_put.",
            )
        )


def _slots(free: FreeParams, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """For each array of the parameters the starting value that it is as a whole, if there is one of its shape."""
    slots: list[Any] = [None] * len(free.arrays)
    for name, value in given.items():
        for leaf, x in zip(free.layout.leaves_of(name), jax.tree.leaves(value)):
            if leaf.offset is None and leaf.shape == np.shape(x):
                slots[leaf.slot] = x
    return tuple(slots)


def _names(feed: Feed, model: Callable[..., Any]) -> list[str]:
    """What to call the arrays among the arguments, in their order."""
    arrays = feed.arrays if isinstance(feed, Whole) else feed.rest
    call = join_arguments(arrays, feed.static)
    shift = 0
    if not isinstance(feed, Whole) and not isinstance(feed.data, Mapping):
        shift = len(feed.data) if isinstance(feed.data, tuple | list) else 1
    try:
        words = list(inspect.signature(model).parameters)
    except (TypeError, ValueError):  # a callable without a signature
        words = []
    names = []
    for path, x in jax.tree_util.tree_leaves_with_path(call):
        if not is_array(x):
            continue
        place: Any = path[1]
        inner = jax.tree_util.keystr(path[2:])
        if path[0] == jax.tree_util.SequenceKey(0):
            index = place.idx + shift
            word = repr(words[index]) if index < len(words) else str(index)
        else:
            word = repr(place.key)
        names.append(f"argument {word}{inner}")
    return names
