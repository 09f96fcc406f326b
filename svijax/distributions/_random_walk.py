"""Gaussian walks: sums of normal steps, with and without a transition matrix."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_array, matmul, message, transposed
from svijax.transforms import constraints

from ._distribution import Distribution
from ._gaussian import affine_recursion, apply
from ._logits import take_one
from ._multivariate_normal import MultivariateNormal
from ._parameters import parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def check_steps(owner: str, name: str, steps: Any) -> int:
    """A number of steps, which is a positive integer."""
    if isinstance(steps, (int, np.integer)) and not isinstance(steps, bool) and steps > 0:
        return int(steps)
    raise ArgumentError(message(f"{owner}: {name} is a positive integer.", got=repr(steps)))


class GaussianRandomWalk(Distribution):
    """x_t = x_(t-1) + scale e_t with x_0 = 0 and e_t ~ N(0, 1), t = 1, …, num_steps; a draw is (num_steps,)."""

    arg_constraints = parameters(scale=constraints.positive)
    support = constraints.real_vector
    _static = ("num_steps", "_detached")
    _noise_kind = "normal"
    scale: jax.Array
    num_steps: int

    def __init__(self, scale: Any = 1.0, num_steps: int = 1, *, validate_args: bool | None = None) -> None:
        self._assign(num_steps=check_steps("GaussianRandomWalk", "num_steps", num_steps))
        self._init(validate_args, scale=scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.num_steps,)

    def from_noise(self, noise: Any) -> Any:
        return self.scale[..., None] * jnp.cumsum(noise, axis=-1)

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        return self.from_noise(noise), -0.5 * jnp.sum(noise * noise, axis=-1) - self._log_norm()

    def log_prob(self, value: Any) -> Any:
        steps = jnp.diff(
            value, axis=-1, prepend=jnp.zeros((*np.shape(value)[:-1], 1), jnp.result_type(value))
        )
        z = steps / self.scale[..., None]
        return -0.5 * jnp.sum(z * z, axis=-1) - self._log_norm()

    def _log_norm(self) -> Any:
        return self.num_steps * (jnp.log(self.scale) + _HALF_LOG_2PI)

    @property
    def mean(self) -> Any:
        return jnp.zeros(self.shape(), self.dtype)

    @property
    def variance(self) -> Any:
        return (self.scale**2)[..., None] * jnp.arange(1, self.num_steps + 1, dtype=self.dtype)

    def entropy(self) -> Any:
        return 0.5 * self.num_steps + self._log_norm()


class GaussianStateSpace(Distribution):
    """z_t = A z_(t-1) + e_t with e_t ~ N(0, L L^T), t = 1, …, num_steps; a draw is (num_steps, n).

    A = transition_matrix (…, n, n); exactly one of covariance_matrix, precision_matrix, scale_tril = L, each
    (…, n, n), is given, and L is kept. z_0 = initial_value (…, n), which is 0 unless given.
    """

    arg_constraints = parameters(
        transition_matrix=constraints.real_matrix,
        covariance_matrix=constraints.positive_definite,
        precision_matrix=constraints.positive_definite,
        scale_tril=constraints.lower_cholesky,
        initial_value=constraints.real_vector,
    )
    support = constraints.real_matrix
    _fields = ("transition_matrix", "scale_tril", "initial_value")
    _static = ("num_steps", "_detached")
    _noise_kind = "normal"
    transition_matrix: jax.Array
    scale_tril: jax.Array
    initial_value: Any
    num_steps: int

    def __init__(
        self,
        num_steps: int,
        transition_matrix: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        initial_value: Any = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        owner = "GaussianStateSpace"
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        take_one(owner, **given)
        self._assign(num_steps=check_steps(owner, "num_steps", num_steps))
        # The one place that knows how a matrix becomes its factor.
        step = MultivariateNormal(0.0, **given, validate_args=validate_args)
        matrix = as_array(transition_matrix)
        n = step.event_shape[0]
        for name, shape, tail in (
            ("transition_matrix", np.shape(matrix), (n, n)),
            ("initial_value", (n,) if initial_value is None else np.shape(initial_value), (n,)),
        ):
            if shape[-len(tail) :] != tail:
                raise ArgumentError(
                    message(
                        f"{owner}: {name!r} does not fit the noise of {n} entries.",
                        expected=f"shape (…, {', '.join(map(str, tail))})",
                        got=f"shape {shape}",
                    )
                )
        self._init(
            validate_args, transition_matrix=matrix, scale_tril=step.scale_tril, initial_value=initial_value
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.num_steps, np.shape(self.scale_tril)[-1])

    def _recursion(self, x: Any) -> Any:
        return affine_recursion(jnp.asarray(self.transition_matrix)[..., None, :, :], x)

    def _first(self) -> Any:
        """A z_0, in the first step, and 0 in all others."""
        moved = apply(self.transition_matrix, jnp.asarray(self.initial_value))[..., None, :]
        return jnp.pad(moved, [(0, 0)] * (moved.ndim - 2) + [(0, self.num_steps - 1), (0, 0)])

    def from_noise(self, noise: Any) -> Any:
        steps = matmul(noise, transposed(jnp.asarray(self.scale_tril)))
        return self._recursion(steps if self.initial_value is None else steps + self._first())

    def from_noise_with_log_prob(self, noise: Any) -> tuple[Any, Any]:
        squares = jnp.sum(noise * noise, axis=(-2, -1))
        return self.from_noise(noise), -0.5 * squares - self._log_norm()

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        moved = matmul(value[..., :-1, :], transposed(jnp.asarray(self.transition_matrix)))
        moved = jnp.pad(moved, [(0, 0)] * (moved.ndim - 2) + [(1, 0), (0, 0)])
        gap = value - moved
        gap = gap if self.initial_value is None else gap - self._first()
        # Time in front, so that no copy of the factor is made for each step.
        step = MultivariateNormal(0.0, scale_tril=self.scale_tril, validate_args=False)
        return jnp.sum(step.log_prob(jnp.moveaxis(gap, -2, 0)), axis=0)

    def _log_norm(self) -> Any:
        diagonal = jnp.diagonal(jnp.asarray(self.scale_tril), axis1=-2, axis2=-1)
        return self.num_steps * (jnp.sum(jnp.log(diagonal), axis=-1) + diagonal.shape[-1] * _HALF_LOG_2PI)

    @property
    def mean(self) -> Any:
        if self.initial_value is None:
            return jnp.zeros(self.shape(), self.dtype)
        return self._recursion(self._first())

    @property
    def variance(self) -> Any:
        # A^k L for all k: the columns of L are carried on, and their squares add up.
        columns = transposed(jnp.asarray(self.scale_tril))[..., None, :]
        steps = jnp.pad(columns, [(0, 0)] * (columns.ndim - 2) + [(0, self.num_steps - 1), (0, 0)])
        carried = affine_recursion(jnp.asarray(self.transition_matrix)[..., None, None, :, :], steps)
        return jnp.cumsum(jnp.sum(carried**2, axis=-3), axis=-2)

    def entropy(self) -> Any:
        return 0.5 * self.num_steps * self.event_shape[1] + self._log_norm()
