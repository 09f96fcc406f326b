"""Laplace distributions whose two sides have scales of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import constraints

from ._distribution import Distribution
from ._location_scale import LocationScale
from ._parameters import parameters
from ._tails import HALF_LOG_2PI, log_mills, log_ndtr


class _TwoSided(LocationScale):
    """Exponential tails to the left and to the right of 0, with ``_sides()`` their scales, and mode 0."""

    def _sides(self) -> tuple[Any, Any]:
        raise NotImplementedError

    @property
    def left_scale(self) -> Any:
        """The scale below loc."""
        return self.scale * self._sides()[0]

    @property
    def right_scale(self) -> Any:
        """The scale above loc."""
        return self.scale * self._sides()[1]

    def _z_log_prob(self, z: Any) -> Any:
        left, right = self._sides()
        return z * jnp.where(z < 0, 1 / left, -1 / right) - jnp.log(left + right)

    def _log_mass_and_depth(self, z: Any) -> tuple[Any, Any, Any]:
        """log P(beyond 0 on the side of z), and z in scales of its side, left and right."""
        left, right = self._sides()
        side = jnp.where(z < 0, left, right)
        return jnp.log(side / (left + right)) - jnp.abs(z) / side, left, right

    def _z_cdf(self, z: Any) -> Any:
        tail = jnp.exp(self._log_mass_and_depth(z)[0])
        return jnp.where(z < 0, tail, 1 - tail)

    def _z_survival(self, z: Any) -> Any:
        tail = jnp.exp(self._log_mass_and_depth(z)[0])
        return jnp.where(z < 0, 1 - tail, tail)

    def _z_log_cdf(self, z: Any) -> Any:
        log_tail = self._log_mass_and_depth(z)[0]
        return jnp.where(z < 0, log_tail, jnp.log1p(-jnp.exp(log_tail)))

    def _z_log_survival(self, z: Any) -> Any:
        log_tail = self._log_mass_and_depth(z)[0]
        return jnp.where(z < 0, jnp.log1p(-jnp.exp(log_tail)), log_tail)

    def _z_icdf(self, q: Any) -> Any:
        return self._quantile(q, 1 - q)

    def _z_isf(self, q: Any) -> Any:
        return self._quantile(1 - q, q)

    def _quantile(self, below: Any, above: Any) -> Any:
        left, right = self._sides()
        total = left + right
        low = below * total < left
        depth = jnp.log(jnp.where(low, below, above) * (total / jnp.where(low, left, right)))
        return jnp.where(low, left * depth, -right * depth)

    def _z_moments(self) -> tuple[Any, Any]:
        left, right = self._sides()
        return right - left, left**2 + right**2

    def _z_entropy(self) -> Any:
        left, right = self._sides()
        return 1.0 + jnp.log(left + right)


class AsymmetricLaplace(_TwoSided):
    """p(x) = exp(-|x - loc| / s) / (scale (a + 1 / a)), s = scale a left of loc and scale / a right of it.

    loc, scale > 0 and a = asymmetry > 0 broadcast together.
    """

    arg_constraints = parameters(
        loc=constraints.real, scale=constraints.positive, asymmetry=constraints.positive
    )
    asymmetry: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = 1.0,
        asymmetry: Any = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, asymmetry=asymmetry)

    def _sides(self) -> tuple[Any, Any]:
        a = jnp.asarray(self.asymmetry)
        return a, 1 / a


class AsymmetricLaplaceQuantile(_TwoSided):
    """p(x) = q (1 - q) / scale exp(-z (q - [z < 0])), z = (x - loc) / scale; loc is its q-quantile.

    loc, scale > 0 and 0 < q = quantile < 1 broadcast together. The log density is the check loss of quantile
    regression (Koenker and Machado 1999).
    """

    arg_constraints = parameters(
        loc=constraints.real, scale=constraints.positive, quantile=constraints.open_interval(0.0, 1.0)
    )
    quantile: jax.Array

    def __init__(
        self,
        loc: Any = 0.0,
        scale: Any = 1.0,
        quantile: Any = 0.5,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, quantile=quantile)

    def _sides(self) -> tuple[Any, Any]:
        q = jnp.asarray(self.quantile)
        return 1 / (1 - q), 1 / q


class SoftAsymmetricLaplace(LocationScale):
    """x = loc + scale (softness n - a u + v / a) with n standard normal, u and v standard exponential.

    An asymmetric Laplace distribution smoothed by a normal; loc, scale > 0, a = asymmetry > 0 and softness > 0
    broadcast together.
    """

    arg_constraints = parameters(
        loc=constraints.real,
        scale=constraints.positive,
        asymmetry=constraints.positive,
        softness=constraints.positive,
    )
    _noise_kind = None
    _pathwise = True
    asymmetry: jax.Array
    softness: jax.Array

    def __init__(
        self,
        loc: Any,
        scale: Any,
        asymmetry: Any = 1.0,
        softness: Any = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, asymmetry=asymmetry, softness=softness)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_normal, key_left, key_right = jax.random.split(key, 3)
        shape, dtype = self.shape(sample_shape), self.dtype
        z = self.softness * jax.random.normal(key_normal, shape, dtype)
        z -= self.asymmetry * jax.random.exponential(key_left, shape, dtype)
        z += jax.random.exponential(key_right, shape, dtype) / self.asymmetry
        return self.loc + self.scale * z

    def _sides(self) -> tuple[Any, Any]:
        a = jnp.asarray(self.asymmetry)
        return a, 1 / a

    def _log_side(self, z: Any, side: Any) -> Any:
        """log of the integral over t > 0 of exp(-t / side) times the normal density at z + t."""
        s = self.softness
        y = z / s
        far = y + s / side
        # exp(s^2 / (2 side^2) + z / side) Phi(-far) is phi(y) Phi(-far) / phi(far): the squares cancel by hand.
        positive = far > 0
        by_ratio = -0.5 * y * y - HALF_LOG_2PI + log_mills(jnp.where(positive, far, 0.0))
        direct = (0.5 * (s / side) + y) * (s / side) + log_ndtr(-jnp.where(positive, 0.0, far))
        return jnp.where(positive, by_ratio, direct)

    def _z_log_prob(self, z: Any) -> Any:
        left, right = self._sides()
        sides = jnp.logaddexp(self._log_side(z, left), self._log_side(-z, right))
        return sides - jnp.log(left + right)

    def _log_below(self, z: Any, left: Any, right: Any) -> Any:
        """log P(Z <= z) in the lower tail: Phi(z / s) + (left side_left - right side_right) / (left + right)."""
        y, total = z / self.softness, left + right
        # The ratio of side_right to Phi(y), in which the squares that overflow cancel by hand.
        ratio = jnp.exp(log_mills(self.softness / right - y) - log_mills(-y))
        log_left = jnp.log(left / total) + self._log_side(z, left)
        return jnp.logaddexp(log_left, log_ndtr(y) + jnp.log1p(-right / total * ratio))

    def _log_nearer_tail(self, z: Any) -> Any:
        low, (a, b) = z < 0, self._sides()
        left, right = jnp.where(low, a, b), jnp.where(low, b, a)
        return self._log_below(jnp.where(low, z, -z), left, right)

    def _z_log_cdf(self, z: Any) -> Any:
        log_tail = self._log_nearer_tail(z)
        return jnp.where(z < 0, log_tail, jnp.log1p(-jnp.exp(log_tail)))

    def _z_log_survival(self, z: Any) -> Any:
        log_tail = self._log_nearer_tail(z)
        return jnp.where(z < 0, jnp.log1p(-jnp.exp(log_tail)), log_tail)

    def _z_cdf(self, z: Any) -> Any:
        tail = jnp.exp(self._log_nearer_tail(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def _z_survival(self, z: Any) -> Any:
        tail = jnp.exp(self._log_nearer_tail(z))
        return jnp.where(z < 0, 1 - tail, tail)

    def _has_cdf_derivatives(self) -> bool:
        return True

    icdf = Distribution.icdf
    _isf = Distribution._isf
    entropy = Distribution.entropy

    def _z_moments(self) -> tuple[Any, Any]:
        left, right = self._sides()
        return right - left, left**2 + right**2 + self.softness**2
