"""Log masses of counts without cancellation: binomial and Pólya's, in deviances from means whose rounding is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import betainc, deviance, factorial_excess, log_betainc, product_error

from ._distribution import Distribution
from ._parameters import as_float


def wide(value: Any, dtype: Any) -> Any:
    """Counts or parameters in ``dtype``, in single precision where that is less."""
    return jnp.asarray(as_float(value, dtype), jnp.promote_types(dtype, jnp.float32))


@jax.jit
def products_apart(a: Any, b: Any, c: Any, d: Any) -> jax.Array:
    """a b - c d to full relative precision, but for the smallest numbers."""
    left, right = a * b, c * d
    return (left - right) + jax.lax.stop_gradient(product_error(a, b, left) - product_error(c, d, right))


@jax.jit
def deviance_from(k: Any, mean: Any, excess: Any) -> jax.Array:
    """deviance(k, k - excess), where ``mean`` is k - excess but for rounding."""
    near = jnp.abs(excess) < 0.5 * mean
    lost = jax.lax.stop_gradient(jnp.where(near, (k - mean) - excess, 0.0))
    return deviance(k, mean) + lost * (1 - k / jnp.where(near, mean, 1.0))


@jax.jit
def log_binomial(k: Any, others: Any, p: Any, q: Any, excess: Any) -> jax.Array:
    """log Gamma(n + 1) / (Gamma(k + 1) Gamma(n - k + 1)) p^k q^(n - k), n - k = ``others``; excess = k - n p."""
    n = k + others
    apart = deviance_from(k, n * p, excess) + deviance_from(others, n * q, -excess)
    return factorial_excess(n) - factorial_excess(k) - factorial_excess(others) - apart


@jax.jit
def log_polya_total(n: Any, total: Any) -> jax.Array:
    """The part of a Dirichlet-multinomial log mass that has the number of draws and the sum of concentrations."""
    joint = factorial_excess(n) + factorial_excess(total) - factorial_excess(n + total)
    return joint + jnp.log1p(n / total)


@jax.jit
def log_polya_class(k: Any, concentration: Any, n: Any, total: Any, excess: Any) -> jax.Array:
    """The part of one class that has k of the n draws; excess = k total - n concentration.

    Counts and concentrations are each held against the probability (k + c) / (n + total) that they have together.
    """
    both = k + concentration
    probability = both / (n + total)
    gap = excess / (n + total)
    apart = deviance_from(k, n * probability, gap)
    apart += deviance_from(concentration, total * probability, -gap)
    joint = factorial_excess(k) + factorial_excess(concentration) - factorial_excess(both)
    return -joint - jnp.log1p(k / concentration) - apart


class CountTails(Distribution):
    """Distribution functions of counts, which step at the integers; a family states what lies between the ends."""

    def cdf(self, value: Any) -> Any:
        return self._step(value, 0.0, self._below, 1.0)

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value), without underflow."""
        return self._step(value, -jnp.inf, self._log_below, 0.0)

    def survival_function(self, value: Any) -> Any:
        """P(X > value), without cancellation."""
        return self._step(value, 1.0, self._above, 0.0)

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value), without underflow."""
        return self._step(value, 0.0, self._log_above, -jnp.inf)

    def _step(self, value: Any, before: float, between: Callable[[Any], Any], after: float) -> Any:
        k = jnp.floor(as_float(value, self._float))
        last = self._last
        if last is None:
            return jnp.where(k < 0, before, between(jnp.maximum(k, 0.0)))
        inner = jnp.clip(k, 0.0, jnp.maximum(last - 1, 0.0))
        return jnp.where(k < 0, before, jnp.where(k >= last, after, between(inner)))

    @property
    def _float(self) -> Any:
        raise NotImplementedError

    @property
    def _last(self) -> Any:
        """The largest count as a float, if there is one."""
        return None

    def _below(self, k: Any) -> Any:
        raise NotImplementedError

    def _log_below(self, k: Any) -> Any:
        raise NotImplementedError

    def _above(self, k: Any) -> Any:
        raise NotImplementedError

    def _log_above(self, k: Any) -> Any:
        raise NotImplementedError


class BetaTails(CountTails):
    """P(X <= k) = I_x(a, b), a regularised incomplete beta function."""

    def _beta_arguments(self, k: Any) -> tuple[Any, Any, Any, Any]:
        """a, b, x and 1 - x."""
        raise NotImplementedError

    def _below(self, k: Any) -> Any:
        return betainc(*self._beta_arguments(k))

    def _log_below(self, k: Any) -> Any:
        return log_betainc(*self._beta_arguments(k))

    def _above(self, k: Any) -> Any:
        a, b, x, rest = self._beta_arguments(k)
        return betainc(b, a, rest, x)

    def _log_above(self, k: Any) -> Any:
        a, b, x, rest = self._beta_arguments(k)
        return log_betainc(b, a, rest, x)


def as_integers(value: Any, dtype: Any) -> jax.Array:
    """Integral floats in an integer dtype, those beyond its range at its end."""
    top = jnp.iinfo(dtype).max
    # As a float the largest integer may be rounded up, out of the range.
    return jnp.where(value >= float(top), top, jnp.asarray(value).astype(dtype))
