"""The Cauchy distribution and its positive half."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import log1p_square
from svijax.transforms import constraints

from ._distribution import Distribution
from ._parameters import parameters


class Cauchy(Distribution):
    """p(x) = 1 / (pi scale (1 + ((x - loc) / scale)^2)); loc and scale > 0 broadcast together."""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    _noise_kind = "uniform"
    loc: jax.Array
    scale: jax.Array

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        # -cot(pi u) from the nearer end: 1 - u is exact there, while tan(pi (u - 1/2)) can change its sign.
        size = 1.0 / jnp.tan(math.pi * jnp.minimum(noise, 1.0 - noise))
        return self.loc + self.scale * jnp.where(noise < 0.5, -size, size)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        sine = jnp.sin(math.pi * jnp.minimum(noise, 1.0 - noise))
        return self.from_noise(noise), 2.0 * jnp.log(sine) - jnp.log(self.scale) - math.log(math.pi)

    def log_prob(self, value: Any) -> Any:
        z = (value - self.loc) / self.scale
        return -log1p_square(z) - jnp.log(self.scale) - math.log(math.pi)

    def cdf(self, value: Any) -> Any:
        # arctan2 keeps the lower tail, where 1/2 + arctan(z) / pi would cancel.
        z = (value - self.loc) / self.scale
        return jnp.arctan2(jnp.ones_like(z), -z) / math.pi

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        return math.log(4.0 * math.pi) + jnp.log(self.scale)


class HalfCauchy(Distribution):
    """|X| of X ~ Cauchy(0, scale): p(x) = 2 / (pi scale (1 + (x / scale)^2)) for x >= 0; scale > 0."""

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.nonnegative
    _noise_kind = "uniform"
    scale: jax.Array

    def __init__(self, scale: Any = 1.0, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        return self.scale * jnp.tan(0.5 * math.pi * noise)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        cosine = jnp.cos(0.5 * math.pi * noise)
        return self.from_noise(noise), 2.0 * jnp.log(cosine) - jnp.log(self.scale) + math.log(2 / math.pi)

    def log_prob(self, value: Any) -> Any:
        log_prob = math.log(2 / math.pi) - log1p_square(value / self.scale) - jnp.log(self.scale)
        return jnp.where(value >= 0, log_prob, -jnp.inf)

    def cdf(self, value: Any) -> Any:
        return jnp.maximum(2.0 / math.pi * jnp.arctan(value / self.scale), 0.0)

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    def entropy(self) -> Any:
        return math.log(2.0 * math.pi) + jnp.log(self.scale)
