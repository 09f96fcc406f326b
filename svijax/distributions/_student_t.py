"""Student's t distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, digamma

from svijax.base import log1p_square, log_beta
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gamma import log_gamma_draw
from ._parameters import parameters


class StudentT(Distribution):
    """p(x) = (1 + z^2 / df)^(-(df + 1) / 2) / (scale sqrt(df) B(df / 2, 1 / 2)), z = (x - loc) / scale.

    df > 0, loc and scale > 0 broadcast together.
    """

    arg_constraints = parameters(df=constraints.positive, loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    _pathwise = True
    df: jax.Array
    loc: jax.Array
    scale: jax.Array

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        self._init(validate_args, df=df, loc=loc, scale=scale)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_normal, key_gamma = jax.random.split(key)
        shape = self.shape(sample_shape)
        normal = jax.random.normal(key_normal, shape, self.dtype)
        # normal / sqrt(chi^2 / df), by the logarithm of the chi^2, which stays finite for small df.
        half = 0.5 * jnp.asarray(self.df)
        log_ratio = log_gamma_draw(key_gamma, half, shape) - jnp.log(half)
        # Small df reach beyond the largest number; there the draw and its derivatives stay finite.
        widest = 0.7 * float(np.log(jnp.finfo(self.dtype).max))
        return self.loc + self.scale * normal * jnp.exp(jnp.minimum(-0.5 * log_ratio, widest))

    def log_prob(self, value: Any) -> Any:
        df = jnp.asarray(self.df)
        z = (value - self.loc) / (self.scale * jnp.sqrt(df))
        log_norm = jnp.log(self.scale) + 0.5 * jnp.log(df) + log_beta(0.5 * df, 0.5)
        return -0.5 * (df + 1) * log1p_square(z) - log_norm

    @property
    def mean(self) -> Any:
        return jnp.where(self.df > 1, self.loc, jnp.nan)

    @property
    def variance(self) -> Any:
        finite = self.df > 2
        ratio = self.df / jnp.where(finite, self.df - 2, 1.0)
        beyond = jnp.where(self.df > 1, jnp.inf, jnp.nan)
        return jnp.where(finite, self.scale**2 * ratio, beyond)

    def cdf(self, value: Any) -> Any:
        # P(|T| > |z|) = I_w(df / 2, 1 / 2), w = df / (df + z^2).
        z = (value - self.loc) / self.scale
        half = 0.5 * self.df
        tail = 0.5 * betainc(half, 0.5 * jnp.ones_like(half), 1.0 / (1.0 + z * z / self.df))
        return jnp.where(z > 0, 1 - tail, tail)

    def entropy(self) -> Any:
        df = self.df
        digammas = 0.5 * (df + 1) * (digamma(0.5 * (df + 1)) - digamma(0.5 * df))
        return digammas + 0.5 * jnp.log(df) + log_beta(0.5 * df, 0.5) + jnp.log(self.scale)
