"""The image of a distribution under bijections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import sum_rightmost
from svijax.transforms import (
    AffineTransform,
    ComposeTransform,
    Constraint,
    IdentityTransform,
    IndependentConstraint,
    IndependentTransform,
    LowerCholeskyAffine,
    PermuteTransform,
    Range,
    ReshapeTransform,
    Transform,
    constraints,
)

from ._distribution import Distribution
from ._independent import Independent
from ._wrapper import Wrapper, expand_any

_ENTRYWISE = (AffineTransform, IdentityTransform)
_LINEAR = (*_ENTRYWISE, LowerCholeskyAffine, PermuteTransform, ReshapeTransform)


class TransformedDistribution(Wrapper):
    """y = t(x) with x ~ ``base_dist``: log p(y) = log p(x) - log |det dt/dx|, x = t^-1(y).

    ``transforms`` is one bijection or several, the first applied first. The base is expanded to the shape
    that they need, and batch axes that they consume become part of the event.
    """

    _fields = ("base_dist", "transforms")
    transforms: tuple[Transform, ...]

    def __init__(
        self,
        base_distribution: Any,
        transforms: Transform | Sequence[Transform],
        *,
        validate_args: bool | None = None,
    ) -> None:
        parts = (transforms,) if isinstance(transforms, Transform) else tuple(transforms)
        joint = ComposeTransform(parts)
        base = base_distribution
        batch, event = tuple(base.batch_shape), tuple(base.event_shape)
        needed = joint.inverse_shape(joint.forward_shape((*batch, *event)))
        if needed != (*batch, *event):
            base = expand_any(base, needed[: len(needed) - len(event)])
        extra = joint.domain.event_dim - len(event)
        if extra > 0:
            base = Independent(base, extra)
        self._assign(base_dist=base, transforms=parts)

    @property
    def transform(self) -> ComposeTransform:
        """All bijections as one."""
        return ComposeTransform(self.transforms)

    @property
    def _base_event_dim(self) -> int:
        return len(self.base_dist.event_shape)

    def _split(self) -> tuple[tuple[int, ...], int]:
        """The shape of one draw of the whole batch, and the number of its batch axes."""
        base = (*self.base_dist.batch_shape, *self.base_dist.event_shape)
        return self.transform.forward_shape(base), len(self.base_dist.batch_shape)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        shape, cut = self._split()
        return shape[:cut]

    @property
    def event_shape(self) -> tuple[int, ...]:
        shape, cut = self._split()
        return shape[cut:]

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        if not self.transforms:
            support: Constraint = self.base_dist.support
            return support
        codomain = self.transform.codomain
        return constraints.independent(codomain, max(self.event_dim - codomain.event_dim, 0))

    def from_noise(self, noise: Any) -> Any:
        return self.transform(self.base_dist.from_noise(noise))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        x, log_prob = self.base_dist.from_noise_with_log_prob(noise)
        y, log_det = self.transform.call_with_log_det(x)
        return y, log_prob - self._over_event(log_det)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        return self.transform(self.base_dist.sample(key, sample_shape))

    def sample_with_log_prob(self, key: Any, sample_shape: Sequence[int] = ()) -> tuple[Any, Any]:
        """A draw and its log density, without the inverse of the bijections."""
        x = self.base_dist.sample(key, sample_shape)
        y, log_det = self.transform.call_with_log_det(x)
        return y, self.base_dist.log_prob(x) - self._over_event(log_det)

    def _over_event(self, log_det: Any) -> Any:
        return sum_rightmost(log_det, self._base_event_dim - self.transform.domain.event_dim)

    def log_prob(self, value: Any) -> Any:
        transform = self.transform
        value, inside = self._kept_inside(value)
        x = transform.inv(value)
        log_det = transform.log_abs_det_jacobian(x, value)
        log_prob = self.base_dist.log_prob(x) - self._over_event(log_det)
        return log_prob if inside is None else jnp.where(inside, log_prob, -jnp.inf)

    def _kept_inside(self, value: Any) -> tuple[Any, Any]:
        """The value, feasible where it was beyond an end of the codomain, and where it was not; None: no ends."""
        constraint = self.transform.codomain
        if isinstance(constraint, IndependentConstraint):
            constraint = constraint.base
        if not isinstance(constraint, Range) or (constraint.lower is None and constraint.upper is None):
            return value, None
        inside = constraint(value)
        prototype = jax.ShapeDtypeStruct(np.shape(inside), jnp.result_type(value))
        value = jnp.where(inside, value, constraint.feasible_like(prototype))
        return value, inside.all(axis=tuple(range(-self.event_dim, 0))) if self.event_dim else inside

    # Distribution functions, for bijections of single numbers

    def _by_direction(self, increasing: Callable[[], Any], decreasing: Callable[[], Any]) -> Any:
        sign = self.transform.sign
        if not isinstance(sign, jax.Array):
            if np.all(np.asarray(sign) > 0):
                return increasing()
            if np.all(np.asarray(sign) < 0):
                return decreasing()
        return jnp.where(sign > 0, increasing(), decreasing())

    def _tail(self, value: Any, same: str, other: str, ends: tuple[float, float]) -> Any:
        """The base's function ``same`` at the inverse image, ``other`` under a decreasing map, ``ends`` beyond."""
        given = jnp.asarray(value)
        value, inside = self._kept_inside(given)
        x = self.transform.inv(value)
        tail = self._by_direction(
            lambda: getattr(self.base_dist, same)(x), lambda: getattr(self.base_dist, other)(x)
        )
        if inside is None:
            return tail
        lower = getattr(self.transform.codomain, "lower", None)
        below = given <= lower if lower is not None else given < value
        return jnp.where(inside, tail, jnp.where(below, *ends).astype(tail.dtype))

    def cdf(self, value: Any) -> Any:
        return self._tail(value, "cdf", "survival_function", (0.0, 1.0))

    def log_cdf(self, value: Any) -> Any:
        return self._tail(value, "log_cdf", "log_survival_function", (-np.inf, 0.0))

    def survival_function(self, value: Any) -> Any:
        return self._tail(value, "survival_function", "cdf", (1.0, 0.0))

    def log_survival_function(self, value: Any) -> Any:
        return self._tail(value, "log_survival_function", "log_cdf", (0.0, -np.inf))

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        base = self.base_dist
        return self.transform(self._by_direction(lambda: base.icdf(q), lambda: base._isf(q)))

    def _isf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        base = self.base_dist
        return self.transform(self._by_direction(lambda: base._isf(q), lambda: base.icdf(q)))

    # Summaries

    @property
    def _parts(self) -> list[Transform]:
        parts = self.transform.parts
        return [part.base if isinstance(part, IndependentTransform) else part for part in parts]

    def _made_of(self, kinds: tuple[type, ...]) -> bool:
        return all(isinstance(part, kinds) for part in self._parts)

    @property
    def mean(self) -> Any:
        if not self._made_of(_LINEAR):
            self._lacks("a mean in closed form", "average draws of sample(key, (n,))")
        return self.transform(self.base_dist.mean)

    @property
    def variance(self) -> Any:
        if not self._made_of(_ENTRYWISE):
            self._lacks("a variance in closed form", "take the variance of draws of sample(key, (n,))")
        scale: Any = 1
        for part in self._parts:
            scale = scale * part.scale if isinstance(part, AffineTransform) else scale
        return self.base_dist.variance * scale**2

    def entropy(self) -> Any:
        if not self._made_of(_LINEAR):
            self._lacks(
                "an entropy in closed form: its volume element is not known to be constant",
                "average -log_prob over draws of sample(key, (n,))",
            )
        zero = jnp.zeros(self.base_dist.shape(), self.dtype)
        return self.base_dist.entropy() + self._over_event(self.transform.call_with_log_det(zero)[1])

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(base_dist=expand_any(self.base_dist, self._expandable(batch_shape)))
