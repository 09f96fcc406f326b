"""The Pólya-gamma distribution PG(1, 0)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import as_float

_END = 2.5
# Below it the one series of the density converges fast, above it the other.
_SPLIT = 0.16
_SIGNS = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
_HALVES = np.arange(5) + 0.5
_RATES = 2.0 * (_HALVES * math.pi) ** 2


def _above(x: float, power: int) -> float:
    """The integral of t^power P(X > t) from x on, for PG(1, 0) without its truncation."""
    each = {0: 1 / _RATES, 1: x / _RATES + 1 / _RATES**2}[power]
    return float(np.sum(_SIGNS * 2 / (math.pi * _HALVES) * np.exp(-_RATES * x) * each))


_TAIL = float(np.sum(_SIGNS * 2 / (math.pi * _HALVES) * np.exp(-_RATES * _END)))
_MEAN = (0.25 - _above(_END, 0) - _END * _TAIL) / (1 - _TAIL)
_SQUARE = (1 / 24 + 1 / 16 - 2 * _above(_END, 1) - _END**2 * _TAIL) / (1 - _TAIL)


class TruncatedPolyaGamma(Distribution):
    """PG(1, 0) on (0, 2.5]: p(x) proportional to sum_n (-1)^n (2n + 1) exp(-(2n + 1)^2 / (8 x)) / sqrt(2 pi x^3).

    X = sum_k g_k / (2 pi^2 (k + 1/2)^2) with g_k exponential; 6e-6 of its mass lies above 2.5. Polson, Scott and
    Windle (2013). There are no parameters, but a batch shape.
    """

    support = constraints.interval(0.0, _END)
    _fields = ("_batch",)
    _pathwise = True
    _batch: Any  # an array of the batch shape, so that vmap takes its axes

    def __init__(self, batch_shape: Sequence[int] = (), *, validate_args: bool | None = None) -> None:
        self._assign(_batch=np.zeros(tuple(batch_shape), jnp.result_type(float)))

    def _event_dim_of(self, name: str) -> int:
        return 0

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_terms, key_rest = jax.random.split(key)
        shape = self.shape(sample_shape)
        scales = 1 / (2 * math.pi**2 * (np.arange(10) + 0.5) ** 2)
        terms = jax.random.exponential(key_terms, (*shape, len(scales)), self.dtype)
        # The rest of the sum, as a gamma of its mean and variance.
        mean, variance = 0.25 - scales.sum(), 1 / 24 - (scales**2).sum()
        rest = jax.random.gamma(key_rest, mean**2 / variance, shape, self.dtype) * (variance / mean)
        return jnp.clip(
            jnp.sum(terms * scales.astype(self.dtype), axis=-1) + rest, jnp.finfo(self.dtype).tiny, _END
        )

    def log_prob(self, value: Any) -> Any:
        x = as_float(value, self.dtype)
        inside = (x > 0) & (x <= _END)
        low = jnp.where(inside & (x < _SPLIT), x, _SPLIT)
        high = jnp.where(inside & (x >= _SPLIT), x, _SPLIT)
        # In both, the first term is taken out of the sum.
        odd = (2 * _HALVES).astype(x.dtype)
        near = jnp.sum(
            (_SIGNS.astype(x.dtype) * odd)[1:] * jnp.exp((1 - odd[1:] ** 2) / (8 * low[..., None])), axis=-1
        )
        near = jnp.log1p(near) - 1 / (8 * low) - 1.5 * jnp.log(low) - 0.5 * math.log(2 * math.pi)
        rates = (_RATES - _RATES[0]).astype(x.dtype)
        far = jnp.sum((_SIGNS.astype(x.dtype) * odd)[1:] * jnp.exp(-rates[1:] * high[..., None]), axis=-1)
        far = jnp.log1p(far) - float(_RATES[0]) * high + math.log(2 * math.pi)
        log_prob = jnp.where(x < _SPLIT, near, far) - math.log1p(-_TAIL)
        log_prob = jnp.where(inside, log_prob, -jnp.inf)
        return jnp.broadcast_to(log_prob, np.broadcast_shapes(np.shape(log_prob), self.batch_shape))

    def cdf(self, value: Any) -> Any:
        x = jnp.clip(as_float(value, self.dtype), jnp.finfo(self.dtype).tiny, _END)
        low, high = jnp.minimum(x, _SPLIT)[..., None], jnp.maximum(x, _SPLIT)[..., None]
        signs, halves = _SIGNS.astype(x.dtype), _HALVES.astype(x.dtype)
        near = 2 * jnp.sum(signs * erfc(halves / jnp.sqrt(2 * low)), axis=-1)
        far = jnp.sum(signs * 2 / (math.pi * halves) * jnp.exp(-_RATES.astype(x.dtype) * high), axis=-1)
        return jnp.where(value <= 0, 0.0, jnp.where(x < _SPLIT, near, 1 - far) / (1 - _TAIL))

    @property
    def mean(self) -> Any:
        return jnp.full(self.batch_shape, _MEAN, self.dtype)

    @property
    def variance(self) -> Any:
        return jnp.full(self.batch_shape, _SQUARE - _MEAN**2, self.dtype)
