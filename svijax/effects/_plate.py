"""Conditional independence: ``plate`` and ``plate_stack``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, ShapeError, message

from ._rows import row_count
from ._sites import Factor, Frame, MaskQuery, Param, PlateIndices, Sample, Site, Subsample, both
from ._stack import Handler, current_stack, perform, where


class plate:
    """Elements that are independent given what lies outside: their log densities add up along ``dim``.

    ``size`` elements; with ``subsample_size`` = B < size, B of them are drawn without replacement and every
    log density inside is scaled by size / B. ``with plate(...) as indices`` gives their indices.

    One name is one set of elements, in model and guide and wherever it is entered: element i of a site may
    depend on element i of the plate's other sites, and on what lies outside it, but on no other element.
    Gradients rely on it. Sites that read all elements of a plate stand outside it, or in a plate of another name.

    :param subsample_size: how many elements are in play; all if not given.
    :param dim: a negative dim of the batch shape; the next free one from the right if not given.
    :raises ArgumentError: sizes that are no ints or below 1, or a dim that is not negative.
    """

    def __init__(
        self, name: str, size: int, subsample_size: int | None = None, dim: int | None = None
    ) -> None:
        _check_sizes(name, size, subsample_size, dim)
        count = size if subsample_size is None else subsample_size
        site = perform(PlateIndices(name=name, size=int(size), subsample_size=int(count)))
        self.name = name
        self.dim = dim
        # A handler may have put in other rows, and those of a longer plate.
        self.size = site.size
        self.subsample_size = _count(site.value, name)
        # Who states the plate of a batch has the batch at hand, and numbers the rows of that.
        self.indices = site.value if site.size == size else np.arange(self.subsample_size)
        self._frame = Frame(name, self.size, self.subsample_size, 0, site.value, not site.whole, site.padding)

    def __enter__(self) -> Any:
        stack = current_stack()
        taken = {h.frame.dim: h.frame for h in stack if isinstance(h, _InPlate)}
        free = next(-d for d in range(1, len(taken) + 2) if -d not in taken)
        dim = free if self.dim is None else self.dim
        if any(frame.name == self.name for frame in taken.values()):
            raise ModelError(
                message(
                    f"{where()} plate {self.name!r} is entered inside itself.",
                    plates=taken.values(),
                    fix="give the inner plate another name.",
                )
            )
        if dim in taken:
            raise ModelError(
                message(
                    f"{where()} plate {self.name!r}: dim {dim} is taken by an enclosing plate.",
                    plates=taken.values(),
                    expected="one plate per dim",
                    got=f"dim={dim}",
                    fix=f"leave dim out, or use dim={free}.",
                )
            )
        _InPlate(replace(self._frame, dim=dim)).__enter__()
        return self.indices

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        inner = [h for h in current_stack() if isinstance(h, _InPlate) and h.frame.name == self.name]
        inner[-1].__exit__(kind, error, traceback)


class _InPlate(Handler):
    """Marks, expands and scales the sites inside a plate, and gathers full-size parameters and data."""

    is_plate = True

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def process(self, site: Site) -> Site:
        frame = self.frame
        match site:
            case Sample():
                fn = _expand(site, frame)
                expanded = site.expanded if fn is site.fn else (fn, site.stated)
                return site.having(
                    fn=fn, expanded=expanded, plates=(frame, *site.plates), **_weights(site, frame)
                )
            case Factor():
                value = _spread(site, frame)
                return site.having(value=value, plates=(frame, *site.plates), **_weights(site, frame))
            case MaskQuery():
                return site.having(value=_masked(site.value, frame))
            case Param():
                return site.having(plates=(frame, *site.plates))
            case Subsample():
                return site.having(value=_gather(site.value, frame, site.event_dim, "the data"))
        return site

    def post(self, site: Site) -> Site:
        if isinstance(site, Param) and site.event_dim is not None and site.value is not None:
            dims, what = site.event_dim, f"param {site.name!r}"
            return site.having(
                value=jax.tree.map(lambda x: _gather(x, self.frame, dims, what, table=True), site.value)
            )
        return site


def within(site: Sample | Factor, handler: Handler) -> Sample | Factor:
    """The site in the shape that the plate gives it."""
    if not isinstance(handler, _InPlate):
        return site
    if isinstance(site, Sample):
        return site.having(fn=_expand(site, handler.frame))
    return site.having(value=_spread(site, handler.frame))


@contextmanager
def plate_stack(prefix: str, sizes: Sequence[int], rightmost_dim: int = -1) -> Iterator[None]:
    """Plates over a shape: ``{prefix}_0`` of the last size at ``rightmost_dim``, ``{prefix}_1`` left of it, ..."""
    with ExitStack() as stack:
        for i, size in enumerate(reversed(tuple(sizes))):
            stack.enter_context(plate(f"{prefix}_{i}", size, dim=rightmost_dim - i))
        yield


def _count(indices: Any, name: str) -> int:
    count = row_count(indices)
    if count is None:
        raise ShapeError(
            message(
                f"{where()} plate {name!r}: its indices, which a handler put in, are no vector.",
                expected="shape (number of rows,)",
                got=jnp.shape(indices),
            )
        )
    return count


def _check_sizes(name: str, size: int, subsample_size: int | None, dim: int | None) -> None:
    for label, number in (("size", size), ("subsample_size", subsample_size), ("dim", dim)):
        if isinstance(number, jax.core.Tracer):
            raise ArgumentError(
                message(
                    f"{where()} plate {name!r}: {label} must be a number that is known before the program runs.",
                    got="a traced value",
                    fix="take it from a shape (X.shape[0]), or pass it to the model as a Python int.",
                )
            )
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | np.integer)):
            raise ArgumentError(
                message(
                    f"{where()} plate {name!r}: {label} must be an int.",
                    got=f"{number!r}, a {type(number).__name__}",
                    fix="take it from a shape (X.shape[0]).",
                )
            )
    if size < 1 or (subsample_size is not None and not 1 <= subsample_size <= size):
        raise ArgumentError(
            message(
                f"{where()} plate {name!r}: the sizes do not fit.",
                expected="1 <= subsample_size <= size",
                got=f"size {size}, subsample_size {subsample_size}",
                fix="leave subsample_size out to use every element.",
            )
        )
    if dim is not None and dim >= 0:
        raise ArgumentError(
            message(
                f"{where()} plate {name!r}: dim counts from the right of the batch shape.",
                expected="a negative dim, -1 for the last",
                got=dim,
                fix="leave dim out for the next free one.",
            )
        )


def _weights(site: Sample | Factor, frame: Frame) -> dict[str, Any]:
    """The site's scale and mask with those of the plate."""
    scale = site.scale
    if not frame.is_whole:
        scale = frame.ratio if scale is None else scale * frame.ratio
    return {"scale": scale, "mask": _masked(site.mask, frame)}


