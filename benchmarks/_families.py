"""The families of ``benchmarks.distributions``: each in svijax, NumPyro, TFP and plain JAX, with equal parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, gammaln
from jax.scipy.stats import dirichlet as jax_dirichlet

Params = dict[str, Any]
WIDTH = 10  # the length of vectors
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class ByHand:
    """A density and a sampler in plain JAX: what the same formulas cost without a library."""

    log_prob: Callable[..., Any]
    sample: Callable[..., Any]


@dataclass(frozen=True)
class Family:
    """``make(n)`` gives parameters of n elements; ``svijax``, ``numpyro`` and ``tfp`` are class names.

    ``tfp_names`` maps our parameter names to TFP's, where they differ. ``pathwise`` tells whether draws have
    derivatives in all contenders, so that all differentiate the same thing.
    """

    name: str
    make: Callable[[int], Params]
    by_hand: ByHand
    pathwise: bool = True
    numpyro: str = ""
    tfp: str = ""
    tfp_names: tuple[tuple[str, str], ...] = ()

    def build(self, library: str, module: Any, params: Params) -> Any:
        names = dict(self.tfp_names) if library == "tfp" else {}
        cls = getattr(module, getattr(self, library, "") or self.name)
        return cls(**{names.get(name, name): value for name, value in params.items()})


def _grid(n: int, low: float, high: float) -> jax.Array:
    return jnp.linspace(low, high, n, dtype=jnp.float32)


def _loc_scale(n: int) -> Params:
    return {"loc": _grid(n, -1.0, 1.0), "scale": _grid(n, 0.5, 2.0)}


def _uniform(key: Any, shape: Any) -> jax.Array:
    return jax.random.uniform(key, shape, minval=jnp.finfo(jnp.float32).tiny)


def _normal(value: Any, loc: Any, scale: Any) -> Any:
    z = (value - loc) / scale
    return -0.5 * z * z - jnp.log(scale) - HALF_LOG_2PI


def _student_t(value: Any, df: Any, loc: Any, scale: Any) -> Any:
    z = (value - loc) / scale
    norm = jnp.log(scale) + 0.5 * jnp.log(df * math.pi) + gammaln(0.5 * df) - gammaln(0.5 * (df + 1))
    return -0.5 * (df + 1) * jnp.log1p(z * z / df) - norm


def _student_t_draw(key: Any, df: Any, loc: Any, scale: Any) -> Any:
    first, second = jax.random.split(key)
    chi2 = 2 * jax.random.gamma(second, 0.5 * df)
    return loc + scale * jax.random.normal(first, loc.shape) * jnp.sqrt(df / chi2)


def _beta_draw(key: Any, concentration1: Any, concentration0: Any) -> Any:
    first, second = jax.random.split(key)
    a, b = jax.random.loggamma(first, concentration1), jax.random.loggamma(second, concentration0)
    return jnp.clip(jax.nn.sigmoid(a - b), 1e-37, 1 - 1e-7)


def _multivariate(value: Any, loc: Any, scale_tril: Any) -> Any:
    z = jax.scipy.linalg.solve_triangular(scale_tril, (value - loc).T, lower=True)
    return -0.5 * (z * z).sum(0) - jnp.log(jnp.diagonal(scale_tril)).sum() - WIDTH * HALF_LOG_2PI


def _pick(logits: Any, value: Any) -> Any:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), value[..., None], -1)[..., 0]


def _binomial(value: Any, total_count: Any, logits: Any) -> Any:
    choose = gammaln(total_count + 1) - gammaln(value + 1) - gammaln(total_count - value + 1)
    return choose + value * logits - total_count * jax.nn.softplus(logits)


def _negative_binomial(value: Any, mean: Any, concentration: Any) -> Any:
    c, total = concentration, mean + concentration
    choose = gammaln(value + c) - gammaln(value + 1) - gammaln(c)
    return choose + c * jnp.log(c / total) + value * jnp.log(mean / total)


def _negative_binomial_draw(key: Any, mean: Any, concentration: Any) -> Any:
    first, second = jax.random.split(key)
    return jax.random.poisson(second, mean / concentration * jax.random.gamma(first, concentration))


FAMILIES = [
    Family(
        "Normal",
        _loc_scale,
        ByHand(_normal, lambda key, loc, scale: loc + scale * jax.random.normal(key, loc.shape)),
    ),
    Family(
        "LogNormal",
        _loc_scale,
        ByHand(
            lambda value, loc, scale: _normal(jnp.log(value), loc, scale) - jnp.log(value),
            lambda key, loc, scale: jnp.exp(loc + scale * jax.random.normal(key, loc.shape)),
        ),
    ),
    Family(
        "HalfNormal",
        lambda n: {"scale": _grid(n, 0.5, 2.0)},
        ByHand(
            lambda value, scale: jnp.where(value >= 0, _normal(value, 0.0, scale) + math.log(2), -jnp.inf),
            lambda key, scale: scale * jnp.abs(jax.random.normal(key, scale.shape)),
        ),
    ),
    Family(
        "Cauchy",
        _loc_scale,
        ByHand(
            lambda value, loc, scale: (
                -jnp.log1p(((value - loc) / scale) ** 2) - jnp.log(scale) - math.log(math.pi)
            ),
            lambda key, loc, scale: loc + scale * jax.random.cauchy(key, loc.shape),
        ),
    ),
    Family(
        "Laplace",
        _loc_scale,
        ByHand(
            lambda value, loc, scale: -jnp.abs(value - loc) / scale - jnp.log(2 * scale),
            lambda key, loc, scale: loc + scale * jax.random.laplace(key, loc.shape),
        ),
    ),
    Family(
        "Gumbel",
        _loc_scale,
        ByHand(
            lambda value, loc, scale: (
                -(value - loc) / scale - jnp.exp(-(value - loc) / scale) - jnp.log(scale)
            ),
            lambda key, loc, scale: loc + scale * jax.random.gumbel(key, loc.shape),
        ),
    ),
    Family(
        "StudentT",
        lambda n: {"df": _grid(n, 3.0, 30.0), **_loc_scale(n)},
        ByHand(_student_t, _student_t_draw),
    ),
    Family(
        "Uniform",
        lambda n: {"low": _grid(n, -1.0, 0.0), "high": _grid(n, 1.0, 2.0)},
        ByHand(
            lambda value, low, high: jnp.where(
                (value >= low) & (value <= high), -jnp.log(high - low), -jnp.inf
            ),
            lambda key, low, high: low + (high - low) * _uniform(key, low.shape),
        ),
    ),
    Family(
        "Exponential",
        lambda n: {"rate": _grid(n, 0.5, 2.0)},
        ByHand(
            lambda value, rate: jnp.where(value >= 0, jnp.log(rate) - rate * value, -jnp.inf),
            lambda key, rate: jax.random.exponential(key, rate.shape) / rate,
        ),
    ),
    Family(
        "Weibull",
        lambda n: {"scale": _grid(n, 0.5, 2.0), "concentration": _grid(n, 1.0, 3.0)},
        ByHand(
            lambda value, scale, concentration: (
                jnp.log(concentration / scale)
                + (concentration - 1) * jnp.log(value / scale)
                - (value / scale) ** concentration
            ),
            lambda key, scale, concentration: (
                scale * jax.random.exponential(key, scale.shape) ** (1 / concentration)
            ),
        ),
    ),
    Family(
        "Gamma",
        lambda n: {"concentration": _grid(n, 0.5, 5.0), "rate": _grid(n, 0.5, 2.0)},
        ByHand(
            lambda value, concentration, rate: (
                (concentration - 1) * jnp.log(value)
                - rate * value
                + concentration * jnp.log(rate)
                - gammaln(concentration)
            ),
            lambda key, concentration, rate: jax.random.gamma(key, concentration) / rate,
        ),
    ),
    Family(
        "Beta",
        lambda n: {"concentration1": _grid(n, 0.5, 5.0), "concentration0": _grid(n, 1.0, 3.0)},
        ByHand(
            lambda value, concentration1, concentration0: (
                (concentration1 - 1) * jnp.log(value)
                + (concentration0 - 1) * jnp.log1p(-value)
                - betaln(concentration1, concentration0)
            ),
            _beta_draw,
        ),
    ),
    Family(
        "Dirichlet",
        lambda n: {"concentration": _grid(n, 0.5, 5.0).reshape((-1, WIDTH))},
        ByHand(
            lambda value, concentration: (
                jax_dirichlet.logpdf(value.T, concentration.T)
                if concentration.ndim == 1
                else ((concentration - 1) * jnp.log(value)).sum(-1)
                + gammaln(concentration.sum(-1))
                - gammaln(concentration).sum(-1)
            ),
            lambda key, concentration: jax.random.dirichlet(key, concentration),
        ),
    ),
    Family(
        "MultivariateNormal",
        lambda n: {
            "loc": _grid(n, -1.0, 1.0).reshape((-1, WIDTH)),
            "scale_tril": jnp.eye(WIDTH) + 0.1 * jnp.tril(jnp.ones((WIDTH, WIDTH)), -1),
        },
        ByHand(
            _multivariate,
            lambda key, loc, scale_tril: loc + jax.random.normal(key, loc.shape) @ scale_tril.T,
        ),
        tfp="MultivariateNormalTriL",
    ),
    Family(
        "Bernoulli",
        lambda n: {"logits": _grid(n, -3.0, 3.0)},
        ByHand(
            lambda value, logits: value * logits - jax.nn.softplus(logits),
            lambda key, logits: jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(int),
        ),
        pathwise=False,
    ),
    Family(
        "Categorical",
        lambda n: {"logits": _grid(n, -2.0, 2.0).reshape((-1, WIDTH))},
        ByHand(
            lambda value, logits: _pick(logits, value),
            lambda key, logits: jax.random.categorical(key, logits),
        ),
        pathwise=False,
    ),
    Family(
        "Poisson",
        lambda n: {"rate": _grid(n, 0.5, 20.0)},
        ByHand(
            lambda value, rate: value * jnp.log(rate) - rate - gammaln(value + 1),
            lambda key, rate: jax.random.poisson(key, rate),
        ),
        pathwise=False,
    ),
    Family(
        "Binomial",
        lambda n: {"total_count": jnp.full(n, 10.0), "logits": _grid(n, -3.0, 3.0)},
        ByHand(
            _binomial,
            lambda key, total_count, logits: jax.random.binomial(key, total_count, jax.nn.sigmoid(logits)),
        ),
        pathwise=False,
    ),
    Family(
        "NegativeBinomial2",
        lambda n: {"mean": _grid(n, 0.5, 20.0), "concentration": _grid(n, 1.0, 5.0)},
        ByHand(_negative_binomial, _negative_binomial_draw),
        pathwise=False,
        tfp="NegativeBinomial",
    ),
]
