"""The image of a distribution under bijections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, sum_rightmost
from svijax.transforms import ComposeTransform, Constraint, Transform, constraints

from ._distribution import Distribution
from ._expanded import expand_any
from ._independent import Independent


class TransformedDistribution(Distribution):
    """y = t(x) with x ~ ``base_dist``: log p(y) = log p(x) - log |det dt/dx|, x = t^-1(y).

    ``transforms`` is one bijection or several, the first applied first. The base is expanded to the shape
    that they need, and batch axes that they consume become part of the event.
    """

    _fields = ("base_dist", "transforms")
    _static = ("_detached",)
    base_dist: Any
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

    @property
    def dtype(self) -> Any:
        return self.base_dist.dtype

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.base_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec | None:
        spec: NoiseSpec | None = getattr(self.base_dist, "noise_spec", None)
        return spec

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
        x = transform.inv(value)
        log_det = transform.log_abs_det_jacobian(x, value)
        return self.base_dist.log_prob(x) - self._over_event(log_det)

    def cdf(self, value: Any) -> Any:
        q = self.base_dist.cdf(self.transform.inv(value))
        return jnp.where(np.asarray(1) * self.transform.sign > 0, q, 1 - q)

    def icdf(self, q: Any) -> Any:
        q = jnp.asarray(q, self.dtype)
        return self.transform(self.base_dist.icdf(jnp.where(self.transform.sign > 0, q, 1 - q)))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        return self._replace(base_dist=expand_any(self.base_dist, self._expandable(batch_shape)))
