"""Hurdles: zeros have a probability of their own, and what is not zero follows another distribution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.transforms import Constraint, constraints

from ._gamma import Gamma
from ._mass import ends_of, log1mexp_closed
from ._negative_binomial import NegativeBinomial2
from ._normal import LogNormal
from ._poisson import Poisson
from ._zero_inflated import Gated


class HurdleDistribution(Gated):
    """p(0) = gate, and p(x) = (1 - gate) p_base(x) / (1 - p_base(0)) for x != 0.

    ``base_dist`` is discrete or continuous; a continuous one has no mass at 0, and p is a mass at 0 and a density
    elsewhere. Exactly one of gate and gate_logits is given, of shape (…). Cragg (1971), Mullahy (1986).
    """

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        support: Constraint = self.base_dist.support
        lower, upper = ends_of(self.base_dist)
        if support.is_discrete or lower is None:
            return support
        return constraints.nonnegative if upper is None else constraints.interval(0.0, upper)

    @property
    def _log_nonzero(self) -> Any:
        """log(1 - p_base(0))."""
        return log1mexp_closed(self._log_base_zero) if self.base_dist.support.is_discrete else 0.0

    @property
    def _scale(self) -> Any:
        return self._open * jnp.exp(-self._log_nonzero)

    @property
    def _atom(self) -> Any:
        return self.gate - self._scale * self._base_zero

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        zero = value == 0
        log_base = (
            self.base_dist.log_prob(jnp.where(zero, jnp.ones((), value.dtype), value)) - self._log_nonzero
        )
        possible = ~zero & (log_base > -jnp.inf)
        other = jnp.where(possible, self._log_open(possible) + log_base, -jnp.inf)
        return jnp.where(zero, self._log_gate(zero), other)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_gate, key_base = jax.random.split(key)
        gated = self._is_gated(key_gate, sample_shape)
        if self.base_dist.support.is_discrete:
            draw = self._nonzero(key_base, sample_shape, gated)
        else:
            draw = self.base_dist.sample(key_base, sample_shape)
        return jax.lax.stop_gradient(jnp.where(gated, jnp.zeros((), draw.dtype), draw))

    def _nonzero(self, key: jax.Array, sample_shape: tuple[int, ...], gated: Any) -> Any:
        """Draws of the base that are not 0, but for those that are ``gated`` anyway."""
        base = self.base_dist
        if isinstance(base, Poisson):
            return _positive_poisson(base, key, sample_shape)
        # A base that is always 0 would be drawn for ever.
        hopeless = gated | (self._base_zero >= 1)

        def again(state: Any) -> Any:
            return jnp.any((state[1] == 0) & ~hopeless)

        def redraw(state: Any) -> Any:
            key, draw = state
            key, now = jax.random.split(key)
            return key, jnp.where(draw == 0, base.sample(now, sample_shape), draw)

        return jax.lax.while_loop(again, redraw, (key, base.sample(key, sample_shape)))[1]


def _positive_poisson(base: Poisson, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
    """1 and the events after the first, whose time in [0, rate] follows from its law given that there is one."""
    key_first, key_rest = jax.random.split(key)
    wide = jnp.promote_types(base.rate.dtype, jnp.float32)
    rate = jnp.asarray(base.rate, wide)
    u = jax.random.uniform(key_first, base.shape(sample_shape), wide)
    first = -jnp.log1p(u * jnp.expm1(-rate))
    return 1 + Poisson(jnp.maximum(rate - first, 0.0), validate_args=False).sample(key_rest)


class HurdleProbs(HurdleDistribution):
    """``HurdleDistribution(base_dist, gate=gate)``."""

    def __init__(self, base_dist: Any, gate: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, gate=gate, validate_args=validate_args)


class HurdleLogits(HurdleDistribution):
    """``HurdleDistribution(base_dist, gate_logits=gate_logits)``."""

    def __init__(self, base_dist: Any, gate_logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, gate_logits=gate_logits, validate_args=validate_args)


class HurdlePoisson(HurdleProbs):
    """A hurdle before ``Poisson(rate)`` given that it is not 0."""

    def __init__(self, gate: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__(Poisson(rate, validate_args=validate_args), gate, validate_args=validate_args)


class HurdleNegativeBinomial2(HurdleProbs):
    """A hurdle before ``NegativeBinomial2(mean, concentration)`` given that it is not 0."""

    def __init__(
        self, gate: Any, mean: Any, concentration: Any, *, validate_args: bool | None = None
    ) -> None:
        base = NegativeBinomial2(mean, concentration, validate_args=validate_args)
        super().__init__(base, gate, validate_args=validate_args)


class HurdleGamma(HurdleProbs):
    """A hurdle before ``Gamma(concentration, rate)``."""

    def __init__(
        self, gate: Any, concentration: Any, rate: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, gate, validate_args=validate_args)


class HurdleLogNormal(HurdleProbs):
    """A hurdle before ``LogNormal(loc, scale)``."""

    def __init__(
        self, gate: Any, loc: Any = 0.0, scale: Any = 1.0, *, validate_args: bool | None = None
    ) -> None:
        base = LogNormal(loc, scale, validate_args=validate_args)
        super().__init__(base, gate, validate_args=validate_args)
