"""The logistic distribution, its skewed form, and Dagum's, which is exp of the skewed form."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, polygamma

from svijax.base import log_beta, log_sigmoid, softplus, softplus_inverse
from svijax.transforms import constraints

from ._location_scale import LocationScale, LogScale, StandardForm, SymmetricLocationScale, minus_abs
from ._parameters import parameters
from ._tails import from_zero, log_cdf_of_log_hazard, log_softplus, widened

trigamma = widened(lambda x: polygamma(1, x))


class Logistic(SymmetricLocationScale):
    """p(x) = exp(-z) / (scale (1 + exp(-z))^2), z = (x - loc) / scale; loc and scale > 0 broadcast together."""

    def _z_log_prob(self, z: Any) -> Any:
        size = minus_abs(z)
        return size - 2.0 * jnp.log1p(jnp.exp(size))

    def _z_cdf(self, z: Any) -> Any:
        return jax.nn.sigmoid(z)

    def _z_log_cdf(self, z: Any) -> Any:
        return log_sigmoid(z)

    def _z_icdf(self, q: Any) -> Any:
        return jnp.log(q) - jnp.log1p(-q)

    @property
    def variance(self) -> Any:
        return math.pi**2 / 3.0 * jnp.square(self.scale)

    def _z_entropy(self) -> Any:
        return 2.0


class _SkewForm(StandardForm):
    """P(Z <= z) = (1 + exp(-z))^-a, a = ``_asymmetry``."""

    @property
    def _asymmetry(self) -> Any:
        raise NotImplementedError

    def _z_log_prob(self, z: Any) -> Any:
        # a z - (a + 1) softplus(z), whose parts would cancel for z > 0.
        a = self._asymmetry
        main = jnp.where(z < 0, a * z, -z)
        return main - (a + 1) * jnp.log1p(jnp.exp(minus_abs(z))) + jnp.log(a)

    def _z_log_cdf(self, z: Any) -> Any:
        return -self._asymmetry * softplus(-z)

    def _z_cdf(self, z: Any) -> Any:
        return jnp.exp(self._z_log_cdf(z))

    def _z_survival(self, z: Any) -> Any:
        return -jnp.expm1(self._z_log_cdf(z))

    def _z_log_survival(self, z: Any) -> Any:
        return log_cdf_of_log_hazard(jnp.log(self._asymmetry) + log_softplus(-z))

    def _z_icdf(self, q: Any) -> Any:
        return -softplus_inverse(-jnp.log(q) / self._asymmetry)

    def _z_isf(self, q: Any) -> Any:
        return -softplus_inverse(-jnp.log1p(-q) / self._asymmetry)

    def _z_moments(self) -> tuple[Any, Any]:
        a = self._asymmetry
        return digamma(a) + np.euler_gamma, trigamma(a) + math.pi**2 / 6.0

    def _z_entropy(self) -> Any:
        a = self._asymmetry
        return digamma(a + 1) + (np.euler_gamma + 1.0) - jnp.log(a)


class SkewLogistic(_SkewForm, LocationScale):
    """p(x) = a exp(-z) / (scale (1 + exp(-z))^(a + 1)), z = (x - loc) / scale; a logistic distribution for a = 1.

    loc, scale > 0 and a = asymmetry > 0 broadcast together. The generalised logistic distribution of type I.
    """

    arg_constraints = parameters(
        loc=constraints.real, scale=constraints.positive, asymmetry=constraints.positive
    )
    asymmetry: jax.Array

    def __init__(
        self, loc: Any, scale: Any, asymmetry: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, loc=loc, scale=scale, asymmetry=asymmetry)

    @property
    def _asymmetry(self) -> Any:
        return self.asymmetry


class Dagum(_SkewForm, LogScale):
    """p(x) = a p / x (x / b)^(a p) / (1 + (x / b)^a)^(p + 1) for x > 0, so that P(X <= x) = (1 + (x / b)^-a)^-p.

    p = concentration > 0, a = sharpness > 0 and b = scale > 0 broadcast together. Dagum (1977). It is exp of a
    skew-logistic distribution; the mean is infinite for a <= 1, the variance for a <= 2.
    """

    arg_constraints = parameters(
        concentration=constraints.positive, sharpness=constraints.positive, scale=constraints.positive
    )
    concentration: jax.Array
    sharpness: jax.Array
    scale: jax.Array

    def __init__(
        self, concentration: Any, sharpness: Any, scale: Any, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, concentration=concentration, sharpness=sharpness, scale=scale)

    @property
    def _asymmetry(self) -> Any:
        return self.concentration

    def _scale_and_power(self) -> tuple[Any, Any]:
        return self.scale, self.sharpness

    def log_prob(self, value: Any) -> Any:
        p, a = self.concentration, self.sharpness

        def inside(x: Any) -> Any:
            zero = x == 0
            log_x = jnp.log(jnp.where(zero, 1.0, x))
            size = jnp.where(zero, -jnp.inf, minus_abs(a * log_x))
            # (a p - 1) log(x / b) for x < b, and -(a + 1) log(x / b) beyond, so that nothing cancels.
            main = jnp.where(log_x < 0, a * p - 1, -a - 1) * log_x
            return main - (p + 1) * jnp.log1p(jnp.exp(size)) + jnp.log(a * p) - jnp.log(self.scale)

        return from_zero(inside, jnp.asarray(value) / self.scale, a * p - 1)

    def _log_moment(self, n: int) -> Any:
        """log E (X / scale)^n, n < sharpness."""
        shift = n / jnp.where(self.sharpness > n, self.sharpness, n + 1.0)
        return jnp.log(self.concentration) + log_beta(1 - shift, self.concentration + shift)

    @property
    def mean(self) -> Any:
        return jnp.where(self.sharpness > 1, self.scale * jnp.exp(self._log_moment(1)), jnp.inf)

    @property
    def variance(self) -> Any:
        first = self._log_moment(1)
        spread = jnp.exp(2 * first) * jnp.expm1(self._log_moment(2) - 2 * first)
        return jnp.where(self.sharpness > 2, self.scale**2 * spread, jnp.inf)
