"""Paths of a stochastic differential equation, in the steps of Euler and Maruyama."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from svijax.base import NoiseSpec, ShapeError, as_array, broadcast, cast, message, sum_rightmost
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._expanded import expand_any
from ._parameters import check, check_axes, parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class EulerMaruyama(Distribution):
    """x_1 ~ init_dist, x_(i+1) ~ N(x_i + d f(x_i, t_i), d g(x_i, t_i)^2) with d = t_(i+1) - t_i.

    t (…, T) increases; ``sde_fn(x, t) -> (f, g)`` takes one state of ``init_dist`` and one time, and gives
    drift and diffusion, which broadcast with the state. A draw is (T, *event) and starts with x_1. Arrays
    that ``sde_fn`` needs and that are to be leaves are bound with ``jax.tree_util.Partial``.
    """

    arg_constraints = parameters(t=constraints.ordered_vector)
    _fields = ("t", "sde_fn", "init_dist")
    t: Any
    sde_fn: Any
    init_dist: Any

    def __init__(
        self,
        t: Any,
        sde_fn: Callable[[Any, Any], tuple[Any, Any]],
        init_dist: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        t = cast(as_array(t), init_dist.dtype)
        check_axes("EulerMaruyama", {"t": t}, {"t": 1})
        if validate_args is not False:
            check("EulerMaruyama", "t", t, self.arg_constraints["t"])
        try:
            batch = np.broadcast_shapes(np.shape(t)[:-1], tuple(init_dist.batch_shape))
        except ValueError as error:
            got = f"t {np.shape(t)} and init_dist of batch_shape {tuple(init_dist.batch_shape)}"
            raise ShapeError(
                message("EulerMaruyama: the batches of t and init_dist do not broadcast.", got=got)
            ) from error
        self._assign(
            t=broadcast(t, (*batch, np.shape(t)[-1])),
            sde_fn=sde_fn if isinstance(sde_fn, Partial) else Partial(sde_fn),
            init_dist=init_dist if tuple(init_dist.batch_shape) == batch else expand_any(init_dist, batch),
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(np.shape(self.t)[:-1], tuple(self.init_dist.batch_shape))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (np.shape(self.t)[-1], *self.init_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def dtype(self) -> Any:
        return self.init_dist.dtype

    def _has_pathwise(self) -> bool:
        return bool(getattr(self.init_dist, "has_rsample", False))

    def _noise_spec(self) -> NoiseSpec | None:
        first = getattr(self.init_dist, "noise_spec", None)
        one = (*self.init_dist.batch_shape, *self.init_dist.event_shape)
        if first is None or first.kind != "normal" or first.shape != one:
            return None
        return NoiseSpec("normal", self.shape(), self.dtype)

    def from_noise(self, noise: Any) -> Any:
        noise = self._time_first(noise)
        return self._path(self.init_dist.from_noise(noise[0]), noise[1:])

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        first, rest = jax.random.split(key)
        start = self.init_dist.sample(first, sample_shape)
        return self._path(start, jax.random.normal(rest, (self.event_shape[0] - 1, *start.shape), self.dtype))

    def _time_axis(self, value: Any) -> int:
        return int(value.ndim) - self.event_dim

    def _time_first(self, value: Any) -> Any:
        return jnp.moveaxis(value, self._time_axis(value), 0)

    def _path(self, start: Any, noise: Any) -> Any:
        t = jnp.moveaxis(jnp.asarray(self.t), -1, 0)

        def step(x: Any, inputs: Any) -> tuple[Any, Any]:
            time, gap, e = inputs
            drift, diffusion = self._coefficients(x, time)
            gap = self._over_event(gap)
            x = (x + gap * drift + jnp.sqrt(gap) * diffusion * e).astype(x.dtype)
            return x, x

        _, path = jax.lax.scan(step, start, (t[:-1], jnp.diff(t, axis=0), noise))
        path = jnp.concatenate([start[None], path])
        return jnp.moveaxis(path, 0, path.ndim - self.event_dim)

    def _over_event(self, x: Any) -> Any:
        return x.reshape((*x.shape, *(1,) * (self.event_dim - 1)))

    def _coefficients(self, x: Any, time: Any) -> tuple[Any, Any]:
        """Drift and diffusion of states (…, *event) at times that broadcast with the axes in front."""
        cut = x.ndim - (self.event_dim - 1)
        lead, event = x.shape[:cut], x.shape[cut:]

        def one(x: Any, time: Any) -> tuple[Any, Any]:
            drift, diffusion = self.sde_fn(x, time)
            return jnp.broadcast_to(drift, event), jnp.broadcast_to(diffusion, event)

        if not lead:
            return one(x, time)
        flat = x.reshape((-1, *event)), jnp.broadcast_to(time, lead).reshape(-1)
        drift, diffusion = jax.vmap(one)(*flat)
        return drift.reshape(x.shape), diffusion.reshape(x.shape)

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        t = jnp.moveaxis(jnp.asarray(self.t), -1, 0)
        lead = np.broadcast_shapes(value.shape[: self._time_axis(value)], t.shape[1:])
        x = self._time_first(jnp.broadcast_to(value, (*lead, *self.event_shape)))
        time = t[:-1].reshape((len(t) - 1, *(1,) * (len(lead) - t.ndim + 1), *t.shape[1:]))
        drift, diffusion = self._coefficients(x[:-1], time)
        gap = self._over_event(jnp.diff(t, axis=0).reshape(time.shape))
        scale = jnp.sqrt(gap) * jnp.abs(diffusion)
        z = (x[1:] - x[:-1] - gap * drift) / scale
        each = sum_rightmost(-0.5 * z * z - jnp.log(scale) - _HALF_LOG_2PI, self.event_dim - 1)
        log_prob = jnp.sum(each, axis=0) + self.init_dist.log_prob(x[0])
        return log_prob.astype(value.dtype) if jnp.issubdtype(value.dtype, jnp.inexact) else log_prob

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        t = broadcast(self.t, (*target, np.shape(self.t)[-1]))
        return self._replace(t=t, init_dist=expand_any(self.init_dist, target))
