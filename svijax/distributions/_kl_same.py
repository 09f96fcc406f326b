"""KL divergences of scalar families from themselves, in forms that are exactly 0 at equal parameters."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln

from svijax.base import log1p_square

from ._beta import Beta
from ._cauchy import Cauchy, HalfCauchy
from ._exponential import Exponential
from ._gamma import Gamma
from ._gumbel import Gumbel, Weibull
from ._inverse_gamma import InverseGamma
from ._kl_numerics import excess, exp_excess, log_gamma_rest
from ._kl_registry import inf_unless, register_kl
from ._laplace import Laplace
from ._normal import HalfNormal, LogNormal, Normal
from ._pareto import Pareto
from ._uniform import Uniform


# The logarithm of a log-normal variable is normal, with the same parameters.
@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal(p: Any, q: Any) -> Any:
    return 0.5 * (exp_excess(2 * jnp.log(p.scale / q.scale)) + ((p.loc - q.loc) / q.scale) ** 2)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Any:
    return 0.5 * exp_excess(2 * jnp.log(p.scale / q.scale))


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Any:
    return exp_excess(jnp.log(q.rate / p.rate))


def gamma_kl(a: Any, b: Any, c: Any, d: Any) -> Any:
    """KL(Gamma(a, b) || Gamma(c, d))."""
    return excess(c, a * (d / b)) + log_gamma_rest(c, a)


# The reciprocal of an inverse gamma variable is gamma, with the same parameters.
@register_kl(Gamma, Gamma)
@register_kl(InverseGamma, InverseGamma)
def _gamma(p: Any, q: Any) -> Any:
    return gamma_kl(p.concentration, p.rate, q.concentration, q.rate)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Any:
    return gamma_kl(jnp.ones_like(p.rate), p.rate, q.concentration, q.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Any:
    return gamma_kl(p.concentration, p.rate, jnp.ones_like(q.rate), q.rate)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    a, b = p.concentration1, p.concentration0
    c, d = q.concentration1, q.concentration0
    before, after = a + b, c + d
    ratio = after / before
    rests = log_gamma_rest(c, a) + log_gamma_rest(d, b) - log_gamma_rest(after, before)
    return excess(c, ratio * a) + excess(d, ratio * b) + rests


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Any:
    """log(((s + t)^2 + (loc_p - loc_q)^2) / (4 s t)): Chyzak and Nielsen (2019)."""
    return _half_cauchy(p, q) + log1p_square((p.loc - q.loc) / (p.scale + q.scale))


# Both densities double on the half line, which leaves their ratio.
@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(p: Any, q: Any) -> Any:
    return log1p_square(0.5 * (p.scale - q.scale) / (jnp.sqrt(p.scale) * jnp.sqrt(q.scale)))


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Any:
    inside = (p.low >= q.low) & (p.high <= q.high)
    return inf_unless(inside, jnp.log((q.high - q.low) / (p.high - p.low)))


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Any:
    ratio = p.scale / q.scale
    return ratio * exp_excess(-jnp.abs(p.loc - q.loc) / p.scale) + exp_excess(jnp.log(ratio))


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Any:
    value = exp_excess(jnp.log(q.alpha / p.alpha)) + q.alpha * jnp.log(p.scale / q.scale)
    return inf_unless(p.scale >= q.scale, value)


def _extreme(ratio: Any, shift: Any) -> Any:
    """Of Gumbel variables whose scales have this ratio, the second shifted by ``shift`` of its scale."""
    log_gamma = gammaln(1 + ratio)
    return exp_excess(shift + log_gamma) + excess(ratio, 1.0) + log_gamma_rest(ratio, jnp.ones_like(ratio))


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Any:
    return _extreme(p.scale / q.scale, (q.loc - p.loc) / q.scale)


# Minus the logarithm of a Weibull variable is Gumbel, with loc -log(scale) and scale 1 / concentration.
@register_kl(Weibull, Weibull)
def _weibull(p: Weibull, q: Weibull) -> Any:
    return _extreme(q.concentration / p.concentration, jnp.log(p.scale / q.scale) * q.concentration)
