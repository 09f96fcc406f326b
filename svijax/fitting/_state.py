"""Everything one step hands to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax

from svijax.base import FreeParams, StateError, message
from svijax.density import constrain


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["free", "constraints", "optim_state", "mutable", "key_data", "step"],
    meta_fields=["key_impl"],
)
@dataclass(frozen=True)
class SVIState:
    """A pytree of plain arrays: any saver takes it, and it continues in another process as it would have here.

    ``free``: unconstrained parameters by name. ``constraints``: theirs, by name. ``key_data``: the key of the run, of
    which step t uses ``fold_in(key, t)`` and its place in the stream of noise. ``step``: steps taken.
    """

    free: FreeParams
    constraints: dict[str, Any]
    optim_state: Any
    mutable: dict[str, Any]
    key_data: jax.Array
    step: jax.Array
    key_impl: str

    @property
    def key(self) -> jax.Array:
        """The key of the run, typed."""
        return jax.random.wrap_key_data(self.key_data, impl=self.key_impl)

    @property
    def params(self) -> dict[str, Any]:
        """Constrained parameters by site name."""
        return {name: constrain(self.free[name], self.constraints[name]) for name in self.free}

    def having(self, **changes: Any) -> SVIState:
        return replace(self, **changes)


def optim_view(free: FreeParams) -> Any:
    """The parameters as the optimiser sees them: the packed arrays, or the dictionary by name."""
    return free.arrays if free.layout.packed else dict(free)


def from_view(view: Any, like: FreeParams) -> FreeParams:
    """The parameters again."""
    if like.layout.packed:
        return FreeParams(tuple(view), like.layout)
    return FreeParams(tuple(leaf for name in like for leaf in jax.tree.leaves(view[name])), like.layout)


def check_same(state: SVIState, expected: SVIState) -> None:
    """Raise unless the state has the parameters, optimiser state and mutables that this SVI's ``init`` makes."""
    got, want = state.free.layout, expected.free.layout
    if got.describe() != want.describe():
        raise StateError(
            message(
                "the state belongs to another SVI: its parameters are not those of this model and guide.",
                expected=_parameters(want.describe()),
                got=_parameters(got.describe()),
                fix="make a state with init of this SVI, or pass init_params= to start from its values.",
            )
        )
    if _structure(state) != _structure(expected):
        raise StateError(
            message(
                "the state belongs to another SVI: its optimiser state or mutable state has another structure.",
                expected=jax.tree.structure((expected.optim_state, expected.mutable)),
                got=jax.tree.structure((state.optim_state, state.mutable)),
                fix="use the optimiser that made the state, or start anew with init_params=svi.get_params(state).",
            )
        )


def _structure(state: SVIState) -> Any:
    """Of all but the order in which the parameters lie: it may be another on other data, and names find them anyhow."""
    return jax.tree.structure((state.constraints, state.optim_state, state.mutable)), state.key_impl


def _parameters(shapes: dict[str, tuple[tuple[int, ...], ...]]) -> str:
    return ", ".join(f"{n} {s[0] if len(s) == 1 else f'({len(s)} leaves)'}" for n, s in shapes.items())
