"""What a prior says of a network, before any program runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._kinds import initial_weights
from ._paths import by_path
from ._priors import Prior, choose


def prior_table(
    module: Any,
    prior: Prior,
    *args: Any,
    input_shape: tuple[int, ...] | None = None,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
    **kwargs: Any,
) -> str:
    """Which weight gets which prior, and by which pattern, as text.

    :param module: of flax nnx, equinox, or linen (with its ``args`` or ``input_shape``); or a pytree of weights.
    :raises UnknownNameError, ArgumentError, ShapeError: as stating the random module would.
    """
    tree = initial_weights(module, args, kwargs, input_shape, apply_rng, mutable, None, "prior_table")
    leaves = by_path(tree)
    chosen = choose(prior, leaves, "prior_table")
    rows = []
    for path, leaf in leaves.items():
        shape = jnp.shape(leaf)
        told = (_in_words(chosen[path].prior), chosen[path].rule) if path in chosen else ("(parameter)", "")
        rows.append([path, str(shape), *told])
    return "\n".join([_columns(["weight", "shape", "prior", "by"], rows), "", _count(leaves, set(chosen))])


def initial_values(
    name: str,
    module: Any,
    prior: Prior,
    *args: Any,
    key: jax.Array | None = None,
    input_shape: tuple[int, ...] | None = None,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
    scope_divider: str = "/",
    **kwargs: Any,
) -> dict[str, Any]:
    """The module's own starting weights by the names of their latents, for ``init_to_value(values=...)``.

    A guide that starts at the median of a symmetric prior starts a network at zero, where it learns nothing.

    :param key: for linen modules, which have no weights of their own.
    """
    key = jax.random.key(0) if key is None else key
    tree = initial_weights(module, args, kwargs, input_shape, apply_rng, mutable, key, f"network {name!r}")
    leaves = by_path(tree)
    return {
        f"{name}{scope_divider}{path}": leaves[path] for path in choose(prior, leaves, f"network {name!r}")
    }


def _in_words(prior: Any) -> str:
    """The family of a prior, with its parameters where they are the same throughout."""
    base = prior
    while hasattr(base, "base_dist"):
        base = base.base_dist
    values = []
    for field in getattr(base, "_fields", ()):
        value = getattr(base, field)
        if value is None or not jnp.size(value):
            continue
        low, high = float(jnp.min(value)), float(jnp.max(value))
        values.append(f"{low:.3g}" if low == high else "...")
    return f"{type(base).__name__}({', '.join(values)})"


def _count(leaves: dict[str, Any], chosen: set[str]) -> str:
    sizes = {path: math.prod(jnp.shape(leaf)) for path, leaf in leaves.items()}
    random = sum(size for path, size in sizes.items() if path in chosen)
    return f"{random:,} of {sum(sizes.values()):,} weights have a prior."


def _columns(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