def _masked(mask: Any, frame: Frame) -> Any:
    return mask if frame.padding is None else both(mask, frame.padding.mask(frame.dim))


def _expand(site: Sample, frame: Frame) -> Any:
    shape = tuple(site.fn.batch_shape)
    target = _target_shape(site, shape, frame)
    return site.fn if target == shape else site.fn.expand(target)


def _spread(site: Factor, frame: Frame) -> Any:
    shape = tuple(jnp.shape(site.value))
    target = _target_shape(site, shape, frame)
    return site.value if target == shape else jnp.broadcast_to(site.value, target)


def _target_shape(site: Sample | Factor, shape: tuple[int, ...], frame: Frame) -> tuple[int, ...]:
    missing = max(0, -frame.dim - len(shape))
    full = (*(1,) * missing, *shape)
    found = full[frame.dim]
    if found == frame.subsample_size:
        return full
    if found != 1:
        observed = isinstance(site, Sample) and site.observed
        data = " The data has another length than the plate." if observed else ""
        raise ShapeError(
            message(
                f"{where()} site {site.name!r} does not fit its plate {frame.name!r}.{data}",
                plates=(frame, *site.plates),
                expected=f"{frame.subsample_size} (or 1) at dim {frame.dim} of the batch shape",
                got=f"batch shape {shape}",
                fix=_plate_remedy(frame, found),
            )
        )
    target = list(full)
    target[frame.dim] = frame.subsample_size
    return tuple(target)


def _plate_remedy(frame: Frame, found: int) -> str:
    if frame.subsampled and found == frame.size:
        return (
            "take the rows in play: svijax.subsample(data, event_dim=...) or data[indices] inside the plate."
        )
    return f"write svijax.plate({frame.name!r}, {found}), or move dims of one element out with .to_event()."


def _gather(x: Any, frame: Frame, event_dim: int, what: str, table: bool = False) -> Any:
    """The rows of ``x`` in play. Data may have been gathered before; a ``table`` of parameters may not."""
    axis = frame.dim - event_dim
    shape = jnp.shape(x)
    if -axis > len(shape) or shape[axis] == 1:
        return x
    if shape[axis] == frame.size:
        return jnp.take(x, frame.rows, axis=axis) if frame.subsampled else x
    if shape[axis] == frame.subsample_size and not table:
        return x
    raise ShapeError(
        message(
            f"{where()} plate {frame.name!r}: {what} has another length than the plate.",
            plates=(frame,),
            expected=f"{frame.size} at dim {axis}" + ("" if table else f", or {frame.subsample_size}"),
            got=shape,
            fix=f"give it one entry per element of the plate, or mend event_dim={event_dim}.",
        )
    )
