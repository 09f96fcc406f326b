"""Censored observations: a likelihood for values of which only a bound is known."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec
from svijax.transforms import Constraint, constraints

from ._mass import feasible, log_above, log_below, log_mass
from ._mixture_terms import log_add
from ._parameters import parameters
from ._wrapper import Wrapper


class _Censored(Wrapper):
    """Draws are those of ``base_dist``: what would have been seen had nothing been censored."""

    def _where(self, condition: Any, f: Any, value: Any) -> Any:
        """f(value), and f of a value inside the support where ``condition`` is False."""
        value = jnp.asarray(value)
        shape = np.broadcast_shapes(value.shape, self.base_dist.batch_shape, np.shape(condition))
        return f(jnp.where(condition, value, feasible(self.base_dist, shape, value.dtype)))


class _OneSided(_Censored):
    arg_constraints = parameters(censored=constraints.boolean)
    _fields = ("base_dist", "censored")
    censored: Any

    def __init__(self, base_dist: Any, censored: Any = False, *, validate_args: bool | None = None) -> None:
        self._init_about(validate_args, base_dist, censored=censored)

    def _log_tail(self, value: Any) -> Any:
        raise NotImplementedError

    def log_prob(self, value: Any) -> Any:
        censored = self.censored == 1
        tail = self._where(censored, self._log_tail, value)
        return jnp.where(censored, tail, self._where(~censored, self.base_dist.log_prob, value))


class LeftCensoredDistribution(_OneSided):
    """p(x) = p_base(x) where ``censored`` is 0, P(X <= x) where it is 1: the value is at most x."""

    def _log_tail(self, value: Any) -> Any:
        return log_below(self.base_dist, value)


class RightCensoredDistribution(_OneSided):
    """p(x) = p_base(x) where ``censored`` is 0, P(X > x) where it is 1: the value is larger than x."""

    def _log_tail(self, value: Any) -> Any:
        return log_above(self.base_dist, value)


class IntervalCensoredDistribution(_Censored):
    """The likelihood of a pair (lower, upper), the event, given what the two indicators say.

    - neither: P(lower < X <= upper), or the density at the value where lower = upper;
    - ``left_censored``: P(X <= upper); ``right_censored``: P(X > lower);
    - both: P(X <= lower or X > upper).

    A bound that does not matter may be anything, infinite or NaN too. Draws are pairs of the same number.
    """

    arg_constraints = parameters(left_censored=constraints.boolean, right_censored=constraints.boolean)
    _fields = ("base_dist", "left_censored", "right_censored")
    left_censored: Any
    right_censored: Any

    def __init__(
        self,
        base_dist: Any,
        left_censored: Any,
        right_censored: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init_about(validate_args, base_dist, left_censored=left_censored, right_censored=right_censored)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.base_dist.support, 1)

    def _noise_spec(self) -> NoiseSpec | None:
        return None

    def _sample(self, key: Any, sample_shape: tuple[int, ...]) -> Any:
        draw = self.base_dist.sample(key, sample_shape)
        return jnp.stack([draw, draw], axis=-1)

    @property
    def mean(self) -> Any:
        self._lacks("a mean: its values are pairs of bounds", "ask base_dist")

    @property
    def variance(self) -> Any:
        self._lacks("a variance: its values are pairs of bounds", "ask base_dist")

    def log_prob(self, value: Any) -> Any:
        base, value = self.base_dist, jnp.asarray(value)
        lower, upper = value[..., 0], value[..., 1]
        left, right = self.left_censored == 1, self.right_censored == 1
        both, neither = left & right, ~(left | right)
        point = neither & (lower == upper)
        between = neither & ~point
        shape = np.broadcast_shapes(lower.shape, base.batch_shape, np.shape(left))
        inner = feasible(base, shape, value.dtype)
        # Every function is asked where it counts, and of a value inside elsewhere.
        below = log_below(base, jnp.where(both, lower, jnp.where(left, upper, inner)))
        above = log_above(base, jnp.where(both, upper, jnp.where(right, lower, inner)))
        mass = log_mass(base, jnp.where(between, lower, inner), jnp.where(between, upper, inner + 1))
        density = base.log_prob(jnp.where(point, lower, inner))
        outside = log_add(jnp.where(both, below, 0.0), jnp.where(both, above, 0.0))
        known = jnp.where(point, density, mass)
        return jnp.where(neither, known, jnp.where(both, outside, jnp.where(left, below, above)))
