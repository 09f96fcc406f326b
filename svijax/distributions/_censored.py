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

    def _where(self, condition: Any, f: Any, value: Any) -> tuple[Any, Any]:
        """``condition``, and f(value) whose value and derivatives are finite where it is False."""
        value = jnp.asarray(value)
        shape = np.broadcast_shapes(value.shape, self.base_dist.batch_shape, np.shape(condition))
        return condition, f(jnp.where(condition, value, feasible(self.base_dist, shape, value.dtype)))

    def _log_prob_of(self, censored: Any, log_tail: Any, value: Any) -> Any:
        _, tail = self._where(censored, lambda x: log_tail(self.base_dist, x), value)
        _, density = self._where(~censored, self.base_dist.log_prob, value)
        return jnp.where(censored, tail, density)


class LeftCensoredDistribution(_Censored):
    """p(x) = p_base(x) where ``censored`` is 0, P(X <= x) where it is 1: the value is at most x."""

    arg_constraints = parameters(censored=constraints.boolean)
    _fields = ("base_dist", "censored")
    _keep_dtype = ("censored",)
    censored: Any

    def __init__(
        self, base_dist: Any, censored: Any = False, *, validate_args: bool | None = None
    ) -> None:
        self._init_about(validate_args, base_dist, censored=censored)

    def log_prob(self, value: Any) -> Any:
        return self._log_prob_of(self.censored == 1, log_below, value)


class RightCensoredDistribution(_Censored):
    """p(x) = p_base(x) where ``censored`` is 0, P(X > x) where it is 1: the value is larger than x."""

    arg_constraints = parameters(censored=constraints.boolean)
    _fields = ("base_dist", "censored")
    _keep_dtype = ("censored",)
    censored: Any

    def __init__(
        self, base_dist: Any, censored: Any = False, *, validate_args: bool | None = None
    ) -> None:
        self._init_about(validate_args, base_dist, censored=censored)

    def log_prob(self, value: Any) -> Any:
        return self._log_prob_of(self.censored == 1, log_above, value)


class IntervalCensoredDistribution(_Censored):
    """The likelihood of a pair (lower, upper), the event, given what the two indicators say.

    - neither: P(lower < X <= upper), or the density at the value where lower = upper;
    - ``left_censored``: P(X <= upper); ``right_censored``: P(X > lower);
    - both: P(X <= lower or X > upper).

    A bound that does not matter may be anything, infinite or NaN too. Draws are pairs of the same number.
    """

    arg_constraints = parameters(left_censored=constraints.boolean, right_censored=constraints.boolean)
    _fields = ("base_dist", "left_censored", "right_censored")
    _keep_dtype = ("left_censored", "right_censored")
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
        self._init_about(
            validate_args, base_dist, left_censored=left_censored, right_censored=right_censored
        )

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
        low = jnp.where(right | neither, lower, inner)
        high = jnp.where((left | neither), upper, inner)
        tails = log_below(base, jnp.where(left & ~right, high, low)), log_above(
            base, jnp.where(right & ~left, low, high)
        )
        mass = log_mass(base, jnp.where(between, low, inner), jnp.where(between, high, inner + 1))
        density = base.log_prob(jnp.where(point, lower, inner))
        one_sided = jnp.where(left, tails[0], tails[1])
        outside = log_add(*(jnp.where(both, tail, 0.0) for tail in tails))
        known = jnp.where(point, density, mass)
        return jnp.where(neither, known, jnp.where(both, outside, one_sided))
