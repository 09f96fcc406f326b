"""What a program says to its handlers: one typed record per kind of statement.

A statement builds its record, the handlers replace fields of it from the innermost out, ``resolve`` fills
the value if no handler did, and the handlers see the result from the outermost in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import MissingKeyError, message

from ._checks import check_shape, check_weights
from ._rows import Padding, as_indices
from ._subset import draw_subset

Key = jax.Array
LazyKey = Callable[[], Key]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One plate around a site: ``size`` elements, of which ``subsample_size`` are in play, at ``dim`` < 0.

    ``given``: the indices were put in by a handler, so that even a full number of them says which rows. ``padding``:
    where some of the rows in play are no data.
    """

    name: str
    size: int
    subsample_size: int
    dim: int
    indices: Any = None
    given: bool = False
    padding: Padding | None = None

    @property
    def subsampled(self) -> bool:
        """Whether data and tables over the whole plate must be gathered."""
        return self.given or self.subsample_size != self.size

    @property
    def ratio(self) -> Any:
        """size / number of elements in play that are there: what log densities are scaled by."""
        return self.size / self.subsample_size if self.padding is None else self.padding.ratio

    @property
    def is_whole(self) -> bool:
        """Whether every element is in play once, so that nothing is scaled."""
        return self.padding is None and self.subsample_size == self.size

    @property
    def rows(self) -> Any:
        """The indices, to gather with.

        :raises ModelError: nobody said which they are.
        """
        return as_indices(self.indices)

    def __str__(self) -> str:
        part = f", subsample {self.subsample_size}" if self.subsampled else ""
        return f"{self.name} (size {self.size}{part}, dim {self.dim})"


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """One scan around a site: ``length`` steps, an axis on the left of its batch shape. Plates keep their dims.

    All sites of one scan depend on each other: what is stated later in a step is read in the next one.
    """

    length: int
    history: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Enumeration:
    """How a run that enumerates stands at one statement.

    Batch dims left of the last ``nesting`` ones run over the values of the variables that ``owners`` names by dim;
    those in ``stale`` have left the window of their ``markov`` and may not be read. ``dim``: the site's own.

    For sites inside a scan: ``values``, all those of the site; ``before``, the dim of its value in the step before;
    ``density``, the log density of a site; ``chain``: what that is at all steps.
    """

    nesting: int
    owners: Mapping[int, str]
    stale: Mapping[int, str]
    dim: int | None = None
    values: Any = None
    before: int | None = None
    density: Any = None
    chain: Any = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Site:
    """Fields that every record has. ``stop`` hides it from the handlers further out."""

    name: str
    value: Any = None
    stop: bool = False

    @property
    def needs_key(self) -> bool:
        """Whether a random key would be used if one were given."""
        return False

    def resolve(self, where: str) -> Self:
        """The record with its value; ``where`` is the word for the program in messages."""
        return self

    def having(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The entries of the draw ``vector`` from ``start`` on that make one latent; independent of all its others.

    ``distribution()`` is that of the latent, made when it is asked for.
    """

    vector: str
    start: int
    size: int
    distribution: Callable[[], Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample(Site):
    """A random variable. ``log_prob`` is set by who drew the value from noise and knows its density.

    ``ahead``: asked for before its distribution is known, of which ``fn`` is an example of the right shape (the sites
    inside ``scan`` and ``cond``); ``noise``: what its value is to be made of then; ``seen``: what the program goes on
    with instead of the value (an intervention). ``steps``: the scans around it, the outermost first; their axes are
    the first of the batch shape.
    ``shared_mask``: the mask is no modelling choice but says which entries exist; it counts for the
    guide's site of this name too. ``estimator``: of its gradient, where the guide asks for one. ``law``: where a guide
    takes the value from a shared vector, which entries, and its distribution given the parameters; ``made_of``: the
    draw of the guide that the value is a function of, one without parameters. ``expanded``: (the
    distribution in its plates' shape, the one that was stated), where they differ. ``enumeration``: set in runs that
    enumerate.
    """

    fn: Any
    observed: bool = False
    key: LazyKey | None = None
    sample_shape: tuple[int, ...] = ()
    scale: Any = None
    mask: Any = None
    plates: tuple[Frame, ...] = ()
    infer: Mapping[str, Any] = field(default_factory=dict)
    log_prob: Any = None
    shared_mask: bool = False
    estimator: Any = None
    law: Slice | None = None
    made_of: str | None = None
    expanded: tuple[Any, Any] | None = None
    enumeration: Enumeration | None = None
    steps: tuple[Steps, ...] = ()
    ahead: bool = False
    noise: Any = None
    seen: Any = None

    @property
    def needs_key(self) -> bool:
        return self.value is None and self.noise is None and self.key is None

    @property
    def stated(self) -> Any:
        """The distribution before its plates expanded it: the same law, in fewer entries."""
        return self.fn if self.expanded is None or self.expanded[0] is not self.fn else self.expanded[1]

    @property
    def latent(self) -> bool:
        """Whether the site is no observation."""
        return not self.observed

    @property
    def auxiliary(self) -> bool:
        """Whether the guide has this site for itself, without a counterpart in the model."""
        return bool(self.infer.get("is_auxiliary", False))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value: draws, batch, event."""
        return (*self.sample_shape, *self.fn.batch_shape, *self.fn.event_shape)

    def resolve(self, where: str) -> Self:
        if self.mask is not None or self.scale is not None:
            check_weights(self, where, (*self.sample_shape, *self.fn.batch_shape))
        if self.value is not None:
            site = self if hasattr(self.value, "shape") else self.having(value=as_value(self.value))
            check_shape(site, where)
            return site
        if self.noise is not None:
            value, log_prob = self.fn.from_noise_with_log_prob(self.noise)
            drawn = self.having(value=value, log_prob=log_prob)
            check_shape(drawn, where)
            return drawn
        key = drawn_key(
            self, f"{where} site {self.name!r} needs a random key and no handler gives one.", "pass rng_key="
        )
        return self.having(value=self.fn.sample(key, self.sample_shape))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Factor(Site):
    """A term added to the log density as it is: no random variable."""

    scale: Any = None
    mask: Any = None
    plates: tuple[Frame, ...] = ()
    steps: tuple[Steps, ...] = ()
    enumeration: Enumeration | None = None

    def resolve(self, where: str) -> Self:
        if self.mask is not None or self.scale is not None:
            check_weights(self, where, jnp.shape(self.value))
        return self


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Param(Site):
    """A parameter to optimise: any pytree. ``value`` is constrained, and of full size before plates gather.

    ``group``: the name of the group that the parameter was read in, if any.
    """

    init: Any = None
    constraint: Any = None
    event_dim: int | None = None
    key: LazyKey | None = None
    plates: tuple[Frame, ...] = ()
    group: str | None = None

    @property
    def needs_key(self) -> bool:
        return self.value is None and self.key is None and makes_value(self.init)

    def resolve(self, where: str) -> Self:
        if self.value is not None or self.init is None:
            return self
        return self.having(value=_initial(self, where))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ParamGroup(Site):
    """Several array parameters under one constraint, read as one vector: ``names`` end to end.

    Only guides make groups. To users each name is a parameter of its own.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    init: Any = None
    constraint: Any = None
    key: LazyKey | None = None

    @property
    def needs_key(self) -> bool:
        return self.value is None and self.key is None

    def resolve(self, where: str) -> Self:
        return self if self.value is not None else self.having(value=_initial(self, where))

    def split(self) -> dict[str, Any]:
        """The value of each name."""
        parts, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            size = math.prod(shape)
            parts[name] = self.value[start : start + size].reshape(shape)
            start += size
        return parts


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Deterministic(Site):
    """A value worth a name; no part of the density."""

    steps: tuple[Steps, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mutable(Site):
    """State that a program carries from step to step without optimising it. ``start``: as it came in."""

    start: Any = None

    def resolve(self, where: str) -> Self:
        # The program writes into the dictionary: into one of its own.
        return self.having(value=jax.tree.map(lambda leaf: leaf, self.value), start=self.value)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlateIndices(Site):
    """The elements of a plate that are in play. ``value``: their indices; ``whole``: all of them, in order.

    A handler may put in other sizes with the rows, and ``padding``: the last of them are no data.
    """

    size: int
    subsample_size: int
    key: LazyKey | None = None
    whole: bool = False
    padding: Padding | None = None

    @property
    def needs_key(self) -> bool:
        return self.value is None and self.key is None and self.subsample_size < self.size

    def resolve(self, where: str) -> Self:
        if self.value is not None:
            every = isinstance(self.value, np.ndarray) and np.array_equal(self.value, np.arange(self.size))
            return self.having(whole=True) if every else self
        if self.subsample_size == self.size:
            return self.having(value=np.arange(self.size), whole=True)
        summary = f"{where} plate {self.name!r} draws {self.subsample_size} of {self.size} and has no key."
        key = drawn_key(self, summary, "leave subsample_size out")
        return self.having(value=draw_subset(key, self.size, self.subsample_size))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KeyRequest(Site):
    """A fresh random key: for ``prng_key()`` (no name), or for a site hidden from the seed (its name)."""

    of_plate: bool = False

    @property
    def needs_key(self) -> bool:
        return self.value is None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MaskQuery(Site):
    """Asks the enclosing ``mask`` handlers for their product. ``value``: None for no mask."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MarkovStep(Site):
    """The next step of a ``markov`` loop begins, or the loop ends."""

    loop: object
    history: int
    ends: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subsample(Site):
    """Data to be gathered by the enclosing subsampled plates."""

    event_dim: int = 0


def makes_value(init: Any) -> bool:
    """Whether a param starts from a function of a key. A pytree that can be called, a module say, is a value."""
    return callable(init) and (isinstance(init, jax.tree_util.Partial) or jax.tree_util.all_leaves([init]))


def drawn_key(site: Sample | Param | ParamGroup | PlateIndices, summary: str, instead: str) -> Key:
    """The site's key; an error that begins with ``summary`` if nobody gives one."""
    key = None if site.key is None else site.key()
    if key is None:
        fix = f"run the program under svijax.handlers.seed(fn, rng_seed=key), or {instead}."
        raise MissingKeyError(message(summary, fix=fix))
    return key


def _initial(site: Param | ParamGroup, where: str) -> Any:
    if not makes_value(site.init):
        return site.init
    summary = f"{where} param {site.name!r} starts from a function of a random key and has none."
    return site.init(drawn_key(site, summary, "pass an array"))


def as_value(x: Any) -> Any:
    """The value as an array. numpy stays numpy: nothing runs on a device because a program was stated."""
    if isinstance(x, jax.Array | np.ndarray) or (hasattr(x, "dtype") and hasattr(x, "shape")):
        return x
    if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x)):
        return jnp.asarray(x)
    array = np.asarray(x)
    dtype = jnp.result_type(float) if isinstance(x, float) else jax.dtypes.canonicalize_dtype(array.dtype)
    return array.astype(dtype)


def both(a: Any, b: Any) -> Any:
    """The mask a and b, where None means no mask."""
    if a is None or a is b:
        return b
    if b is None:
        return a
    if isinstance(a, bool | np.bool_) and isinstance(b, bool | np.bool_):
        return bool(a and b)
    return jnp.logical_and(a, b)
