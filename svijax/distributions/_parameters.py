"""How parameters become leaves: one dtype, one batch shape, checked where their values can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar
from typing import cast as cast_type

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ParameterError,
    ShapeError,
    as_array,
    broadcast,
    cast,
    float_dtype,
    is_concrete,
    message,
)
from svijax.transforms import Constraint, constraints

_Method = TypeVar("_Method", bound=Callable[..., Any])


def parameters(**constraint_of: Constraint) -> Mapping[str, Constraint]:
    """The constraints of a family's parameters by name, as an immutable mapping."""
    return MappingProxyType(constraint_of)


def traced_once(method: _Method) -> _Method:
    """``jax.jit`` of a method of distributions, so that a program which uses it often traces it once."""
    return cast_type(_Method, jax.jit(method))


def as_float(value: Any, dtype: Any) -> Any:
    """An observation as a floating array: integers and booleans take ``dtype``, the others keep their own."""
    value = as_array(value)
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else cast(value, dtype)


def promote(params: Mapping[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parameters as strongly typed arrays of one floating dtype; those in ``keep`` have one of their own."""
    arrays = {name: as_array(value) for name, value in params.items() if value is not None}
    floating = [value for name, value in arrays.items() if name not in keep]
    dtype = float_dtype(*floating) if floating else None
    return {name: cast(x, _own_dtype(x) if name in keep else dtype) for name, x in arrays.items()}


def _own_dtype(value: Any) -> Any:
    return jnp.result_type(value)


def check_axes(owner: str, arrays: Mapping[str, Any], event_dims: Mapping[str, int]) -> None:
    """Raise ``ShapeError`` where a parameter has fewer axes than one of its values."""
    for name, value in arrays.items():
        if np.ndim(value) < event_dims[name]:
            raise ShapeError(
                message(
                    f"{owner}: parameter {name.lstrip('_')!r} needs at least {event_dims[name]} axes.",
                    got=f"shape {np.shape(value)}",
                )
            )


def to_common_batch(
    owner: str, arrays: Mapping[str, Any], event_dims: Mapping[str, int], own: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Parameters broadcast against each other, but for the event axes of each; those in ``own`` stay as they are."""
    shapes = {name: np.shape(value) for name, value in arrays.items()}
    cuts = {name: len(shape) - event_dims[name] for name, shape in shapes.items()}
    try:
        batch = np.broadcast_shapes(*(shape[: cuts[name]] for name, shape in shapes.items()))
    except ValueError as error:
        listed = " and ".join(f"{name.lstrip('_')} {shape}" for name, shape in shapes.items())
        raise ShapeError(
            message(f"{owner}: the shapes of its parameters do not broadcast.", got=listed)
        ) from error
    return {
        name: value if name in own else broadcast(value, (*batch, *shapes[name][cuts[name] :]))
        for name, value in arrays.items()
    }


def check(owner: str, name: str, value: Any, constraint: Constraint) -> None:
    """Raise ``ParameterError`` where a value that can be read lies outside its constraint."""
    if isinstance(constraint, type(constraints.dependent)):
        return
    bounds = (getattr(constraint, field) for field in constraint._fields)
    if not all(is_concrete(part) or isinstance(part, Constraint) for part in (value, *bounds)):
        return
    host = np.asarray(value)
    inside = np.asarray(constraint(host))
    if inside.all():
        return
    index = tuple(int(i) for i in np.argwhere(~inside)[0])
    where = f" at index {index}" if index else ""
    bad = np.array2string(host[index], threshold=20, separator=", ")
    raise ParameterError(
        message(
            f"{owner}: parameter {name.lstrip('_')!r} is outside its constraint.",
            expected=constraint,
            got=f"{bad}{where}",
            fix="pass values inside it; validate_args=False switches this check off.",
        )
    )
