"""Lévy's stable distributions."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._parameters import parameters
from ._ratios import expm1_ratio


class Stable(Distribution):
    """The laws with E exp(i t Z) = exp(-|t|^a (1 + i b tan(pi a / 2) sign(t) (|t|^(1 - a) - 1))), x = loc + scale * Z.

    0 < a = stability <= 2, -1 <= b = skew <= 1, scale > 0 and loc broadcast together. This is Nolan's form S0,
    which is smooth in all parameters. ``coords="S"`` is the form without the 1 in the bracket's last factor,
    whose loc is the mean for a > 1, and which jumps at a = 1. There is no density, only draws (Chambers, Mallows
    and Stuck 1976), with pathwise derivatives in all parameters. The mean is undefined for a <= 1, the variance
    infinite for a < 2.
    """

    arg_constraints = parameters(
        stability=constraints.interval(0.0, 2.0),
        skew=constraints.interval(-1.0, 1.0),
        scale=constraints.positive,
        loc=constraints.real,
    )
    support = constraints.real
    _static = ("coords", "_detached")
    _pathwise = True
    stability: jax.Array
    skew: jax.Array
    scale: jax.Array
    loc: jax.Array
    coords: str

    def __init__(
        self,
        stability: Any,
        skew: Any,
        scale: Any = 1.0,
        loc: Any = 0.0,
        coords: str = "S0",
        *,
        validate_args: bool | None = None,
    ) -> None:
        if coords not in ("S0", "S"):
            raise ArgumentError(message("Stable: unknown coords.", expected="'S0' or 'S'", got=repr(coords)))
        self._init(validate_args, stability=stability, skew=skew, scale=scale, loc=loc)
        self._assign(coords=coords)

    def _joint_constraints(self) -> dict[str, Constraint]:
        return {"stability": constraints.positive}

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        shape, tiny = self.shape(sample_shape), jnp.finfo(self.dtype).tiny
        angle, size = jax.random.uniform(key, (2, *shape), self.dtype, minval=tiny)
        z = standard_stable(jnp.asarray(self.stability), self.skew, angle, -jnp.log(size))
        return self.loc + self.scale * z + self._shift()

    def _shift(self) -> Any:
        """From S0 to ``coords``."""
        if self.coords == "S0":
            return 0.0
        one = jnp.asarray(self.stability == 1)
        slope = jnp.tan(0.5 * math.pi * jnp.where(one, 0.5, self.stability))
        return self.skew * self.scale * jnp.where(one, 2.0 / math.pi * jnp.log(self.scale), slope)

    def log_prob(self, value: Any) -> NoReturn:
        self._lacks(
            "a density in closed form", "fit it by its draws, or by those of a model that contains it"
        )

    @property
    def mean(self) -> Any:
        finite = self.stability > 1
        slope = jnp.tan(0.5 * math.pi * jnp.where(finite, self.stability, 2.0))
        mean = self.loc if self.coords == "S" else self.loc - self.scale * self.skew * slope
        return jnp.where(finite, mean, jnp.nan)

    @property
    def variance(self) -> Any:
        return jnp.where(self.stability < 2, jnp.inf, 2.0 * jnp.square(self.scale))


def standard_stable(alpha: Any, beta: Any, uniform: Any, exponential: Any) -> jax.Array:
    """A standard stable number in the form S0, of uniform noise on (0, 1) and standard exponential noise.

    With V = pi (u - 1/2), e = 1 - alpha and b = beta tan(pi alpha / 2), Chambers' number is A Q^(e / alpha), where
    A = tan V cos(e V) - sin(e V) + b (cos(e V) + tan V sin(e V)) and Q = (cos(e V) + b sin(e V)) / (W cos V). Here
    b is taken from it with all that grows at alpha = 1: what is left is smooth in e = 0, in terms of e b.
    """
    e = 1 - alpha
    # From the nearer end of (0, 1): there 1 - u is exact, and cos V keeps its sign.
    floor = 0.25 * float(jnp.finfo(jnp.result_type(uniform)).eps)
    nearer = math.pi * jnp.maximum(jnp.minimum(uniform, 1 - uniform), floor)
    v = math.pi * (uniform - 0.5)
    cos_v, size = jnp.sin(nearer), 1 / jnp.tan(nearer)
    tan_v = jnp.where(uniform < 0.5, -size, size)

    turn = e * v
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    sin_over_e = v * jnp.sinc(turn / math.pi)
    versine_over_e = 0.5 * e * jnp.square(v * jnp.sinc(turn / (2 * math.pi)))
    eb = beta * (2 / math.pi) * jnp.cos(0.5 * math.pi * e) / jnp.sinc(0.5 * e)

    info = jnp.finfo(jnp.result_type(uniform))
    log_q = jnp.log(jnp.maximum(cos + eb * sin_over_e, float(info.tiny))) - jnp.log(exponential * cos_v)
    # (Q^(e / alpha) - 1) / e, bounded where a small alpha reaches beyond the largest number.
    growth = jnp.minimum(e * log_q / alpha, 0.6 * math.log(float(info.max)))
    power = log_q / alpha * expm1_ratio(growth)
    plain = tan_v * cos - sin
    return plain + eb * (tan_v * sin_over_e - versine_over_e) + power * (e * plain + eb * (cos + tan_v * sin))
