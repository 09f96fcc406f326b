"""The mesh of a run: what its options ask for, and how a run stands on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding

from svijax.base import ArgumentError, message

from ._feed import Feed
from ._sharding import Placement
from ._state import SVIState


def placement_of(
    mesh: Mesh | None,
    data_axis: str | None = None,
    chain_axis: str | None = None,
    particle_axis: str | None = None,
    arrays: Any = (),
) -> Placement | None:
    """The placement that the options of a run ask for, None for one device.

    Without ``mesh`` it is that of ``arrays`` if the user has put one of them on several devices.

    :raises ArgumentError: what is no mesh, or no axis of it.
    """
    axes = {"data_axis": data_axis, "chain_axis": chain_axis, "particle_axis": particle_axis}
    asked = {option: axis for option, axis in axes.items() if axis is not None}
    mesh = _mesh_of(arrays) if mesh is None else mesh
    if mesh is None:
        if asked:
            option, axis = next(iter(asked.items()))
            raise ArgumentError(
                message(
                    f"{option}={axis!r} is an axis of a mesh, and there is none.",
                    fix=f"add mesh=jax.make_mesh((jax.device_count(),), ({axis!r},)).",
                )
            )
        return None
    if not isinstance(mesh, Mesh):
        raise ArgumentError(
            message(
                "mesh= takes a jax.sharding.Mesh.", got=repr(mesh), fix="jax.make_mesh(shape, axis_names)."
            )
        )
    for option, axis in asked.items():
        if axis not in mesh.axis_names:
            raise ArgumentError(
                message(f"{option} is no axis of the mesh.", expected=mesh.axis_names, got=repr(axis))
            )
        if list(asked.values()).count(axis) > 1:
            raise ArgumentError(
                message(
                    f"the axis {axis!r} of the mesh can hold one thing only.",
                    got=f"{' and '.join(k for k, v in asked.items() if v == axis)} = {axis!r}",
                    fix="a mesh with an axis for each: jax.make_mesh((2, 4), ('chains', 'data')).",
                )
            )
    # Axes of type Explicit would put shardings into the types that the user's programs see.
    return Placement(Mesh(mesh.devices, mesh.axis_names), data_axis, chain_axis, particle_axis)


def check_counts(placement: Placement, num_chains: int | None, noise_rows: int) -> None:
    """Raise where chains or particles cannot be shared out among the devices of their axis."""
    chains = (placement.chain_axis, num_chains, "chain", "num_chains=")
    particles = (placement.particle_axis, noise_rows, "particle", "num_particles= of the objective")
    for axis, count, what, option in (chains, particles):
        size = placement.size(axis)
        if axis is not None and (count is None or count % size):
            raise ArgumentError(
                message(
                    f"{what}_axis={axis!r} has {size} devices, and the {what}s cannot be shared out among them.",
                    expected=f"a multiple of {size}",
                    got="a single fit" if count is None else f"{count} {what}s",
                    fix=f"change {option}, or use a mesh with fewer devices along {axis!r}.",
                )
            )


def placed(placement: Placement | None, model: Callable[..., Any], feed: Feed) -> Any:
    """The data of a run on the devices: moved once, not at every chunk."""
    return jax.device_put(feed) if placement is None else placement.feed(feed, model)


def settled(
    placement: Placement | None, state: SVIState, given: Mapping[str, Any] | None
) -> tuple[Placement | None, SVIState]:
    """(the placement with the specs of the state's parameters, the state on the devices). ``given``: see ``on``."""
    if placement is None:
        return None, state
    placement = placement.on(state, given)
    return placement, placement.put(state, state)


@contextmanager
def standing_on(placement: Placement | None) -> Iterator[None]:
    """Inside ``jax.set_mesh`` of a mesh with explicit axes, the mesh of the run in its place."""
    if placement is None or jax.sharding.get_abstract_mesh().empty:
        yield
        return
    with jax.set_mesh(placement.mesh):
        yield


def handed_back(placement: Placement | None, tree: Any) -> Any:
    """Results on the mesh that the caller stands on: nothing is moved."""
    context = jax.sharding.get_mesh()
    if placement is None or context.empty or AxisType.Explicit not in context.axis_types:
        return tree

    def leaf(x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return x
        return jax.device_put(x, NamedSharding(context, x.sharding.spec))  # type: ignore[attr-defined]

    return jax.tree.map(leaf, tree)


def _mesh_of(arrays: Any) -> Mesh | None:
    """The mesh of several devices that one of the arrays lies on."""
    shardings = (getattr(x, "sharding", None) for x in jax.tree.leaves(arrays))
    found = (s.mesh for s in shardings if isinstance(s, NamedSharding) and s.mesh.size > 1)
    return next((m for m in found if isinstance(m, Mesh)), None)
