"""Reading the parameters of families that stand on a triangular factor of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from svijax.base import (
    ShapeError,
    as_array,
    broadcast,
    cast,
    cholesky,
    cholesky_of_inverse,
    float_dtype,
    message,
)
from svijax.transforms import Constraint

from ._distribution import Distribution
from ._logits import take_one
from ._parameters import check


def over_batch(dist: Distribution, name: str) -> Any:
    """The parameter ``name`` of ``_own_batch`` as a leaf, over the whole batch that ``loc`` has."""
    held, loc = dist._held(name), dist._held("loc")
    axes = dist._event_dim_of(name)
    # Whatever pytrees are rebuilt with is handed on.
    if np.ndim(loc) < 1 or np.ndim(held) < axes or not hasattr(held, "dtype") or not hasattr(loc, "dtype"):
        return held
    if isinstance(held, jax.ShapeDtypeStruct) or isinstance(loc, jax.ShapeDtypeStruct):
        return held
    return broadcast(held, (*np.shape(loc)[:-1], *np.shape(held)[np.ndim(held) - axes :]))


def scale_tril_of(
    owner: str, constraint_of: Mapping[str, Constraint], validate_args: bool | None, **given: Any
) -> Any:
    """The lower factor of a matrix, given by that matrix, its inverse or the factor: in this order."""
    take_one(owner, **given)
    place, name = next((i, name) for i, name in enumerate(given) if given[name] is not None)
    matrix = as_array(given[name])
    need_square(owner, name, matrix)
    matrix = cast(matrix, float_dtype(matrix))
    if validate_args is not False:
        check(owner, name, matrix, constraint_of[name])
    return matrix if place == 2 else (cholesky, cholesky_of_inverse)[place](matrix)


def need_square(owner: str, name: str, matrix: Any) -> int:
    """The number of rows; raises where the matrices are not square."""
    shape = np.shape(matrix)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(message(f"{owner}: {name!r} is not made of square matrices.", got=f"shape {shape}"))
    return int(shape[-1])


def as_vectors(owner: str, name: str, value: Any, size: int) -> Any:
    """``value`` as vectors of this size; a scalar or an axis of size 1 is repeated."""
    value = as_array(value)
    shape = np.shape(value) or (1,)
    if shape[-1] not in (1, size):
        raise ShapeError(
            message(
                f"{owner}: {name} and the matrix are of unlike size.",
                got=f"{name} {np.shape(value)} and matrices of {size} rows",
            )
        )
    return value if shape[-1] == size and np.ndim(value) else broadcast(value, (*shape[:-1], size))
