"""Zero inflation: a distribution of counts with more zeros; and what hurdles share with it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, NoiseSpec, log_sigmoid, message, xlogy
from svijax.transforms import constraints

from ._logits import take_one
from ._negative_binomial import NegativeBinomial, NegativeBinomial2
from ._parameters import parameters
from ._poisson import Poisson
from ._wrapper import Wrapper


class Gated(Wrapper):
    """The law ``_scale`` times that of ``base_dist``, and ``_atom`` more at 0.

    ``gate``, by probability or by logit, is the probability of a zero that the base has no part in.
    """

    arg_constraints = parameters(gate=constraints.unit_interval, gate_logits=constraints.real)
    _fields = ("base_dist", "_gate", "_gate_logits")
    _gate: Any  # one of the two is None
    _gate_logits: Any

    def __init__(
        self, base_dist: Any, *, gate: Any = None, gate_logits: Any = None, validate_args: bool | None = None
    ) -> None:
        take_one(type(self).__name__, gate=gate, gate_logits=gate_logits)
        self._init_about(validate_args, base_dist, _gate=gate, _gate_logits=gate_logits)

    @property
    def gate(self) -> Any:
        """1 / (1 + exp(-gate_logits)), or as given."""
        return jax.nn.sigmoid(self._gate_logits) if self._gate is None else self._gate

    @property
    def gate_logits(self) -> Any:
        """log(gate / (1 - gate)); -inf and inf at 0 and 1."""
        return (
            jnp.log(self._gate) - jnp.log1p(-self._gate) if self._gate_logits is None else self._gate_logits
        )

    @property
    def _open(self) -> Any:
        """1 - gate."""
        return 1 - self._gate if self._gate_logits is None else jax.nn.sigmoid(-self._gate_logits)

    def _log_gate(self, used: Any) -> Any:
        """log gate, finite and of derivative 0 where it is not ``used``."""
        if self._gate is None:
            return log_sigmoid(self._gate_logits)
        return jnp.log(jnp.where(used, self._gate, 0.5))

    def _log_open(self, used: Any) -> Any:
        """log(1 - gate), finite and of derivative 0 where it is not ``used``."""
        if self._gate is None:
            return log_sigmoid(-self._gate_logits)
        return jnp.log1p(-jnp.where(used, self._gate, 0.5))

    # What the law is made of

    @property
    def _base_zero(self) -> Any:
        """The mass of the base at 0."""
        return jnp.exp(self._log_base_zero) if self.base_dist.support.is_discrete else 0.0

    @property
    def _log_base_zero(self) -> Any:
        return self.base_dist.log_prob(jnp.zeros((), self.base_dist.dtype))

    @property
    def _scale(self) -> Any:
        return self._open

    @property
    def _atom(self) -> Any:
        return self.gate

    def _has_pathwise(self) -> bool:
        return False

    def _noise_spec(self) -> NoiseSpec | None:
        return None

    def _is_gated(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return jax.random.uniform(key, self.shape(sample_shape), jnp.result_type(float)) < self.gate

    @property
    def has_enumerate_support(self) -> bool:
        return bool(getattr(self.base_dist, "has_enumerate_support", False))

    def enumerate_support(self, expand: bool = True) -> Any:
        return self.base_dist.enumerate_support(expand=expand)

    # Summaries

    @property
    def mean(self) -> Any:
        return self._scale * self.base_dist.mean

    @property
    def variance(self) -> Any:
        scale, mean = self._scale, self.base_dist.mean
        return scale * (self.base_dist.variance + (1 - scale) * mean**2)

    def cdf(self, value: Any) -> Any:
        return self._scale * self.base_dist.cdf(value) + jnp.where(value >= 0, self._atom, 0.0)

    def survival_function(self, value: Any) -> Any:
        return self._scale * self.base_dist.survival_function(value) + jnp.where(value >= 0, 0.0, self._atom)

    def log_survival_function(self, value: Any) -> Any:
        from_zero = jnp.log(self._scale) + self.base_dist.log_survival_function(value)
        below = self.survival_function(jnp.minimum(value, -1))
        return jnp.where(value >= 0, from_zero, jnp.log(below))

    def entropy(self) -> Any:
        zero, base_zero, scale = (
            jnp.asarray(self._scale * self._base_zero + self._atom),
            self._base_zero,
            self._scale,
        )
        rest = self.base_dist.entropy() + xlogy(base_zero, base_zero)
        return scale * rest - (1 - base_zero) * xlogy(scale, scale) - xlogy(zero, zero)


class ZeroInflatedDistribution(Gated):
    """p(k) = (1 - gate) p_base(k), and gate + (1 - gate) p_base(0) at k = 0.

    ``base_dist`` is a distribution of counts; exactly one of gate and gate_logits is given, of shape (…).
    """

    def __init__(
        self, base_dist: Any, *, gate: Any = None, gate_logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not base_dist.support.is_discrete:
            raise ArgumentError(
                message(
                    f"{type(self).__name__} takes discrete distributions.",
                    got=type(base_dist).__name__,
                    fix="HurdleDistribution takes continuous ones.",
                )
            )
        super().__init__(base_dist, gate=gate, gate_logits=gate_logits, validate_args=validate_args)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        log_base = self.base_dist.log_prob(value)
        zero = value == 0
        possible = ~zero & (log_base > -jnp.inf)
        other = jnp.where(possible, self._log_open(possible) + log_base, -jnp.inf)
        return jnp.where(zero, self._log_zero(log_base), other)

    def _log_zero(self, log_base: Any) -> Any:
        """log(gate + (1 - gate) exp(log_base))."""
        if self._gate is None:
            return jnp.logaddexp(log_sigmoid(self._gate_logits), log_sigmoid(-self._gate_logits) + log_base)
        gate = jnp.asarray(self._gate)
        missing = -(1 - gate) * jnp.expm1(log_base)
        total = gate + (1 - gate) * jnp.exp(log_base)
        # Each of three forms where it keeps its digits: near 1, between, and where the mass underflows.
        near, vanishes = missing < 0.5, total < float(jnp.finfo(total.dtype).tiny)
        small = log_base + jnp.log1p(-jnp.where(vanishes, gate, 0.0))
        between = jnp.log(jnp.where(vanishes | near, 1.0, total))
        return jnp.where(near, jnp.log1p(-jnp.where(near, missing, 0.0)), jnp.where(vanishes, small, between))

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        key_gate, key_base = jax.random.split(key)
        draw = self.base_dist.sample(key_base, sample_shape)
        return jnp.where(self._is_gated(key_gate, sample_shape), jnp.zeros((), draw.dtype), draw)


class ZeroInflatedProbs(ZeroInflatedDistribution):
    """``ZeroInflatedDistribution(base_dist, gate=gate)``."""

    def __init__(self, base_dist: Any, gate: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, gate=gate, validate_args=validate_args)


class ZeroInflatedLogits(ZeroInflatedDistribution):
    """``ZeroInflatedDistribution(base_dist, gate_logits=gate_logits)``."""

    def __init__(self, base_dist: Any, gate_logits: Any, *, validate_args: bool | None = None) -> None:
        super().__init__(base_dist, gate_logits=gate_logits, validate_args=validate_args)


class ZeroInflatedPoisson(ZeroInflatedProbs):
    """A zero-inflated ``Poisson(rate)``."""

    def __init__(self, gate: Any, rate: Any = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__(Poisson(rate, validate_args=validate_args), gate, validate_args=validate_args)

    @property
    def rate(self) -> Any:
        """The rate of the Poisson part."""
        return self.base_dist.rate


class ZeroInflatedNegativeBinomial(ZeroInflatedDistribution):
    """A zero-inflated ``NegativeBinomial(total_count, probs | logits)``."""

    def __init__(
        self,
        total_count: Any,
        *,
        probs: Any = None,
        logits: Any = None,
        gate: Any = None,
        gate_logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = NegativeBinomial(total_count, probs, logits, validate_args=validate_args)
        super().__init__(base, gate=gate, gate_logits=gate_logits, validate_args=validate_args)


class ZeroInflatedNegativeBinomial2(ZeroInflatedDistribution):
    """A zero-inflated ``NegativeBinomial2(mean, concentration)``."""

    def __init__(
        self,
        mean: Any,
        concentration: Any,
        *,
        gate: Any = None,
        gate_logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = NegativeBinomial2(mean, concentration, validate_args=validate_args)
        super().__init__(base, gate=gate, gate_logits=gate_logits, validate_args=validate_args)
