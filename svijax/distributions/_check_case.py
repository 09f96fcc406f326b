"""The distribution under check, its draws, and a copy of it in double precision."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._check_report import Unseen

# Draws of one distribution: enough that a scale wrong by two per cent is seen. Fewer of each for large batches.
_DRAWS, _NUMBERS = 200_000, 4_000_000


class Case:
    """What the checks share."""

    def __init__(self, d: Any, key: jax.Array) -> None:
        self.d, self.key = d, key
        self.batch, self.event = tuple(d.batch_shape), tuple(d.event_shape)
        self.shape = (*self.batch, *self.event)
        self.is_discrete = bool(d.support.is_discrete)
        self.is_tree = not jax.tree_util.all_leaves([d])
        self.has_rsample = bool(getattr(d, "has_rsample", False))

    def subkey(self, i: int) -> jax.Array:
        """Key ``i`` of this check."""
        return jax.random.fold_in(self.key, i)

    @functools.cached_property
    def few(self) -> jax.Array:
        """Seven draws."""
        return self.d.sample(self.subkey(0), (7,))

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """Many draws, in their own precision."""
        count = max(2_000, min(_DRAWS, _NUMBERS // max(1, math.prod(self.shape))))
        return np.asarray(self.d.sample(self.subkey(1), (count,)))

    def cast(self, dtype: Any) -> Any:
        """The distribution with its floating leaves in ``dtype``; not a pytree: itself."""
        if not self.is_tree:
            return self.d

        def leaf(x: Any) -> Any:
            floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
            return np.asarray(x).astype(dtype) if floating else x

        return jax.tree.map(leaf, self.d)

    @functools.cached_property
    def float_leaves(self) -> list[int]:
        """The places of the leaves that have derivatives."""
        leaves = jax.tree.leaves(self.d) if self.is_tree else []
        return [i for i, x in enumerate(leaves) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

    def leaf_name(self, place: int) -> str:
        """The name of a leaf in messages."""
        paths = jax.tree_util.tree_flatten_with_path(self.d)[0]
        return jax.tree_util.keystr(paths[place][0]).lstrip("._")

    def wide_values(self, count: int) -> np.ndarray:
        """Some draws in double precision."""
        if self.is_discrete:
            raise Unseen("values are discrete")
        return self.draws[:count].astype(np.float64)
