"""Entries that do not count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, array_module, as_array, broadcast, message

from ._distribution import Distribution
from ._wrapper import SameLaw, expand_any


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


class MaskedDistribution(SameLaw):
    """``base_dist`` with log density 0, of derivative 0, where ``mask`` (over the batch shape) is False.

    Draws are those of the base.
    """

    _fields = ("base_dist", "_mask_array")
    _static = ("_mask_flag", "_detached")
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

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        value, log_prob = self.base_dist.from_noise_with_log_prob(noise)
        return value, self._masked(log_prob)

    def log_prob(self, value: Any) -> Any:
        return masked_log_prob(self.base_dist, value, self.mask_value)

    def entropy(self) -> Any:
        """-E log p(X) as ``log_prob`` has it: 0 where the mask is False."""
        return self._masked(self.base_dist.entropy())

    def _masked(self, value: Any) -> Any:
        if self._mask_flag is True:
            return value
        return jnp.where(self.mask_value, value, jnp.zeros((), value.dtype))


Distribution._wrappers["masked"] = MaskedDistribution
