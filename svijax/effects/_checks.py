"""What a record must be before it counts: a distribution, a value of its shape, weights that weigh."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from svijax.base import ModelError, ShapeError, message
from svijax.transforms import Constraint, Record

if TYPE_CHECKING:
    from ._sites import Factor, Sample


def check_weights(site: Sample | Factor, where: str, shape: tuple[int, ...]) -> None:
    """Raise where a mask or scale would add entries to the site's log density instead of weighing them."""
    for kind, weight in (("mask", site.mask), ("scale", site.scale)):
        got = jnp.shape(weight) if weight is not None else ()
        if site.enumeration is not None:
            # Left of the nesting the weight may be a function of enumerated values.
            got = got[max(len(got) - site.enumeration.nesting, 0) :]
        if len(got) > len(shape) or any(n not in (1, want) for n, want in zip(got[::-1], shape[::-1])):
            raise ShapeError(
                message(
                    f"{where} site {site.name!r}: the {kind} does not fit the batch shape.",
                    plates=site.plates,
                    expected=f"a shape that broadcasts to {shape}",
                    got=got,
                    fix=f"reshape the {kind}: one entry per batch element, none for the dims of an event.",
                )
            )


def check_shape(site: Sample, where: str) -> None:
    """Raise unless the value has exactly the shape of its site: nothing broadcasts in silence."""
    got, want = jnp.shape(site.value), site.shape
    if got == want or fits_enumerated(site, got):
        return
    kind = "observation" if site.observed else "value"
    hints = _rows_hint(site, got, kind)
    if math.prod(got) == math.prod(want):
        hints.append(f"reshape the {kind} to {want}")
    if not hints and len(got) >= len(want):
        hints.append(f"give the site that shape with .expand({list(got)}) or a plate of that size")
    elif len(got) < len(want) and got in ((), want[len(want) - len(got) :]):
        hints.append(f"broadcast it yourself: jnp.broadcast_to({kind}, {want})")
    raise ShapeError(
        message(
            f"{where} site {site.name!r}: the shape of the {kind} is not the shape of the site.",
            plates=site.plates,
            expected=f"{want} = batch {tuple(site.fn.batch_shape)} + event {tuple(site.fn.event_shape)}",
            got=got,
            fix="; or ".join(hints or [f"give the {kind} that shape"]) + ".",
        )
    )


def fits_enumerated(site: Sample, got: tuple[int, ...], own: bool = False) -> bool:
    """Whether a value of this shape is the site's in a run that enumerates, ``own``: as an enumerated value.

    In the dims of plates and events it has the site's shape, or size 1 in plates if it was enumerated; to the left of
    them what a run enumerates broadcasts.
    """
    if site.enumeration is None:
        return False
    event = len(site.fn.event_shape)
    if len(got) < event or got[len(got) - event :] != tuple(site.fn.event_shape):
        return False
    own = own or site.enumeration.dim is not None
    batch, shape = got[: len(got) - event], site.shape[: len(site.shape) - event]
    for dim in range(1, site.enumeration.nesting + 1):
        have = batch[-dim] if dim <= len(batch) else 1
        want = shape[-dim] if dim <= len(shape) else 1
        if have != want and not (own and have == 1):
            return False
    return True


def _rows_hint(site: Sample, got: tuple[int, ...], kind: str) -> list[str]:
    """The remedy if the value has the rows of a whole plate of which only some are in play."""
    event_dim = len(site.fn.event_shape)
    for frame in site.plates:
        axis = event_dim - frame.dim
        if frame.subsampled and len(got) >= axis and got[-axis] == frame.size:
            return [
                f"take the rows in play: svijax.subsample({kind}, event_dim={event_dim}) inside the plate"
            ]
    return []


# Libraries whose distributions look like ours and mean other things: their supports, shapes or arguments.
_FOREIGN = ("numpyro", "tensorflow_probability", "distrax", "distreqx")


def check_distribution(name: str, fn: Any, where: str) -> None:
    """Raise unless ``fn`` has the small protocol of a distribution, with one of our constraints as support."""
    missing = [
        a for a in ("sample", "log_prob", "support", "batch_shape", "event_shape") if not hasattr(fn, a)
    ]
    strange = bool(missing) or isinstance(fn, type)
    if not strange and (isinstance(fn, Record) or isinstance(fn.support, Constraint)):
        return
    kind = type(fn)
    packages = [base.__module__.partition(".")[0] for base in kind.__mro__]
    library = next((package for package in packages if package in _FOREIGN), None)
    got = f"{kind.__module__}.{kind.__qualname__}"
    if library is not None:
        raise ModelError(
            message(
                f"{where} site {name!r}: {kind.__name__} is a distribution of {library}.",
                expected="a distribution of svijax",
                got=got,
                fix="wrap it: svijax.interop.wrap(d), after `import svijax.interop`.",
            )
        )
    lacks = ", ".join(missing) or (
        "an instance" if isinstance(fn, type) else "a support that is a constraint of svijax"
    )
    raise ModelError(
        message(
            f"{where} site {name!r}: the second argument of sample is no distribution.",
            expected="an object with sample, log_prob, support, batch_shape, event_shape",
            got=f"{got}, which lacks {lacks}",
            fix="use svijax.distributions; wrap one of another library with svijax.interop.wrap(d).",
        )
    )
