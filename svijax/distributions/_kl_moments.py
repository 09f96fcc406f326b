"""Expectations under scalar families: what the logarithm of another density is made of."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, erf, gammaln, polygamma

from svijax.base import gammainc, log_beta, stirling_error, xlogy

from ._beta import Beta
from ._exponential import Exponential
from ._gamma import Gamma
from ._kl_numerics import digamma_error
from ._normal import HalfNormal, LogNormal, Normal
from ._uniform import Uniform

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = float(np.euler_gamma)


def when(inside: Any, formula: Any, *args: Any) -> Any:
    """``formula(*args)`` where ``inside``, else inf; outside it is evaluated, for its derivative, at ones."""
    value = formula(*(jnp.where(inside, arg, 1.0) for arg in args))
    return jnp.where(inside, value, jnp.inf)


class Moments:
    """Expectations under ``self.d``. A family has the methods that it knows; all are finite-valued in derivative.

    ``low`` and ``high`` bound the support. Known to some: ``log()`` is E log X, ``log_rest()`` E log(1 - X),
    ``log_square(m)`` E (log X - m)^2, ``square(m)`` E (X - m)^2, ``distance(m)`` E |X - m|, ``power(k)`` E X^k,
    ``decay(t, m)`` E exp(-t (X - m)).
    """

    family: ClassVar[type]
    low: Any = -math.inf
    high: Any = math.inf

    def __init__(self, d: Any) -> None:
        self.d = d

    def entropy(self) -> Any:
        """-E log p(X)."""
        return self.d.entropy()

    def mean(self) -> Any:
        """E X."""
        return self.d.mean

    def square(self, m: Any) -> Any:
        """E (X - m)^2 = Var X + (E X - m)^2."""
        return self.d.variance + (self.d.mean - m) ** 2


class NormalMoments(Moments):
    """X = loc + scale Z, Z standard normal."""

    family = Normal

    def distance(self, m: Any) -> Any:
        """scale (2 phi(z) + z erf(z / sqrt 2)), z = (loc - m) / scale."""
        z = (self.d.loc - m) / self.d.scale
        folded = math.sqrt(2 / math.pi) * jnp.exp(-0.5 * z * z) + z * erf(z / math.sqrt(2))
        return self.d.scale * folded

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t (m - loc) + (t scale)^2 / 2)."""
        return jnp.exp(t * (0.5 * t * self.d.scale**2 + m - self.d.loc))


class UniformMoments(Moments):
    """p(x) = 1 / (high - low) on (low, high)."""

    family = Uniform

    @property
    def low(self) -> Any:
        return self.d.low

    @property
    def high(self) -> Any:
        return self.d.high

    def log(self) -> Any:
        """(h log h - l log l) / (h - l) - 1, h = high and l = low."""
        return _uniform_log(self.low, self.high)

    def log_rest(self) -> Any:
        """E log U, U = 1 - X uniform on (1 - high, 1 - low)."""
        return _uniform_log(1 - self.high, 1 - self.low)

    def distance(self, m: Any) -> Any:
        """((high - m)^2 + (m - low)^2) / (2 (high - low)) for m inside, |m - E X| outside."""
        inner = jnp.clip(m, self.low, self.high)
        within = 0.5 * ((self.high - inner) ** 2 + (inner - self.low) ** 2) / (self.high - self.low)
        return within + jnp.abs(m - inner)

    def power(self, k: Any) -> Any:
        """(high^(k+1) - low^(k+1)) / ((k + 1) (high - low))."""
        low, high = jnp.maximum(self.low, 0.0), jnp.maximum(self.high, 0.0)
        ends = [jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** (k + 1), 0.0) for x in (low, high)]
        return (ends[1] - ends[0]) / ((k + 1) * (self.high - self.low))

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t (m - low)) (1 - exp(-w)) / w, w = t (high - low)."""
        width = t * (self.high - self.low)
        return jnp.exp(t * (m - self.low)) * -jnp.expm1(-width) / width


def _uniform_log(low: Any, high: Any) -> Any:
    """E log X for X uniform on (low, high), 0 <= low; some finite number elsewhere."""
    ends = (low >= 0) & (high > 0)
    low, high = jnp.where(ends, low, 0.5), jnp.where(ends, high, 1.0)
    # -((1 - u) log(1 - u) + u) / u of the relative width u, which is -u / 2 for a narrow one.
    u = (high - low) / high
    near = u < 0.1
    small, wide = jnp.where(near, u, 0.0), jnp.where(near, 0.5, u)
    series: Any = 0.0
    for k in range(18, 1, -1):
        series = 1.0 / (k * (k - 1)) + small * series
    return jnp.log(high) - jnp.where(near, small * series, 1.0 + xlogy(1 - wide, 1 - wide) / wide)


class GammaMoments(Moments):
    """p(x) = r^c x^(c-1) exp(-r x) / Gamma(c), c = concentration and r = rate."""

    family: ClassVar[type] = Gamma
    low = 0.0

    @property
    def _pair(self) -> tuple[Any, Any]:
        return self.d.concentration, self.d.rate

    def entropy(self) -> Any:
        c, rate = self._pair
        rest = _HALF_LOG_2PI + stirling_error(c) + 0.5 * jnp.log(c)
        return rest + (1 - c) * digamma_error(c) - jnp.log(rate)

    def log(self) -> Any:
        """psi(c) - log r."""
        c, rate = self._pair
        return digamma(c) - jnp.log(rate)

    def log_square(self, m: Any) -> Any:
        """psi'(c) + (E log X - m)^2."""
        return polygamma(1, self._pair[0]) + (self.log() - m) ** 2

    def power(self, k: Any) -> Any:
        """Gamma(c + k) / (Gamma(c) r^k) for k > -c, else inf."""
        c, rate = self._pair
        return when(c + k > 0, lambda c, k, rate: jnp.exp(gammaln(c + k) - gammaln(c)) * rate**-k, c, k, rate)

    def decay(self, t: Any, m: Any) -> Any:
        """exp(t m) (1 + t / r)^-c."""
        c, rate = self._pair
        return jnp.exp(t * m - c * jnp.log1p(t / rate))

    def distance(self, m: Any) -> Any:
        """c / r - m + 2 (m P(c, r m) - (c / r) P(c + 1, r m)), P the incomplete gamma function."""
        c, rate = self._pair
        inside = m > 0
        x = rate * jnp.where(inside, m, 1.0)
        across = m * gammainc(c, x) - c / rate * gammainc(c + 1, x)
        return c / rate - m + 2 * jnp.where(inside, across, 0.0)


