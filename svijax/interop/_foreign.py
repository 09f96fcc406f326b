"""What the wrappers of all libraries share: a distribution that asks another object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, message
from svijax.distributions import Distribution, ExpandedDistribution, constraints
from svijax.transforms import Constraint

Shapes = tuple[tuple[int, ...], ...]


class ForeignDistribution(Distribution):
    """``object``, a distribution of another library, asked for everything; made by ``svijax.interop.wrap``.

    A pytree over the leaves of the object if that is a pytree, else static. Its shapes are those of the object
    as its leaves are now, so ``jax.vmap`` over it is right.
    """

    _fields = ("_tree", "_given")
    _static = ("_held", "_shapes", "_dtype", "_reparam", "_detached")
    # Where the shapes stored in objects of the library do not follow their leaves.
    _stores_batch_shape: ClassVar[bool] = False
    _tree: Any  # the object if it is a pytree, else None
    _held: Any  # the object if it is not, else None
    _given: Constraint | None
    _shapes: Shapes
    _dtype: Any
    _reparam: bool | None

    def __init__(self, obj: Any, support: Constraint | None, has_rsample: bool | None) -> None:
        is_tree = not jax.tree_util.all_leaves([obj])
        self._assign(
            _tree=obj if is_tree else None,
            _held=None if is_tree else obj,
            _given=support,
            _shapes=_leaf_shapes(obj) if is_tree else (),
            _reparam=has_rsample,
        )
        self._assign(_dtype=jax.eval_shape(lambda key: self._draw(key, ()), jax.random.key(0)).dtype)

    @property
    def object(self) -> Any:
        """The distribution of the other library."""
        if self._tree is None:
            return self._held
        if not self._stores_batch_shape:
            return self._tree
        return _rebatched(self._tree, self._shapes, _leaf_shapes(self._tree))

    # What a library has to say

    def _draw(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        raise NotImplementedError

    def _translated_support(self) -> Constraint:
        """The support as far as the library or the name of the family tells it; over single events or entries."""
        raise NotImplementedError

    def _is_pathwise(self) -> bool:
        raise NotImplementedError

    def _ask(self, names: Sequence[str], what: str, instead: str, *args: Any) -> Any:
        """The first of these methods or properties that the object has."""
        for name in names:
            try:
                member = getattr(self.object, name, None)
                if member is not None:
                    return member(*args) if callable(member) else member
            except NotImplementedError as error:
                kind = type(self.object)
                raise ArgumentError(
                    message(f"{kind.__module__}.{kind.__qualname__} has not {what}.", fix=f"{instead}.")
                ) from error
        return self._lacks(what, instead)

    # What the library's answers make

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.object.batch_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.object.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support = self._translated_support() if self._given is None else self._given
        return constraints.independent(support, max(self.event_dim - support.event_dim, 0))

    @property
    def dtype(self) -> Any:
        return self._dtype

    def _has_pathwise(self) -> bool:
        return self._is_pathwise() if self._reparam is None else self._reparam

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        value = self._draw(key, sample_shape)
        # A draw without derivatives may still depend on the parameters in the other library.
        return value if self._has_pathwise() else jax.lax.stop_gradient(value)

    def log_prob(self, value: Any) -> Any:
        return self.object.log_prob(value)

    @property
    def mean(self) -> Any:
        return self._ask(("mean",), "a mean in closed form", "average draws of sample(key, (n,))")

    @property
    def variance(self) -> Any:
        return self._ask(
            ("variance",), "a variance in closed form", "take that of draws of sample(key, (n,))"
        )

    def cdf(self, value: Any) -> Any:
        return self._ask(("cdf",), "a cdf", "count draws of sample(key, (n,))", value)

    def icdf(self, q: Any) -> Any:
        names = ("icdf", "quantile")
        return self._ask(names, "an icdf", "take quantiles of draws of sample(key, (n,))", q)

    def entropy(self) -> Any:
        return self._ask(("entropy",), "an entropy in closed form", "average -log_prob over draws")

    def log_cdf(self, value: Any) -> Any:
        return jnp.log(self.cdf(value)) if not self._has("log_cdf") else self.object.log_cdf(value)

    def survival_function(self, value: Any) -> Any:
        if self._has("survival_function"):
            return self.object.survival_function(value)
        return 1 - self.cdf(value)

    def log_survival_function(self, value: Any) -> Any:
        if self._has("log_survival_function"):
            return self.object.log_survival_function(value)
        return jnp.log(self.survival_function(value))

    def _has(self, name: str) -> bool:
        return hasattr(type(self.object), name)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        return self if target == self.batch_shape else ExpandedDistribution(self, target)

    def __repr__(self) -> str:
        return f"wrap({self.object!r})"


def _leaf_shapes(tree: Any) -> Shapes:
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(tree))


def _rebatched(obj: Any, then: Shapes, now: Shapes) -> Any:
    """The object with the batch shapes that it stores brought up to the shapes that its leaves have now."""
    if now == then:
        return obj
    lost = max(len(a) - len(b) for a, b in zip(then, now, strict=True))
    if lost > 0 and all(b in (a, a[lost:]) for a, b in zip(then, now)):
        return _with_batch(obj, lambda batch: batch[lost:])
    lead = max((b[: len(b) - len(a)] for a, b in zip(then, now)), key=len)
    if lost <= 0 and all(b in (a, (*lead, *a)) for a, b in zip(then, now)):
        return _with_batch(obj, lambda batch: (*lead, *batch))
    kind = type(obj)
    raise ShapeError(
        message(
            f"{kind.__module__}.{kind.__qualname__} stores its batch shape, and its leaves have changed theirs.",
            expected=f"leaves of shapes {list(then)}, or all with axes less or more in front",
            got=list(now),
            fix="call svijax.interop.wrap inside the function that is mapped.",
        )
    )


def _with_batch(obj: Any, change: Any) -> Any:
    """A copy of the object, and of those inside it, whose stored batch shapes are changed."""
    copy = object.__new__(type(obj))
    for name, value in vars(obj).items():
        if name == "_batch_shape" and isinstance(value, tuple):
            copy.__dict__[name] = change(value)
        elif hasattr(value, "log_prob") and hasattr(value, "__dict__"):
            copy.__dict__[name] = _with_batch(value, change)
        elif isinstance(value, (list, tuple)) and any(hasattr(part, "log_prob") for part in value):
            copy.__dict__[name] = type(value)(_with_batch(part, change) for part in value)
        else:
            copy.__dict__[name] = value
    return copy
