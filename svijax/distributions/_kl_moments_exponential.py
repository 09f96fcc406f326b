"""Expectations under families made of exponential variables and their powers and logarithms."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from svijax.base import log_beta

from ._gumbel import Gumbel, Weibull
from ._kl_moments import Moments, when
from ._kumaraswamy import Kumaraswamy
from ._laplace import Laplace
from ._logistic import Logistic
from ._pareto import Pareto
from ._unit_exponential import ContinuousBernoulli

_EULER = float(np.euler_gamma)


class LaplaceMoments(Moments):
    """p(x) = exp(-|x - loc| / scale) / (2 scale)."""

    family: ClassVar[type] = Laplace

    def distance(self, m: Any) -> Any:
        """g + scale exp(-g / scale), g = |loc - m|."""
        gap = jnp.abs(self.d.loc - m)
        return gap + self.d.scale * jnp.exp(-gap / self.d.scale)

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t (m - loc)) / (1 - (t scale)^2) for t scale < 1, else inf."""
        x = t * self.d.scale
        return _where_below_one(x, lambda x: 1 / ((1 - x) * (1 + x))) * jnp.exp(t * (m - self.d.loc))


def _where_below_one(x: Any, formula: Any) -> Any:
    """``formula(x)`` for x < 1, else inf."""
    inside = x < 1
    return jnp.where(inside, formula(jnp.where(inside, x, 0.5)), jnp.inf)


class LogisticMoments(Moments):
    """X = loc + scale log(U / (1 - U)), U uniform."""

    family: ClassVar[type] = Logistic

    def entropy(self) -> Any:
        return 2.0 + jnp.log(self.d.scale)

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t (m - loc)) pi x / sin(pi x) for x = t scale < 1, else inf."""
        return _where_below_one(t * self.d.scale, lambda x: 1 / jnp.sinc(x)) * jnp.exp(t * (m - self.d.loc))


class GumbelMoments(Moments):
    """X = loc - scale log E, E exponential."""

    family: ClassVar[type] = Gumbel

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t (m - loc)) Gamma(1 + t scale)."""
        return jnp.exp(gammaln(1 + t * self.d.scale) + t * (m - self.d.loc))


class WeibullMoments(Moments):
    """X = scale E^(1 / c), E exponential and c = concentration."""

    family: ClassVar[type] = Weibull
    low = 0.0

    def log(self) -> Any:
        """log scale - gamma / c, gamma Euler's constant."""
        return jnp.log(self.d.scale) - _EULER / self.d.concentration

    def log_square(self, m: Any) -> Any:
        """pi^2 / (6 c^2) + (E log X - m)^2."""
        return math.pi**2 / 6 / self.d.concentration**2 + (self.log() - m) ** 2

    def power(self, k: Any) -> Any:
        """scale^k Gamma(1 + k / c) for k > -c, else inf."""

        def formula(ratio: Any, k: Any, scale: Any) -> Any:
            return jnp.exp(gammaln(1 + ratio) + k * jnp.log(scale))

        ratio = k / self.d.concentration
        return when(ratio > -1, formula, ratio, k, self.d.scale)


class ParetoMoments(Moments):
    """X = scale exp(E / alpha), E exponential."""

    family: ClassVar[type] = Pareto

    @property
    def low(self) -> Any:
        return self.d.scale

    def mean(self) -> Any:
        return self.power(jnp.ones_like(self.d.alpha))

    def square(self, m: Any) -> Any:
        mean = self.power(jnp.ones_like(self.d.alpha))
        square = self.power(2 * jnp.ones_like(self.d.alpha))
        return jnp.where(
            jnp.isinf(square), jnp.inf, square - m * (2 * jnp.where(jnp.isinf(mean), 0.0, mean) - m)
        )

    def log(self) -> Any:
        """log scale + 1 / alpha."""
        return jnp.log(self.d.scale) + 1 / self.d.alpha

    def log_square(self, m: Any) -> Any:
        """1 / alpha^2 + (E log X - m)^2."""
        return 1 / self.d.alpha**2 + (self.log() - m) ** 2

    def power(self, k: Any) -> Any:
        """alpha scale^k / (alpha - k) for k < alpha, else inf."""
        alpha, scale = self.d.alpha, self.d.scale
        inside = alpha > k
        gap = jnp.where(inside, alpha - k, 1.0)
        return jnp.where(inside, alpha / gap * scale**k, jnp.inf)


class ContinuousBernoulliMoments(Moments):
    """p(x) = exp(l x) / C(l) on [0, 1], l = logits and C(l) the integral of exp(l x)."""

    family: ClassVar[type] = ContinuousBernoulli
    low, high = 0.0, 1.0

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t m) C(l - t) / C(l)."""
        logits = self.d.logits
        return jnp.exp(self.d._log_mass(logits - t) - self.d._log_mass(logits) + t * m)


# Nodes and weights of E g(W), W of rate 1: double exponential quadrature.
_T = np.arange(-4.2, 4.2, 0.07)
_W = np.exp(_T - np.exp(-_T))
_WEIGHTS = 0.07 * np.exp(-_W) * _W * (1.0 + np.exp(-_T))


class KumaraswamyMoments(Moments):
    """X = (1 - exp(-E / b))^(1 / a), E exponential, a = concentration1 and b = concentration0."""

    family: ClassVar[type] = Kumaraswamy
    low, high = 0.0, 1.0

    @property
    def _pair(self) -> tuple[Any, Any]:
        return self.d.concentration1, self.d.concentration0

    def log(self) -> Any:
        """-(gamma + psi(b + 1)) / a, gamma Euler's constant."""
        a, b = self._pair
        return -(_EULER + digamma(b + 1)) / a

    def log_rest(self) -> Any:
        """By quadrature: x = (1 - exp(-w / b))^(1 / a) for w exponential."""
        a, b = (jnp.asarray(part)[..., None] for part in self._pair)
        nodes, weights = (np.asarray(x, self.d.dtype) for x in (_W, _WEIGHTS))
        rate = nodes / b
        near = jnp.minimum(rate, 30.0)
        log_x = jnp.where(near < 0.7, jnp.log(-jnp.expm1(-near)), jnp.log1p(-jnp.exp(-near))) / a
        # Far out 1 - x is exp(-w / b) / a.
        log_rest = jnp.where(rate < 30.0, jnp.log(-jnp.expm1(log_x)), -rate - jnp.log(a))
        return jnp.sum(weights * log_rest, axis=-1)

    def power(self, k: Any) -> Any:
        """b B(1 + k / a, b) for k > -a, else inf."""
        a, b = self._pair

        def formula(ratio: Any, b: Any) -> Any:
            return b * jnp.exp(log_beta(1 + ratio, b))

        return when(k / a > -1, formula, k / a, b)


EXPONENTIAL: tuple[type[Moments], ...] = (
    LaplaceMoments,
    LogisticMoments,
    GumbelMoments,
    WeibullMoments,
    ParetoMoments,
    ContinuousBernoulliMoments,
    KumaraswamyMoments,
)