class ExponentialMoments(GammaMoments):
    """A gamma variable of concentration 1."""

    family = Exponential

    @property
    def _pair(self) -> tuple[Any, Any]:
        return jnp.ones_like(self.d.rate), self.d.rate


class BetaMoments(Moments):
    """p(x) = x^(a-1) (1 - x)^(b-1) / B(a, b), a = concentration1 and b = concentration0."""

    family = Beta
    low, high = 0.0, 1.0

    @property
    def _pair(self) -> tuple[Any, Any]:
        return self.d.concentration1, self.d.concentration0

    def entropy(self) -> Any:
        a, b = self._pair
        total = a + b
        logs = 0.5 * (jnp.log(a / total) + jnp.log(b / total) - jnp.log(total)) + _HALF_LOG_2PI
        errors = stirling_error(a) + stirling_error(b) - stirling_error(total)
        slopes = (a - 1) * digamma_error(a) + (b - 1) * digamma_error(b)
        return logs + errors - slopes + (total - 2) * digamma_error(total)

    def log(self) -> Any:
        """psi(a) - psi(a + b)."""
        a, b = self._pair
        return jnp.log(a / (a + b)) + digamma_error(a) - digamma_error(a + b)

    def log_rest(self) -> Any:
        """psi(b) - psi(a + b)."""
        a, b = self._pair
        return jnp.log(b / (a + b)) + digamma_error(b) - digamma_error(a + b)

    def log_square(self, m: Any) -> Any:
        """psi'(a) - psi'(a + b) + (E log X - m)^2."""
        a, b = self._pair
        return polygamma(1, a) - polygamma(1, a + b) + (self.log() - m) ** 2

    def power(self, k: Any) -> Any:
        """B(a + k, b) / B(a, b) for k > -a, else inf."""
        a, b = self._pair
        return when(a + k > 0, lambda a, b, k: jnp.exp(log_beta(a + k, b) - log_beta(a, b)), a, b, k)


class LogNormalMoments(Moments):
    """log X normal with loc and scale."""

    family = LogNormal
    low = 0.0

    def log(self) -> Any:
        """loc."""
        return self.d.loc

    def log_square(self, m: Any) -> Any:
        """scale^2 + (loc - m)^2."""
        return self.d.scale**2 + (self.d.loc - m) ** 2

    def power(self, k: Any) -> Any:
        """exp(k loc + (k scale)^2 / 2)."""
        return jnp.exp(k * (self.d.loc + 0.5 * k * self.d.scale**2))


class HalfNormalMoments(Moments):
    """X = scale |Z|, Z standard normal."""

    family = HalfNormal
    low = 0.0

    def log(self) -> Any:
        """log scale - (log 2 + gamma) / 2, gamma Euler's constant."""
        return jnp.log(self.d.scale) - 0.5 * (math.log(2.0) + _EULER)

    def log_square(self, m: Any) -> Any:
        """pi^2 / 8 + (E log X - m)^2."""
        return math.pi**2 / 8 + (self.log() - m) ** 2

    def power(self, k: Any) -> Any:
        """Gamma((k + 1) / 2) (sqrt(2) scale)^k / sqrt(pi) for k > -1, else inf."""

        def formula(k: Any, scale: Any) -> Any:
            return jnp.exp(gammaln(0.5 * (k + 1)) - 0.5 * math.log(math.pi)) * (math.sqrt(2) * scale) ** k

        return when(k > -1, formula, k, self.d.scale)


FAMILIES: tuple[type[Moments], ...] = (
    NormalMoments,
    UniformMoments,
    GammaMoments,
    ExponentialMoments,
    BetaMoments,
    LogNormalMoments,
    HalfNormalMoments,
)
