"""Families of the forms x = loc + scale * z and x = scale * exp(z / power): everything follows from z."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._tails import finite_exp, log_ratio, within


class StandardForm(Distribution):
    """A distribution that follows from the law of a number z, stated by methods whose names begin ``_z_``.

    ``_z_log_prob``, ``_z_cdf``, ``_z_icdf``, ``_z_moments`` and ``_z_entropy`` are needed; the others follow
    from them, and are overridden where that is cheaper or keeps the tails. The noise is uniform, and
    ``_z_icdf`` makes the draw, unless a family says otherwise.
    """

    _noise_kind: ClassVar[Literal["normal", "uniform"] | None] = "uniform"

    def _z_log_prob(self, z: Any) -> Any:
        raise NotImplementedError

    def _z_cdf(self, z: Any) -> Any:
        raise NotImplementedError

    def _z_icdf(self, q: Any) -> Any:
        raise NotImplementedError

    def _z_log_cdf(self, z: Any) -> Any:
        return jnp.log(self._z_cdf(z))

    def _z_survival(self, z: Any) -> Any:
        return 1 - self._z_cdf(z)

    def _z_log_survival(self, z: Any) -> Any:
        return jnp.log(self._z_survival(z))

    def _z_isf(self, q: Any) -> Any:
        return self._z_icdf(1 - q)

    def _z_from_noise(self, noise: Any) -> Any:
        return self._z_icdf(noise)

    def _z_moments(self) -> tuple[Any, Any]:
        """Mean and variance of z."""
        raise NotImplementedError

    def _z_entropy(self) -> Any:
        raise NotImplementedError


class LocationScale(StandardForm):
    """x = loc + scale * z; loc and scale > 0."""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    loc: jax.Array
    scale: jax.Array

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, scale=scale)

    def _to_z(self, value: Any) -> Any:
        return (jnp.asarray(value) - self.loc) / self.scale

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self.scale * self._z_from_noise(noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        z = self._z_from_noise(noise)
        return self.loc + self.scale * z, self._z_log_prob(z) - jnp.log(self.scale)

    def log_prob(self, value: Any) -> Any:
        return self._z_log_prob(self._to_z(value)) - jnp.log(self.scale)

    def cdf(self, value: Any) -> Any:
        return self._z_cdf(self._to_z(value))

    def log_cdf(self, value: Any) -> Any:
        return self._z_log_cdf(self._to_z(value))

    def survival_function(self, value: Any) -> Any:
        return self._z_survival(self._to_z(value))

    def log_survival_function(self, value: Any) -> Any:
        return self._z_log_survival(self._to_z(value))

    def icdf(self, q: Any) -> Any:
        return self.loc + self.scale * self._z_icdf(jnp.asarray(q, self.dtype))

    def _isf(self, q: Any) -> Any:
        return self.loc + self.scale * self._z_isf(jnp.asarray(q, self.dtype))

    @property
    def mean(self) -> Any:
        return self.loc + jnp.asarray(self.scale) * self._z_moments()[0]

    @property
    def variance(self) -> Any:
        return jnp.square(self.scale) * self._z_moments()[1]

    def entropy(self) -> Any:
        return self._z_entropy() + jnp.log(self.scale)


class SymmetricLocationScale(LocationScale):
    """A z that is symmetric about 0: its lower half says all.

    A family states ``_z_tail``, P(Z <= z) for z <= 0, and ``_z_quantile``, the z <= 0 of a q <= 1/2.
    """

    def _z_tail(self, z: Any) -> Any:
        raise NotImplementedError

    def _z_quantile(self, q: Any) -> Any:
        raise NotImplementedError

    def _z_log_tail(self, z: Any) -> Any:
        return jnp.log(self._z_tail(z))

    def _z_cdf(self, z: Any) -> Any:
        tail = self._z_tail(minus_abs(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def _z_log_cdf(self, z: Any) -> Any:
        log_tail = self._z_log_tail(minus_abs(z))
        return jnp.where(z < 0, log_tail, jnp.log1p(-jnp.exp(log_tail)))

    def _z_survival(self, z: Any) -> Any:
        return self._z_cdf(-z)

    def _z_log_survival(self, z: Any) -> Any:
        return self._z_log_cdf(-z)

    def _z_icdf(self, q: Any) -> Any:
        z = self._z_quantile(jnp.minimum(q, 1 - q))
        return jnp.where(q < 0.5, z, -z)

    def _z_isf(self, q: Any) -> Any:
        return -self._z_icdf(q)

    @property
    def mean(self) -> Any:
        return self.loc


class LogScale(StandardForm):
    """x = scale * exp(z / power) > 0; ``_scale_and_power()`` states the two."""

    support = constraints.positive

    def _scale_and_power(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def _of_z(self, f: Any, value: Any, outside: float) -> Any:
        """f(z) of a value in the support, and ``outside`` below it."""
        scale, power = self._scale_and_power()
        lower = self.support.lower
        value = jnp.asarray(value)
        return within(lambda x: f(power * log_ratio(x, scale)), value, value > lower, 2 * scale, outside)

    def from_noise(self, noise: Any) -> Any:
        scale, power = self._scale_and_power()
        return finite_exp(jnp.log(scale) + self._z_from_noise(noise) / power)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        scale, power = self._scale_and_power()
        z = self._z_from_noise(noise)
        log_value = jnp.log(scale) + z / power
        return finite_exp(log_value), self._z_log_prob(z) + jnp.log(power) - log_value

    def cdf(self, value: Any) -> Any:
        return self._of_z(self._z_cdf, value, 0.0)

    def log_cdf(self, value: Any) -> Any:
        return self._of_z(self._z_log_cdf, value, -jnp.inf)

    def survival_function(self, value: Any) -> Any:
        return self._of_z(self._z_survival, value, 1.0)

    def log_survival_function(self, value: Any) -> Any:
        return self._of_z(self._z_log_survival, value, 0.0)

    def icdf(self, q: Any) -> Any:
        scale, power = self._scale_and_power()
        return scale * jnp.exp(self._z_icdf(jnp.asarray(q, self.dtype)) / power)

    def _isf(self, q: Any) -> Any:
        scale, power = self._scale_and_power()
        return scale * jnp.exp(self._z_isf(jnp.asarray(q, self.dtype)) / power)

    def entropy(self) -> Any:
        scale, power = self._scale_and_power()
        return self._z_entropy() + self._z_moments()[0] / jnp.asarray(power) + jnp.log(scale) - jnp.log(power)


def minus_abs(z: Any) -> jax.Array:
    """-|z|, of slope 1 or -1 at 0, so that what is smooth in z there has its derivatives."""
    return jnp.where(z < 0, z, -z)
