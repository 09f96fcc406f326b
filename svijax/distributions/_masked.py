"""Entries that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, ShapeError, array_module, as_array, broadcast, message
from svijax.transforms import Constraint

from ._distribution import Distribution
from ._expanded import expand_any


def masked_log_prob(dist: Any, value: Any, mask: Any) -> Any:
    """``dist.log_prob(value)`` where ``mask`` is True (None: everywhere), else 0 with derivative 0.

    ``mask`` is over the batch shape. Masked entries of the value may be NaN, infinite or outside the support:
    they are exchanged for a feasible value first, so that nothing of them reaches a derivative. A mask that
    is the Python value False evaluates nothing.
    """
    if mask is None or mask is True:
        return dist.log_prob(value)
    event_shape = tuple(dist.event_shape)
    value_shape = np.shape(value)
    batch = np.broadcast_shapes(
        value_shape[: len(value_shape) - len(event_shape)], tuple(dist.batch_shape), np.shape(mask)
    )
    if mask is False:
        return jnp.zeros(batch, _log_prob_dtype(value))
    mask = array_module(mask).asarray(mask, bool)
    prototype = jax.ShapeDtypeStruct((*batch, *event_shape), jnp.result_type(value))
    over_event = mask.reshape((*mask.shape, *(1,) * len(event_shape)))
    safe = jnp.where(over_event, value, dist.support.feasible_like(prototype))
    log_prob = dist.log_prob(safe)
    return jnp.where(mask, log_prob, jnp.zeros((), log_prob.dtype))


def _log_prob_dtype(value: Any) -> Any:
    dtype = jnp.result_type(value)
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float)


class MaskedDistribution(Distribution):
    """``base_dist`` with log density 0, of derivative 0, where ``mask`` (over the batch shape) is False.

    Draws are those of the base.
    """

    _fields = ("base_dist", "_mask_array")
    _static = ("_mask_flag", "_detached")
    base_dist: Any
    _mask_array: Any
    _mask_flag: bool | None

    def __init__(self, base_dist: Any, mask: Any) -> None:
        if isinstance(mask, bool):
            self._assign(base_dist=base_dist, _mask_array=None, _mask_flag=mask)
            return
        array = as_array(mask)
        own, shape = tuple(base_dist.batch_shape), np.shape(array)
        try:
            batch = np.broadcast_shapes(own, shape)
        except ValueError as error:
            raise ShapeError(
                message(
                    f"{type(base_dist).__name__}.mask: the mask does not broadcast with the batch.",
                    expected=f"batch_shape {own}",
                    got=f"mask of shape {shape}",
                )
            ) from error
        base = base_dist if batch == own else expand_any(base_dist, batch)
        array = array.astype(bool)
        self._assign(base_dist=base, _mask_array=broadcast(array, batch), _mask_flag=None)

    # ``mask`` is a method of every distribution.
    @property
    def mask_value(self) -> Any:
        """The mask: a bool, or a boolean array over the batch shape."""
        return self._mask_array if self._mask_flag is None else self._mask_flag

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.base_dist.batch_shape)

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

    @property
    def has_enumerate_support(self) -> bool:
        return bool(getattr(self.base_dist, "has_enumerate_support", False))

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec | None:
        spec: NoiseSpec | None = getattr(self.base_dist, "noise_spec", None)
        return spec

    def from_noise(self, noise: Any) -> Any:
        return self.base_dist.from_noise(noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        value, log_prob = self.base_dist.from_noise_with_log_prob(noise)
        if self._mask_flag is True:
            return value, log_prob
        return value, jnp.where(self.mask_value, log_prob, jnp.zeros((), log_prob.dtype))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.base_dist.sample(key, sample_shape)

    def log_prob(self, value: Any) -> Any:
        return masked_log_prob(self.base_dist, value, self.mask_value)

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    @property
    def variance(self) -> Any:
        return self.base_dist.variance

    def cdf(self, value: Any) -> Any:
        return self.base_dist.cdf(value)

    def icdf(self, q: Any) -> Any:
        return self.base_dist.icdf(q)

    def enumerate_support(self, expand: bool = True) -> Any:
        return self.base_dist.enumerate_support(expand=expand)

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        array = None if self._mask_array is None else broadcast(self._mask_array, target)
        return self._replace(base_dist=expand_any(self.base_dist, target), _mask_array=array)


Distribution._wrappers["masked"] = MaskedDistribution
