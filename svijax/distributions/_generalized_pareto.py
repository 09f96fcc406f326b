"""The generalised Pareto distribution, whose support depends on the sign of a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import array_module, is_concrete
from svijax.transforms import Constraint, Transform, biject_to, constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._ratios import expm1_ratio, log1p_ratio
from ._tails import log1mexp, next_to, within


class GeneralizedParetoSupport(Constraint):
    """x >= loc, and x <= loc - scale / concentration where the concentration is negative."""

    name = "generalized_pareto_support"
    _fields = ("loc", "scale", "concentration")
    loc: Any
    scale: Any
    concentration: Any

    def __init__(self, loc: Any, scale: Any, concentration: Any) -> None:
        self._assign(loc=loc, scale=scale, concentration=concentration)

    def __call__(self, x: Any) -> Any:
        xp = array_module(x, self.loc, self.scale, self.concentration)
        z = (xp.asarray(x) - self.loc) / self.scale
        return xp.isfinite(z) & (z >= 0) & (self.concentration * z >= -1)

    def feasible_like(self, prototype: Any) -> Any:
        value = self.loc + self.scale / (1 + abs(self.concentration))
        xp = array_module(value)
        return xp.broadcast_to(xp.asarray(value, prototype.dtype), np.shape(prototype))


@biject_to.register(GeneralizedParetoSupport)
class _OntoSupport(Transform):
    """x = loc + scale e^y / (1 + m e^y), where 1 / m is the length of the support, or m = 0."""

    _fields = ("support",)
    support: Any

    def __init__(self, support: Any) -> None:
        self._assign(support=support)

    @property
    def codomain(self) -> Constraint:
        support: Constraint = self.support
        return support

    @property
    def sign(self) -> Any:
        return 1

    def _parts(self) -> tuple[Any, Any, Any]:
        support = self.support
        return support.loc, support.scale, jnp.maximum(-jnp.asarray(support.concentration), 0.0)

    def __call__(self, x: Any) -> Any:
        loc, scale, m = self._parts()
        growth = jnp.exp(x)
        return loc + scale * growth / (1 + m * growth)

    def _inverse(self, y: Any) -> Any:
        loc, scale, m = self._parts()
        z = (y - loc) / scale
        return jnp.log(z) - jnp.log1p(-m * z)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        _, scale, m = self._parts()
        return jnp.log(scale) + x - 2.0 * jnp.log1p(m * jnp.exp(x))

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(shape), *(np.shape(part) for part in self._parts()))

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.forward_shape(shape)


class GeneralizedPareto(Distribution):
    """p(x) = (1 + c z)^(-1 / c - 1) / scale for z = (x - loc) / scale >= 0, where 1 + c z > 0.

    loc, scale > 0 and c = concentration broadcast together. c > 0 has the tail of a Pareto distribution, c = 0
    is an exponential one, and c < 0 ends at loc - scale / c. Values and derivatives are smooth in c across 0.
    The mean is infinite for c >= 1, the variance for c >= 1/2. Pickands (1975).
    """

    arg_constraints = parameters(
        loc=constraints.real, scale=constraints.positive, concentration=constraints.real
    )
    _noise_kind = "uniform"
    loc: jax.Array
    scale: jax.Array
    concentration: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = 1.0,
        concentration: Any = 0.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, concentration=concentration)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        c = self.concentration
        if is_concrete(c) and not np.any(np.asarray(c) < 0):
            return constraints.greater_than_eq(self.loc)
        if is_concrete(c) and np.all(np.asarray(c) < 0):
            return constraints.interval(self.loc, self.loc - self.scale / c)
        return GeneralizedParetoSupport(self.loc, self.scale, c)

    def _from_depth(self, depth: Any) -> Any:
        """The x with -log P(X > x) = depth: z = (exp(c depth) - 1) / c."""
        exponent = jnp.minimum(self.concentration * depth, 0.9 * math.log(float(jnp.finfo(self.dtype).max)))
        return self.loc + self.scale * depth * expm1_ratio(exponent)

    def _depth(self, z: Any) -> Any:
        """-log P(X > x) of a z inside the support: log(1 + c z) / c."""
        return z * log1p_ratio(self.concentration * z)

    def from_noise(self, noise: Any) -> Any:
        draw = self._from_depth(-jnp.log1p(-noise))
        c = self.concentration
        end = self.loc - self.scale / jnp.where(c < 0, c, -1.0)
        # Kept below the end, where the density can be infinite or zero.
        return jnp.where(c < 0, jnp.minimum(draw, next_to(end, self.loc)), draw)

    def _split(self, value: Any) -> tuple[Any, Any, Any]:
        """z, whether it lies inside the support, and whether beyond its end; z is safe where it does not."""
        z = (jnp.asarray(value) - self.loc) / self.scale
        beyond = (z >= 0) & (self.concentration * z <= -1)
        inside = (z >= 0) & ~beyond
        return jnp.where(inside, z, 0.0), inside, beyond

    def log_prob(self, value: Any) -> Any:
        c = self.concentration
        z, inside, beyond = self._split(value)
        log_prob = -(1 + c) * self._depth(z) - jnp.log(self.scale)
        at_end = beyond & ((jnp.asarray(value) - self.loc) / self.scale * c == -1)
        outside = jnp.where(at_end & (c < -1), jnp.inf, -jnp.inf)
        # With c = -1 the density is flat up to the end.
        outside = jnp.where(at_end & (c == -1), -jnp.log(self.scale), outside)
        return jnp.where(inside, log_prob, outside)

    def _of_depth(self, f: Any, value: Any, below: float, above: float) -> Any:
        z, inside, beyond = self._split(value)
        positive = inside & (z > 0)
        depth = self._depth(jnp.where(positive, z, 0.0))
        outside = jnp.where(beyond, above, below)
        return within(f, depth, positive, 1.0, outside)

    def cdf(self, value: Any) -> Any:
        return self._of_depth(lambda depth: -jnp.expm1(-depth), value, 0.0, 1.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_depth(lambda depth: log1mexp(-depth), value, -math.inf, 0.0)

    def survival_function(self, value: Any) -> Any:
        return self._of_depth(lambda depth: jnp.exp(-depth), value, 1.0, 0.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_depth(lambda depth: -depth, value, 0.0, -math.inf)

    def icdf(self, q: Any) -> Any:
        return self._from_depth(-jnp.log1p(-jnp.asarray(q, self.dtype)))

    def _isf(self, q: Any) -> Any:
        return self._from_depth(-jnp.log(jnp.asarray(q, self.dtype)))

    @property
    def mean(self) -> Any:
        c = self.concentration
        finite = c < 1
        return jnp.where(finite, self.loc + self.scale / jnp.where(finite, 1 - c, 1.0), jnp.inf)

    @property
    def variance(self) -> Any:
        c = self.concentration
        finite = c < 0.5
        safe = jnp.where(finite, c, 0.0)
        return jnp.where(finite, (self.scale / (1 - safe)) ** 2 / (1 - 2 * safe), jnp.inf)

    def entropy(self) -> Any:
        return jnp.log(self.scale) + self.concentration + 1
