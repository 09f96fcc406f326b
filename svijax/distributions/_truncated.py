"""Distributions restricted to an interval: one mechanism for every family with a distribution function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ArgumentError,
    NoiseSpec,
    ParameterError,
    array_module,
    draw_noise,
    is_concrete,
    message,
)
from svijax.transforms import Constraint, constraints

from ._mass import ends_of, log_above, log_below, log_mass
from ._normal import Normal
from ._parameters import parameters
from ._wrapper import Wrapper

_HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))


class TruncatedDistribution(Wrapper):
    """p(x) = p_base(x) / P(low <= X <= high) for low <= x <= high; either bound may be left out (None).

    ``base_dist`` is a continuous distribution of single numbers with a cdf; draws need its icdf too. Whatever
    lies in a tail is computed from that tail. Bounds are finite, and broadcast with the base.
    """

    arg_constraints = parameters(low=constraints.real, high=constraints.real)
    _fields = ("base_dist", "low", "high")
    low: Any
    high: Any

    def __init__(
        self, base_dist: Any, low: Any = None, high: Any = None, *, validate_args: bool | None = None
    ) -> None:
        owner = type(self).__name__
        if low is None and high is None:
            raise ArgumentError(
                message(f"{owner} needs low or high.", got="neither", fix="use the base itself.")
            )
        if base_dist.support.is_discrete:
            raise ArgumentError(
                message(f"{owner} takes continuous distributions.", got=type(base_dist).__name__)
            )
        self._init_about(validate_args, base_dist, low=low, high=high)
        if validate_args is not False and low is not None and high is not None:
            _check_order(owner, self.low, self.high)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        lower, upper = ends_of(self.base_dist)
        low = _tighter(self.low, lower, "maximum")
        high = _tighter(self.high, upper, "minimum")
        if high is None:
            return constraints.greater_than_eq(low)
        return constraints.less_than_eq(high) if low is None else constraints.interval(low, high)

    @property
    def dtype(self) -> Any:
        return jnp.result_type(
            self.base_dist.dtype, *(x.dtype for x in (self.low, self.high) if x is not None)
        )

    @property
    def _log_normaliser(self) -> Any:
        return log_mass(self.base_dist, self.low, self.high)

    def _within(self, value: Any) -> tuple[Any, Any]:
        """Whether values lie in the support, and values that do."""
        value, support = jnp.asarray(value), self.support
        low, high = support.lower, support.upper  # type: ignore[attr-defined]
        inside = (True if low is None else value >= low) & (True if high is None else value <= high)
        return inside, jnp.where(inside, value, low if self.high is None else high)

    def log_prob(self, value: Any) -> Any:
        inside, value = self._within(value)
        return jnp.where(inside, self.base_dist.log_prob(value) - self._log_normaliser, -jnp.inf)

    # Distribution functions

    def _ratio(self, value: Any, upwards: bool) -> Any:
        """log P(X > value) (upwards) or log P(X <= value), 0 and -inf beyond the support."""
        given = jnp.asarray(value)
        _, value = self._within(given)
        log_part = log_mass(self.base_dist, *((value, self.high) if upwards else (self.low, value)))
        ratio = jnp.minimum(log_part - self._log_normaliser, 0.0)
        support = self.support
        for bound, side, end in ((support.lower, -1, upwards), (support.upper, 1, not upwards)):  # type: ignore[attr-defined]
            if bound is not None:
                beyond = given <= bound if side < 0 else given >= bound
                ratio = jnp.where(beyond, 0.0 if end else -jnp.inf, ratio)
        return ratio

    def log_cdf(self, value: Any) -> Any:
        return self._ratio(value, upwards=False)

    def cdf(self, value: Any) -> Any:
        return jnp.exp(self.log_cdf(value))

    def log_survival_function(self, value: Any) -> Any:
        return self._ratio(value, upwards=True)

    def survival_function(self, value: Any) -> Any:
        return jnp.exp(self.log_survival_function(value))

    def icdf(self, q: Any) -> Any:
        return self.from_noise(jnp.asarray(q, self.dtype))

    # Draws

    def _has_cdf_derivatives(self) -> bool:
        return _has_cdf_derivatives(self.base_dist)

    def _has_pathwise(self) -> bool:
        return self._has_cdf_derivatives()

    def _noise_spec(self) -> NoiseSpec | None:
        return NoiseSpec("uniform", self.shape(), self.dtype) if self._has_pathwise() else None

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        noise = draw_noise(key, NoiseSpec("uniform", self.shape(), self.dtype), sample_shape)
        return jax.lax.stop_gradient(self.from_noise(noise))

    def from_noise(self, noise: Any) -> Any:
        return _quantile(self, jnp.asarray(noise))

    # Moments: closed forms of the normal distribution

    def _hazards(self, what: str) -> tuple[Any, Any]:
        """E z and E z^2 of z = (x - loc) / scale, for a normal base."""
        base = self.base_dist
        if not isinstance(base, Normal):
            self._lacks(f"{what} in closed form", "average over draws of sample(key, (n,))")
        log_norm: Any = self._log_normaliser
        first: Any = 0.0
        second: Any = 1.0
        for bound, sign in ((self.low, 1), (self.high, -1)):
            if bound is not None:
                z = (bound - base.loc) / base.scale
                hazard = sign * jnp.exp(-0.5 * z * z - _HALF_LOG_2PI - log_norm)
                first, second = first + hazard, second + z * hazard
        return first, second

    @property
    def mean(self) -> Any:
        first, _ = self._hazards("a mean")
        return self.base_dist.loc + self.base_dist.scale * first

    @property
    def variance(self) -> Any:
        first, second = self._hazards("a variance")
        return self.base_dist.scale**2 * (second - first**2)

    def entropy(self) -> Any:
        _, second = self._hazards("an entropy")
        return self._log_normaliser + jnp.log(self.base_dist.scale) + _HALF_LOG_2PI + 0.5 * second


def _has_cdf_derivatives(dist: Any) -> bool:
    has = getattr(dist, "_has_cdf_derivatives", None)
    return bool(has and has()) and not dist._detached


def _tighter(bound: Any, end: Any, choose: str) -> Any:
    if bound is None or end is None:
        return end if bound is None else bound
    return getattr(array_module(bound, end), choose)(
        bound, np.asarray(end, bound.dtype) if np.isscalar(end) else end
    )


def _check_order(owner: str, low: Any, high: Any) -> None:
    if not (is_concrete(low) and is_concrete(high)):
        return
    low, high = np.asarray(low), np.asarray(high)
    if np.all(low < high):
        return
    index = tuple(int(i) for i in np.argwhere(~(low < high))[0])
    where = f" at index {index}" if index else ""
    raise ParameterError(
        message(
            f"{owner}: low must be smaller than high.",
            got=f"low {low[index]} and high {high[index]}{where}",
            fix="exchange them, or widen the interval.",
        )
    )


@jax.custom_jvp
def _quantile(dist: TruncatedDistribution, u: Any) -> Any:
    """The x with P(X <= x) = u; its derivatives follow from those of the base's distribution function."""
    base, low, high = dist.base_dist, dist.low, dist.high
    one = jnp.ones((), u.dtype)
    below = (0 * one if low is None else base.cdf(low)), (one if high is None else base.cdf(high))
    above = (
        one if low is None else base.survival_function(low),
        0 * one if high is None else base.survival_function(high),
    )
    from_left = below[0] + u * (below[1] - below[0])
    from_right = above[1] + (1 - u) * (above[0] - above[1])
    # Noise makes finite draws, where its smallest values would underflow.
    tiny = float(jnp.finfo(u.dtype).tiny)
    from_left = jnp.where(u > 0, jnp.maximum(from_left, tiny), from_left)
    from_right = jnp.where(u < 1, jnp.maximum(from_right, tiny), from_right)
    left = from_left <= 0.5
    x = jnp.where(
        left, base.icdf(jnp.where(left, from_left, 0.5)), base._isf(jnp.where(left, 0.5, from_right))
    )
    lower, upper = dist.support.lower, dist.support.upper  # type: ignore[attr-defined]
    x = x if lower is None else jnp.maximum(x, lower)
    return (x if upper is None else jnp.minimum(x, upper)).astype(dist.dtype)


@_quantile.defjvp
def _quantile_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """F(x) = F(low) + u (F(high) - F(low)), differentiated in the nearer tail, each term over the density at x."""
    dist, u = primals
    x = _quantile(dist, u)
    left = log_below(dist.base_dist, x) < log_above(dist.base_dist, x)

    def log_tails(dist: Any) -> list[Any]:
        points = [p for p in (x, dist.low, dist.high) if p is not None]
        return [jnp.where(left, log_below(dist.base_dist, p), log_above(dist.base_dist, p)) for p in points]

    logs, slopes = jax.jvp(log_tails, (dist,), (tangents[0],))
    log_prob = dist.base_dist.log_prob(x)
    parts = [1.0, *([] if dist.low is None else [u - 1]), *([] if dist.high is None else [-u])]
    moved = sum(part * jnp.exp(log - log_prob) * slope for part, log, slope in zip(parts, logs, slopes))
    along = jnp.exp(dist._log_normaliser - log_prob) * tangents[1]
    return x, (jnp.where(left, -moved, moved) + along).astype(x.dtype)
