"""The point mass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import NoiseSpec, array_module, as_array, broadcast, cast
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._parameters import parameters


class Delta(Distribution):
    """All mass at v: log p(x) = log_density where x = v, else -inf; v (…, *event), log_density (…).

    The last ``event_dim`` axes of v are the event. Draws carry the derivatives of v, and need no key.
    """

    arg_constraints = parameters(v=constraints.dependent, log_density=constraints.real)
    _static = ("_event_axes", "_detached")
    _keep_dtype = ("v",)
    _pathwise = True
    v: jax.Array
    log_density: jax.Array
    _event_axes: int

    def __init__(
        self, v: Any = 0.0, log_density: Any = 0.0, event_dim: int = 0, *, validate_args: bool | None = None
    ) -> None:
        self._assign(_event_axes=int(event_dim))
        v = as_array(v)
        if isinstance(log_density, (int, float)) and jnp.issubdtype(jnp.result_type(v), jnp.inexact):
            log_density = cast(log_density, jnp.result_type(v))
        self._init(validate_args, v=v, log_density=log_density)

    def _event_dim_of(self, name: str) -> int:
        return self._event_axes if name == "v" else 0

    @property
    def event_shape(self) -> tuple[int, ...]:
        shape = np.shape(self.v)
        return shape[len(shape) - self._event_axes :]

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.point(self.v, self._event_axes)

    @property
    def dtype(self) -> Any:
        return self.v.dtype

    def _noise_spec(self) -> NoiseSpec:
        return NoiseSpec("normal", (0,), self.log_density.dtype)

    def from_noise(self, noise: Any) -> Any:
        # v itself and no copy, so that log_prob knows its own draw again.
        return broadcast(self.v, (*np.shape(noise)[:-1], *np.shape(self.v)))

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        sample_shape = np.shape(noise)[:-1]
        return self.from_noise(noise), broadcast(self.log_density, (*sample_shape, *self.batch_shape))

    def log_prob(self, value: Any) -> Any:
        if value is self.v:
            return self.log_density
        same = array_module(value, self.v).equal(value, self.v)
        if self._event_axes:
            same = same.all(axis=tuple(range(-self._event_axes, 0)))
        return jnp.where(same, self.log_density, -jnp.inf)

    @property
    def mean(self) -> Any:
        return self.v

    @property
    def variance(self) -> Any:
        return array_module(self.v).zeros_like(self.v)

    def entropy(self) -> Any:
        return -self.log_density
