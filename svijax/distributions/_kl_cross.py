"""KL divergences between unlike scalar families: E_p log p by the entropy, E_p log q by expectations under p."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import gammaln

from svijax.base import log_beta

from . import _kl_same  # noqa: F401
from ._beta import Beta
from ._exponential import Exponential
from ._gamma import Gamma
from ._gumbel import Gumbel, Weibull
from ._kl_moments import FAMILIES, Moments
from ._kl_moments_exponential import EXPONENTIAL
from ._kl_registry import has_rule, inf_unless, register_kl
from ._laplace import Laplace
from ._normal import HalfNormal, LogNormal, Normal
from ._pareto import Pareto
from ._uniform import Uniform
from ._unit_exponential import ContinuousBernoulli

End = float | Callable[[Any], Any]
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Density(NamedTuple):
    """-E log q as a function of q and of the expectations that it ``needs``; the ends of the support of q.

    An end is a number, or a function of q. A lower end that is a function is greater than ``above``.
    """

    needs: tuple[str, ...]
    cross_entropy: Callable[[Any, Any], Any]
    low: End = -math.inf
    high: End = math.inf
    above: float = -math.inf


def _normal(q: Normal, e: Any) -> Any:
    return 0.5 * e.square(q.loc) / q.scale**2 + jnp.log(q.scale) + _HALF_LOG_2PI


def _half_normal(q: HalfNormal, e: Any) -> Any:
    return 0.5 * e.square(0.0) / q.scale**2 + jnp.log(q.scale) + 0.5 * math.log(0.5 * math.pi)


def _log_normal(q: LogNormal, e: Any) -> Any:
    return 0.5 * e.log_square(q.loc) / q.scale**2 + e.log() + jnp.log(q.scale) + _HALF_LOG_2PI


def _exponential(q: Exponential, e: Any) -> Any:
    return q.rate * e.mean() - jnp.log(q.rate)


def _gamma(q: Gamma, e: Any) -> Any:
    c = q.concentration
    return gammaln(c) - c * jnp.log(q.rate) - (c - 1) * e.log() + q.rate * e.mean()


def _beta(q: Beta, e: Any) -> Any:
    a, b = q.concentration1, q.concentration0
    return log_beta(a, b) - (a - 1) * e.log() - (b - 1) * e.log_rest()


def _gumbel(q: Gumbel, e: Any) -> Any:
    return (e.mean() - q.loc) / q.scale + e.decay(1 / q.scale, q.loc) + jnp.log(q.scale)


def _weibull(q: Weibull, e: Any) -> Any:
    k = q.concentration
    log_scale = jnp.log(q.scale)
    return (1 - k) * e.log() + k * log_scale - jnp.log(k) + e.power(k) * jnp.exp(-k * log_scale)


def _laplace(q: Laplace, e: Any) -> Any:
    return e.distance(q.loc) / q.scale + jnp.log(2 * q.scale)


def _pareto(q: Pareto, e: Any) -> Any:
    return (q.alpha + 1) * e.log() - q.alpha * jnp.log(q.scale) - jnp.log(q.alpha)


def _continuous_bernoulli(q: ContinuousBernoulli, e: Any) -> Any:
    return q._log_mass(q.logits) - q.logits * e.mean()


def _uniform(q: Uniform, e: Any) -> Any:
    return jnp.log(q.high - q.low)


DENSITIES: dict[type, Density] = {
    Normal: Density(("square",), _normal),
    HalfNormal: Density(("square",), _half_normal, low=0.0),
    LogNormal: Density(("log", "log_square"), _log_normal, low=0.0),
    Exponential: Density(("mean",), _exponential, low=0.0),
    Gamma: Density(("log", "mean"), _gamma, low=0.0),
    Beta: Density(("log", "log_rest"), _beta, low=0.0, high=1.0),
    Gumbel: Density(("mean", "decay"), _gumbel),
    Weibull: Density(("log", "power"), _weibull, low=0.0),
    Laplace: Density(("distance",), _laplace),
    Pareto: Density(("log",), _pareto, low=lambda q: q.scale, above=0.0),
    ContinuousBernoulli: Density(("mean",), _continuous_bernoulli, low=0.0, high=1.0),
    Uniform: Density((), _uniform, low=lambda q: q.low, high=lambda q: q.high),
}


def _always_outside(p: type[Moments], q: Density) -> bool:
    """Whether p has mass outside the support of q whatever their parameters are."""
    low, high = p.low, p.high  # on the class an end that varies is a property
    if isinstance(low, float) and (low <= q.above if callable(q.low) else low < q.low):
        return True
    return isinstance(high, float) and (high == math.inf if callable(q.high) else high > q.high)


def _end(end: End, q: Any) -> Any:
    return end(q) if callable(end) else end


def _finite(p: type[Moments], density: Density) -> Callable[[Any, Any], Any]:
    def rule(d: Any, q: Any) -> Any:
        e = p(d)
        value = jnp.asarray(density.cross_entropy(q, e) - e.entropy())
        inside = (e.low >= _end(density.low, q)) & (e.high <= _end(density.high, q))
        return value if inside is True else inf_unless(inside, value)

    return rule


def _infinite(d: Any, q: Any) -> Any:
    return jnp.full((), jnp.inf, jnp.result_type(d.dtype, q.dtype))


# Pairs with a rule of their own keep it: near equal parameters it is the more accurate one.
for _p in (*FAMILIES, *EXPONENTIAL):
    for _q, _density in DENSITIES.items():
        if not has_rule(_p.family, _q):
            if _always_outside(_p, _density):
                register_kl(_p.family, _q)(_infinite)
            elif all(hasattr(_p, name) for name in _density.needs):
                register_kl(_p.family, _q)(_finite(_p, _density))
