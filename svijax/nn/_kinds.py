"""Which package a module is of. None of them is imported for the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import _equinox, _linen, _nnx

NNX, LINEN, EQUINOX, TREE = "nnx", "linen", "equinox", "tree"


def kind_of(module: Any) -> str:
    """The package of a module; "tree" for anything else, which then is a pytree of weights."""
    for base in type(module).__mro__:
        root = base.__module__
        if root.startswith("flax.nnx"):
            return NNX
        if root.startswith("flax.linen"):
            return LINEN
        if root.startswith("equinox") and base.__name__ == "Module":
            return EQUINOX
    return TREE


def initial_weights(
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    input_shape: tuple[int, ...] | None,
    apply_rng: Sequence[str] | None,
    mutable: Sequence[str] | None,
    key: jax.Array | None,
    what: str,
) -> Any:
    """The weights of a module as it stands; those of a linen module by ``key``, or their shapes without one."""
    kind = kind_of(module)
    if kind == NNX:
        return _nnx.taken_apart(module, what).params
    if kind == EQUINOX:
        return _equinox.taken_apart(module, None, what)[0]
    if kind == LINEN:
        init = _linen.initialiser(module, args, kwargs, input_shape, apply_rng, mutable, what)
        params = lambda key: init(key)[0]  # noqa: E731
        return jax.eval_shape(params, jax.random.key(0)) if key is None else params(key)
    return jax.tree.map(jnp.asarray, module)
