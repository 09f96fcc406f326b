"""Hidden Markov models whose states and observations are jointly normal, filtered in O(log T) steps."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import (
    ArgumentError,
    NoiseSpec,
    ShapeError,
    as_array,
    as_key,
    draw_noise,
    gram,
    message,
    transposed,
)
from svijax.transforms import constraints

from ._discrete_hmm import need_steps, steps_of
from ._distribution import Distribution
from ._gaussian import (
    Factor,
    LinearModel,
    affine_recursion,
    apply,
    factors_of,
    filtered,
    predictive,
    smoothed,
    start_of,
)
from ._independent import Independent
from ._multivariate_normal import MultivariateNormal
from ._normal import Normal
from ._parameters import parameters

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class LinearGaussian(Distribution):
    """What hidden Markov models with linear maps and normal noise share; see ``GaussianHMM``."""

    arg_constraints = parameters(
        initial_loc=constraints.real_vector,
        initial_tril=constraints.lower_cholesky,
        transition_matrix=constraints.independent(constraints.real, 3),
        transition_loc=constraints.independent(constraints.real, 2),
        transition_tril=constraints.independent(constraints.lower_cholesky, 1),
        observation_matrix=constraints.independent(constraints.real, 3),
        observation_loc=constraints.independent(constraints.real, 2),
        observation_tril=constraints.independent(constraints.lower_cholesky, 1),
    )
    support = constraints.real_matrix
    _static = ("duration", "_detached")
    initial_loc: jax.Array
    initial_tril: jax.Array
    transition_matrix: jax.Array
    transition_loc: jax.Array
    transition_tril: jax.Array
    observation_matrix: jax.Array
    observation_loc: jax.Array
    observation_tril: jax.Array
    duration: int

    def _set(
        self,
        initial_dist: Any,
        transition_matrix: Any,
        transition_dist: Any,
        observation_matrix: Any,
        observation_dist: Any,
        duration: int | None,
        validate_args: bool | None,
        **more: Any,
    ) -> None:
        owner = type(self).__name__
        initial_loc, initial_tril = normal_of(owner, "initial_dist", initial_dist)
        transition_loc, transition_tril = normal_of(owner, "transition_dist", transition_dist)
        observation_loc, observation_tril = normal_of(owner, "observation_dist", observation_dist)
        matrix, seen = as_array(transition_matrix), as_array(observation_matrix)
        h, o = np.shape(initial_loc)[-1], np.shape(observation_loc)[-1]
        shapes = np.shape(matrix)[-2:], np.shape(transition_loc)[-1:], np.shape(seen)[-2:]
        if shapes != ((h, h), (h,), (h, o)):
            raise ShapeError(
                message(
                    f"{owner}: the sizes do not fit {h} hidden and {o} observed entries.",
                    expected=f"transition_matrix (…, {h}, {h}), transition_dist of {h} entries, "
                    f"observation_matrix (…, {h}, {o})",
                    got=f"{np.shape(matrix)}, {shapes[1][0]} entries, {np.shape(seen)}",
                )
            )
        timed = {
            "transition_matrix": _timed(matrix, 2),
            "transition_loc": _timed(transition_loc, 1),
            "transition_tril": _timed(transition_tril, 2),
            "observation_matrix": _timed(seen, 2),
            "observation_loc": _timed(observation_loc, 1),
            "observation_tril": _timed(observation_tril, 2),
        }
        sizes = (np.shape(x)[-2 if "loc" in name else -3] for name, x in timed.items())
        self._assign(duration=steps_of(owner, duration, *sizes))
        # The three distributions have checked what is theirs.
        self._init(validate_args, initial_loc=initial_loc, initial_tril=initial_tril, **timed, **more)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.duration, self._sizes[1])

    @property
    def _sizes(self) -> tuple[int, int]:
        """The numbers of hidden and of observed entries."""
        return int(np.shape(self.initial_loc)[-1]), int(np.shape(self.observation_loc)[-1])

    @property
    def initial_dist(self) -> MultivariateNormal:
        """The law of z_0."""
        return MultivariateNormal(self.initial_loc, scale_tril=self.initial_tril, validate_args=False)

    def _widen(self, x: Any) -> Any:
        """In single precision at least: there is no Cholesky factor in half."""
        return jnp.asarray(x, jnp.promote_types(self.dtype, jnp.float32))

    def _model(self, extra: int) -> LinearModel:
        """Time in front, and then ``extra`` axes for those that only the observations have."""

        def front(x: Any, axes: int) -> Any:
            x = jnp.moveaxis(self._widen(x), -1 - axes, 0)
            return x.reshape((len(x), *(1,) * extra, *x.shape[1:]))

        return LinearModel(
            self._widen(self.initial_loc),
            gram(self._widen(self.initial_tril)),
            transposed(front(self.transition_matrix, 2)),
            front(self.transition_loc, 1),
            gram(front(self.transition_tril, 2)),
            transposed(front(self.observation_matrix, 2)),
            front(self.observation_loc, 1),
            gram(front(self.observation_tril, 2)),
        )

    def _filtered(self, value: Any) -> tuple[LinearModel, Any, Factor, Factor]:
        """The model, the observations with time in front, the factor of every step, and of all steps so far."""
        y = jnp.moveaxis(self._widen(value), -2, 0)
        need_steps(type(self).__name__, self.duration, len(y))
        lead = np.broadcast_shapes(y.shape[1:-1], self.batch_shape)
        missing = (1,) * (len(lead) - y.ndim + 2)
        y = jnp.broadcast_to(y.reshape((len(y), *missing, *y.shape[1:])), (len(y), *lead, y.shape[-1]))
        model = self._model(len(lead) - len(self.batch_shape))
        factors = factors_of(model, y)
        return model, y, factors, filtered(start_of(model, factors), factors)

    def _squares_and_log_det(self, value: Any) -> tuple[Any, Any, int]:
        """|whitened observations|^2, the log determinant of what whitens them, and their number."""
        model, y, _, prefix = self._filtered(value)
        before: Factor = jax.tree.map(lambda x: x[:-1], prefix)
        white, log_det = predictive(model, before, y)
        log_det = jnp.broadcast_to(log_det, (len(y), *log_det.shape[1:]))
        squares = jnp.sum(white * white, axis=-1)
        squares, log_det = (jnp.sum(x, axis=0).astype(self.dtype) for x in (squares, log_det))
        return squares, log_det, y.shape[0] * y.shape[-1]

    def _last(self, value: Any) -> tuple[Any, Any]:
        """Mean and covariance of z_T given the observations."""
        _, _, _, prefix = self._filtered(value)
        return prefix.b[-1].astype(self.dtype), prefix.C[-1].astype(self.dtype)

    # Draws

    def _parts(self, noise: Any) -> tuple[Any, Any, Any]:
        """Noise for the first state (…, h), for the others (…, T, h) and for the observations (…, T, o)."""
        h, o = self._sizes
        steps, cut = self.duration, h * (self.duration + 1)
        hidden = noise[..., h:cut].reshape((*noise.shape[:-1], steps, h))
        return noise[..., :h], hidden, noise[..., cut:].reshape((*noise.shape[:-1], steps, o))

    def _joint(self, noise: Any, scale: Any = None) -> tuple[Any, Any]:
        """States z_1, …, z_T and observations that the noise, times ``scale`` (…), makes."""
        first, hidden, seen = (
            x if scale is None else x * scale.reshape((*scale.shape, *(1,) * (x.ndim - scale.ndim)))
            for x in self._parts(noise)
        )
        matrix = transposed(jnp.asarray(self.transition_matrix))
        start = self.initial_loc + apply(self.initial_tril, first)
        steps = self.transition_loc + apply(self.transition_tril, hidden)
        moved = apply(matrix[..., 0, :, :], start)[..., None, :]
        steps = jnp.concatenate([steps[..., :1, :] + moved, steps[..., 1:, :]], axis=-2)
        states = affine_recursion(matrix, steps)
        seen = self.observation_loc + apply(self.observation_tril, seen)
        return states, apply(transposed(jnp.asarray(self.observation_matrix)), states) + seen


class GaussianHMM(LinearGaussian):
    """z_t = z_(t-1) A + q_t, y_t = z_t B + r_t, t = 1, …, T, with z_0, q_t, r_t normal; the states are summed out.

    ``initial_dist`` of z_0 (h entries), ``transition_dist`` of q_t (h) and ``observation_dist`` of r_t (o) are
    ``MultivariateNormal`` or ``Normal(…).to_event(1)``; batch_shape (…) of the first and (…, T) of the others.
    A = transition_matrix (…, T, h, h) and B = observation_matrix (…, T, h, o). Each T may be 1 or left out where
    all steps are alike; ``duration`` is then the number of steps of a draw, and ``log_prob`` takes any number
    where nothing says T. Filters by an associative scan of depth O(log T): Särkkä and García-Fernández, Temporal
    parallelization of Bayesian smoothers (2021).
    """

    _noise_kind = "normal"

    def __init__(
        self,
        initial_dist: Any,
        transition_matrix: Any,
        transition_dist: Any,
        observation_matrix: Any,
        observation_dist: Any,
        duration: int | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._set(
            initial_dist,
            transition_matrix,
            transition_dist,
            observation_matrix,
            observation_dist,
            duration,
            validate_args,
        )

    def _noise_spec(self) -> NoiseSpec | None:
        h, o = self._sizes
        return NoiseSpec("normal", (*self.batch_shape, h + self.duration * (h + o)), self.dtype)

    def from_noise(self, noise: Any) -> Any:
        return self._joint(noise)[1]

    def log_prob(self, value: Any) -> Any:
        squares, log_det, size = self._squares_and_log_det(value)
        return -0.5 * squares - log_det - size * _HALF_LOG_2PI

    def filter(self, value: Any) -> MultivariateNormal:
        """The law of the last state given the observations."""
        mean, covariance = self._last(value)
        return MultivariateNormal(mean, covariance, validate_args=False)

    def smooth(self, value: Any) -> MultivariateNormal:
        """The law of each state z_1, …, z_T given all observations: batch_shape (…, T)."""
        mean, covariance = self._smoothed(value)
        return MultivariateNormal(mean, covariance, validate_args=False)

    def rsample_posterior(self, key: Any, value: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of z_1, …, z_T given the observations, (…, T, h), with pathwise derivatives.

        A draw of states and observations is moved by what the observations say about the difference of the two
        observations (Durbin and Koopman, A simple and efficient simulation smoother, 2002).
        """
        spec, shape = self._noise_spec(), tuple(sample_shape)
        states, seen = self._joint(draw_noise(as_key(key), spec, shape))  # type: ignore[arg-type]
        return states + self._smoothed(value)[0] - self._smoothed(seen)[0]

    def _smoothed(self, value: Any) -> tuple[Any, Any]:
        _, _, factors, prefix = self._filtered(value)
        mean, covariance = smoothed(jax.tree.map(lambda x: x[1:], prefix), factors)
        mean, covariance = jnp.moveaxis(mean, 0, -2), jnp.moveaxis(covariance, 0, -3)
        return mean.astype(self.dtype), covariance.astype(self.dtype)

    @property
    def mean(self) -> Any:
        noise = self._noise_spec()
        return self._joint(jnp.zeros(noise.shape, noise.dtype))[1]  # type: ignore[union-attr]


def normal_of(owner: str, name: str, dist: Any) -> tuple[Any, Any]:
    """Mean and lower factor of the covariance of a multivariate normal, or of independent normals."""
    if isinstance(dist, MultivariateNormal):
        return dist.loc, dist.scale_tril
    base = getattr(dist, "base_dist", None)
    if isinstance(dist, Independent) and isinstance(base, Normal) and dist.reinterpreted_batch_ndims == 1:
        # numpy stays numpy.
        scale = base.scale
        return base.loc, scale[..., None] * np.eye(np.shape(scale)[-1], dtype=scale.dtype)
    raise ArgumentError(
        message(
            f"{owner}: {name} is not normal.",
            expected="MultivariateNormal or Normal(...).to_event(1)",
            got=repr(dist),
        )
    )


def _timed(x: Any, event_dim: int) -> Any:
    """With an axis of time, of size 1 where there was none."""
    return x if np.ndim(x) > event_dim else x[None]
