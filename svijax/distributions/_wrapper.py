"""What all distributions that hold another one have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, ShapeError, as_array, broadcast, cast, float_dtype, message
from svijax.transforms import Constraint

from ._distribution import Distribution


def expand_any(dist: Any, batch_shape: Sequence[int]) -> Any:
    """``dist`` in another batch shape: by its parameters where it is one of ours, else wrapped."""
    if isinstance(dist, Distribution):
        return dist.expand(batch_shape)
    return Distribution._wrappers["expanded"](dist, batch_shape)


class Wrapper(Distribution):
    """A distribution made of ``base_dist``, any object with the distribution protocol.

    Shapes, support and draws are those of the base, unless overridden. Fields after ``base_dist`` are arrays over
    the batch, or None; the base and they are broadcast together.
    """

    _fields: ClassVar[tuple[str, ...]] = ("base_dist",)
    base_dist: Any

    def _init_about(self, validate_args: bool | None, base_dist: Any, **params: Any) -> None:
        """Set ``base_dist``, whose values are single numbers, and parameters in its floating dtype."""
        owner, base_dtype = type(self).__name__, float_of(base_dist)
        if tuple(base_dist.event_shape):
            raise ShapeError(
                message(
                    f"{owner} takes a distribution of single numbers.",
                    got=f"{type(base_dist).__name__} of event_shape {tuple(base_dist.event_shape)}",
                    fix=f"{owner} first and to_event then.",
                )
            )
        given = {name: as_array(value) for name, value in params.items() if value is not None}
        wide = {
            name: value if name in self._keep_dtype else cast(value, float_dtype(value, base_dtype))
            for name, value in given.items()
        }
        self._init(validate_args, **{name: wide.get(name) for name in params})
        self._assign(base_dist=base_dist)
        own = {name: np.shape(getattr(self, name)) for name in given}
        try:
            batch = np.broadcast_shapes(tuple(base_dist.batch_shape), *own.values())
        except ValueError as error:
            listed = ", ".join(f"{name.lstrip('_')} {shape}" for name, shape in own.items())
            raise ShapeError(
                message(
                    f"{owner}: its parameters do not broadcast with the base.",
                    expected=f"batch_shape {tuple(base_dist.batch_shape)} of {type(base_dist).__name__}",
                    got=listed,
                )
            ) from error
        self._assign(**self._grown(batch))

    def _grown(self, batch: tuple[int, ...]) -> dict[str, Any]:
        """The base and the arrays in a larger batch shape."""
        base = self.base_dist
        new = {name: getattr(self, name) for name in self._fields if name != "base_dist"}
        arrays = {name: None if leaf is None else broadcast(leaf, batch) for name, leaf in new.items()}
        same = tuple(base.batch_shape) == batch
        return {"base_dist": base if same else expand_any(base, batch), **arrays}

    # Shapes

    @property
    def batch_shape(self) -> tuple[int, ...]:
        leaves = (getattr(self, name) for name in self._fields if name != "base_dist")
        shapes = (np.shape(leaf) for leaf in leaves if leaf is not None)
        return np.broadcast_shapes(tuple(self.base_dist.batch_shape), *shapes)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.base_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self.base_dist.support
        return support

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(**self._grown(self._expandable(batch_shape)))

    def _grows_left(self) -> bool:
        base, batch = self.base_dist, self.batch_shape
        rest = [getattr(self, name) for name in self._fields if name != "base_dist"]
        aligned = all(
            np.shape(leaf) == batch if jax.tree_util.all_leaves([leaf]) else not jax.tree.leaves(leaf)
            for leaf in rest
        )
        inside = isinstance(base, Distribution) and base._grows_left()
        return aligned and inside and tuple(base.batch_shape)[: len(batch)] == batch

    # Draws

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _has_cdf_derivatives(self) -> bool:
        known = isinstance(self.base_dist, Distribution) and self.base_dist._has_cdf_derivatives()
        return known and super()._has_cdf_derivatives()

    def _noise_spec(self) -> NoiseSpec | None:
        spec: NoiseSpec | None = getattr(self.base_dist, "noise_spec", None)
        return spec

    def from_noise(self, noise: Any) -> Any:
        return self.base_dist.from_noise(noise)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.base_dist.sample(key, sample_shape)

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    @property
    def variance(self) -> Any:
        return self.base_dist.variance


class SameLaw(Wrapper):
    """A wrapper whose draws have the law of ``base_dist``."""

    def _in_batch(self, value: Any, event_shape: tuple[int, ...] = ()) -> Any:
        """A number of each event, in the batch shape of the wrapper."""
        return value

    @property
    def has_enumerate_support(self) -> bool:
        return bool(getattr(self.base_dist, "has_enumerate_support", False))

    def enumerate_support(self, expand: bool = True) -> Any:
        return self.base_dist.enumerate_support(expand=expand)

    @property
    def mean(self) -> Any:
        return self._in_batch(self.base_dist.mean, self.event_shape)

    @property
    def variance(self) -> Any:
        return self._in_batch(self.base_dist.variance, self.event_shape)

    def entropy(self) -> Any:
        return self._in_batch(self.base_dist.entropy())

    def cdf(self, value: Any) -> Any:
        return self._in_batch(self.base_dist.cdf(value))

    def log_cdf(self, value: Any) -> Any:
        return self._in_batch(self.base_dist.log_cdf(value))

    def survival_function(self, value: Any) -> Any:
        return self._in_batch(self.base_dist.survival_function(value))

    def log_survival_function(self, value: Any) -> Any:
        return self._in_batch(self.base_dist.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        return self._in_batch(self.base_dist.icdf(q))

    def _isf(self, q: Any) -> Any:
        return self._in_batch(self.base_dist._isf(q))


def float_of(dist: Any) -> Any:
    """The floating dtype that the parameters of a distribution have together."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(dist) if hasattr(leaf, "dtype")]
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)]
    return jnp.result_type(*floating) if floating else jnp.result_type(float)
