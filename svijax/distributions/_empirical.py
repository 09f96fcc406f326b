"""Atoms with weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ShapeError, array_module, as_array, broadcast, message
from svijax.transforms import Constraint, constraints

from ._distribution import Distribution
from ._logits import cumulative
from ._parameters import parameters


class Atoms(Constraint):
    """One of the values ``samples`` (…, n, *event)."""

    name = "atoms"
    is_discrete = True
    _fields = ("samples",)
    _static = ("_event_dim",)
    samples: Any

    def __init__(self, samples: Any, event_dim: int) -> None:
        self._assign(samples=samples, _event_dim=event_dim)

    @property
    def event_dim(self) -> int:
        return int(self.__dict__["_event_dim"])

    def matches(self, x: Any) -> Any:
        """Which atoms a value equals, (…, n)."""
        same = self.samples == array_module(x, self.samples).expand_dims(x, -1 - self.event_dim)
        return same.all(axis=tuple(range(-self.event_dim, 0))) if self.event_dim else same

    def __call__(self, x: Any) -> Any:
        return self.matches(x).any(axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        first = self.samples[(..., 0, *(slice(None),) * self.event_dim)]
        return broadcast(first, np.shape(prototype)).astype(prototype.dtype)


class Empirical(Distribution):
    """p(x) = sum of the weights of the atoms that equal x, for weights proportional to exp(log_weights).

    log_weights has shape (…, n) and samples (…, n, *event): draws are copies of the n atoms. Without weights
    samples is (n, *event), and all atoms weigh the same. ``log_prob`` is a log mass, also where atoms are floats.
    """

    arg_constraints = parameters(samples=constraints.dependent, log_weights=constraints.real_vector)
    _static = ("_event_axes", "_detached")
    _keep_dtype = ("samples",)
    _enumerable = True
    samples: jax.Array
    log_weights: jax.Array
    _event_axes: int

    def __init__(self, samples: Any, log_weights: Any = None, *, validate_args: bool | None = None) -> None:
        samples = as_array(samples)
        if log_weights is None:
            log_weights = np.zeros(np.shape(samples)[:1])
        log_weights = as_array(log_weights)
        shape, leading = np.shape(samples), np.ndim(log_weights)
        if leading == 0 or len(shape) < leading or shape[leading - 1] != np.shape(log_weights)[-1]:
            raise ShapeError(
                message(
                    "Empirical: each weight belongs to one atom.",
                    expected="samples of shape (…, n, *event), log_weights of shape (…, n)",
                    got=f"samples {shape}, log_weights {np.shape(log_weights)}",
                )
            )
        self._assign(_event_axes=len(shape) - leading)
        self._init(validate_args, samples=samples, log_weights=log_weights)

    def _event_dim_of(self, name: str) -> int:
        return 1 + (self._event_axes if name == "samples" else 0)

    @property
    def event_shape(self) -> tuple[int, ...]:
        shape = np.shape(self.samples)
        return shape[len(shape) - self._event_axes :]

    @property
    def support(self) -> Atoms:  # type: ignore[override]
        return Atoms(self.samples, self._event_axes)

    @property
    def dtype(self) -> Any:
        return self.samples.dtype

    @property
    def sample_size(self) -> int:
        """The number of atoms."""
        return int(np.shape(self.log_weights)[-1])

    @property
    def weights(self) -> Any:
        """The normalised weights, (…, n)."""
        return jax.nn.softmax(self.log_weights, axis=-1)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        shape = (*sample_shape, *self.batch_shape)
        sums = cumulative(self.weights)[..., :-1]
        noise = jax.random.uniform(key, (*shape, 1), sums.dtype)
        index = jnp.sum(sums <= noise, axis=-1, keepdims=True)
        index = index.reshape((*shape, 1, *(1,) * self._event_axes))
        axis = -1 - self._event_axes
        atoms = jnp.broadcast_to(self.samples, (*sample_shape, *np.shape(self.samples)))
        return jnp.squeeze(jnp.take_along_axis(atoms, index, axis=axis), axis=axis)

    def log_prob(self, value: Any) -> Any:
        matches = self.support.matches(jnp.asarray(value))
        least = float(jnp.finfo(self.log_weights.dtype).min)
        log_weights = jnp.where(matches, jax.nn.log_softmax(self.log_weights, axis=-1), least)
        return jnp.where(matches.any(axis=-1), jax.nn.logsumexp(log_weights, axis=-1), -jnp.inf)

    def _average(self, values: Any) -> Any:
        """The weighted mean of values (…, n, *event)."""
        weights = self.weights.reshape((*np.shape(self.log_weights), *(1,) * self._event_axes))
        return jnp.sum(weights * values, axis=-1 - self._event_axes)

    @property
    def mean(self) -> Any:
        return self._average(self.samples)

    @property
    def variance(self) -> Any:
        return self._average((self.samples - jnp.expand_dims(self.mean, -1 - self._event_axes)) ** 2)

    def cdf(self, value: Any) -> Any:
        if self._event_axes:
            self._lacks("a cdf where atoms are arrays", "count draws of sample(key, (n,))")
        below = self.samples <= jnp.asarray(value)[..., None]
        return jnp.sum(jnp.where(below, self.weights, 0.0), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        """The atoms, along a new leading axis; those that are equal are listed as often as they are there."""
        return array_module(self.samples).moveaxis(self.samples, -1 - self._event_axes, 0)
