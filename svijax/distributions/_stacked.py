"""Distributions of several steps as one, whatever their leaves are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec
from svijax.transforms import Constraint

from ._distribution import Distribution


class Stacked(Distribution):
    """p(x) = prod_t p_t(x_t), a batch axis t in front: ``base_dist`` holds p_t in entry t of each of its leaves.

    For distributions whose leaves have not all axes of the batch, so that an axis in front of the leaves is none in
    front of the batch: all is done step by step, by ``vmap``.
    """

    _fields = ("base_dist",)
    _static = ("_length", "_batch", "_event", "_dtype", "_pathwise_steps", "_noise", "_detached")
    base_dist: Any
    _length: int
    _batch: tuple[int, ...]
    _event: tuple[int, ...]
    _dtype: Any
    _pathwise_steps: bool
    _noise: NoiseSpec | None

    def __init__(self, stacked: Any, one: Any, length: int) -> None:
        self._assign(
            base_dist=stacked,
            _length=int(length),
            _batch=tuple(one.batch_shape),
            _event=tuple(one.event_shape),
            _dtype=jnp.dtype(one.dtype),
            _pathwise_steps=bool(getattr(one, "has_rsample", False)),
            _noise=getattr(one, "noise_spec", None),
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self._length, *self._batch)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self._event)

    @property
    def dtype(self) -> Any:
        return self._dtype

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self._summary(lambda d: d.support)
        return support if not jax.tree.leaves(support) else StackedConstraint(support, len(self.batch_shape))

    def over_steps(self, stacked: Any, length: int) -> Distribution:
        return Stacked(stacked, self, length)

    def _has_pathwise(self) -> bool:
        return self._pathwise_steps

    def _noise_spec(self) -> NoiseSpec | None:
        spec = self._noise
        return None if spec is None else NoiseSpec(spec.kind, (self._length, *spec.shape), spec.dtype)

    def from_noise(self, noise: Any) -> Any:
        return self._of_steps(lambda d, e: d.from_noise(e), noise, self._noise_dims)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        draw: Callable[[Any, Any], Any] = lambda d, e: d.from_noise_with_log_prob(e)  # noqa: E731
        drawn: tuple[Any, Any] = self._of_steps(draw, noise, self._noise_dims)
        return drawn

    @property
    def _noise_dims(self) -> int:
        return 0 if self._noise is None else len(self._noise.shape)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        keys = jax.random.split(key, self._length)
        draw = jax.vmap(lambda d, k: d.sample(k, sample_shape), out_axes=len(sample_shape))
        return draw(self.base_dist, keys)

    def log_prob(self, value: Any) -> Any:
        return self._of_steps(lambda d, x: d.log_prob(x), value, len(self._batch) + len(self._event))

    def _of_steps(self, f: Callable[[Any, Any], Any], x: Any, ndim: int) -> Any:
        """``f`` of each step and its part of ``x``, whose steps lie in front of the last ``ndim`` axes."""
        lead = jnp.ndim(x) - ndim - 1
        return jax.vmap(f, in_axes=(0, lead), out_axes=lead)(self.base_dist, jnp.asarray(x))

    def _summary(self, f: Callable[[Any], Any]) -> Any:
        return jax.vmap(f, axis_size=self._length)(self.base_dist)

    @property
    def mean(self) -> Any:
        return self._summary(lambda d: jnp.asarray(d.mean))

    @property
    def variance(self) -> Any:
        return self._summary(lambda d: jnp.asarray(d.variance))

    def entropy(self) -> Any:
        return self._summary(lambda d: jnp.asarray(d.entropy()))

    def cdf(self, value: Any) -> Any:
        return self._of_steps(lambda d, x: d.cdf(x), value, len(self._batch) + len(self._event))

    def icdf(self, q: Any) -> Any:
        return self._of_steps(lambda d, x: d.icdf(x), q, len(self._batch) + len(self._event))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        if target == self.batch_shape:
            return self
        expanded: Distribution = Distribution._wrappers["expanded"](self, target)
        return expanded


class StackedConstraint(Constraint):
    """The set ``base`` of each step, whose bounds have an axis of steps in front of their own.

    ``ndims``: how many batch axes a value has, the first of them the steps.
    """

    name = "stacked"
    _fields = ("base",)
    _static = ("ndims",)
    base: Constraint
    ndims: int

    def __init__(self, base: Constraint, ndims: int) -> None:
        self._assign(base=base, ndims=ndims)

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.base.is_discrete

    @property
    def event_dim(self) -> int:
        return self.base.event_dim

    def __call__(self, x: Any) -> Any:
        lead = np.ndim(x) - self.event_dim - self.ndims
        return jax.vmap(lambda c, part: c(part), in_axes=(0, lead), out_axes=lead)(self.base, jnp.asarray(x))

    def feasible_like(self, prototype: Any) -> Any:
        shape = tuple(prototype.shape)
        lead = len(shape) - self.event_dim - self.ndims
        one = jax.ShapeDtypeStruct((*shape[:lead], *shape[lead + 1 :]), prototype.dtype)
        return jax.vmap(lambda c: jnp.asarray(c.feasible_like(one)), out_axes=lead)(self.base)


Distribution._wrappers["stacked"] = Stacked
