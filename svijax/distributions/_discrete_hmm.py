"""Hidden Markov models with finitely many states, their sums over paths done in O(log T) steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, as_array, broadcast, cast, float_dtype, message
from svijax.transforms import Constraint, constraints

from ._categorical import Categorical
from ._distribution import Distribution
from ._expanded import expand_any
from ._parameters import check, check_axes, parameters
from ._random_walk import check_steps


class LogWeights(Constraint):
    """Vectors of logarithms, not all -inf, none +inf: a state may be impossible."""

    name = "log_weights"

    @property
    def event_dim(self) -> int:
        return 1

    def __call__(self, x: Any) -> Any:
        return (x < np.inf).all(axis=-1) & (x > -np.inf).any(axis=-1)


class DiscreteHMM(Distribution):
    """p(y) = sum_z p(z_0) prod_t p(z_t | z_(t-1)) p(y_t | z_t), t = 1, …, T: the states z are summed out.

    initial_logits (…, S) are of z_0, one transition before the first observation; transition_logits (…, T, S, S)
    of z_t in the last axis given z_(t-1) in the last but one; ``observation_dist`` has batch_shape (…, T, S).
    Each T may be 1 or left out of the logits where all steps are alike; ``duration`` is then the number of steps
    of a draw, and ``log_prob`` takes any number where nothing says T. Logits need not be normalised, and -inf
    forbids. Products of steps are taken in pairs: depth O(log T), work O(T S^3) (Särkkä and García-Fernández,
    Temporal parallelization of Bayesian smoothers, 2021, for finitely many states).
    """

    arg_constraints = parameters(
        initial_logits=LogWeights(), transition_logits=constraints.independent(LogWeights(), 2)
    )
    _fields = ("initial_logits", "transition_logits", "observation_dist")
    _static = ("duration", "_detached")
    initial_logits: Any
    transition_logits: Any
    observation_dist: Any
    duration: int

    def __init__(
        self,
        initial_logits: Any,
        transition_logits: Any,
        observation_dist: Any,
        duration: int | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        initial, transition = as_array(initial_logits), as_array(transition_logits)
        dtype = float_dtype(initial, transition)
        initial, transition = cast(initial, dtype), cast(transition, dtype)
        check_axes("DiscreteHMM", {"initial_logits": initial}, {"initial_logits": 1})
        check_axes("DiscreteHMM", {"transition_logits": transition}, {"transition_logits": 2})
        transition = transition[None] if transition.ndim == 2 else transition
        if validate_args is not False:
            check("DiscreteHMM", "initial_logits", initial, LogWeights())
            check("DiscreteHMM", "transition_logits", transition, LogWeights())
        own = tuple(observation_dist.batch_shape)
        states = initial.shape[-1]
        if transition.shape[-2:] != (states, states) or own[-1:] not in ((states,), (1,)):
            raise ShapeError(
                message(
                    f"DiscreteHMM: initial_logits are of {states} states.",
                    expected=f"transition_logits (…, {states}, {states}) and observation_dist with batch_shape "
                    f"(…, {states})",
                    got=f"{np.shape(transition_logits)} and {own}",
                )
            )
        own = own if len(own) > 1 else (1, *own)
        batch = _common("DiscreteHMM", initial.shape[:-1], transition.shape[:-3], own[:-2])
        self._assign(
            initial_logits=broadcast(initial, (*batch, states)),
            transition_logits=broadcast(transition, (*batch, *transition.shape[-3:])),
            observation_dist=expand_any(observation_dist, (*batch, own[-2], states)),
            duration=steps_of("DiscreteHMM", duration, transition.shape[-3], own[-2]),
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(
            np.shape(self.initial_logits)[:-1],
            np.shape(self.transition_logits)[:-3],
            tuple(self.observation_dist.batch_shape)[:-2],
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.duration, *self.observation_dist.event_shape)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        event_dim = len(self.observation_dist.event_shape)

        def of_one_state(bound: Any) -> Any:
            # Bounds may have the batch's axes, of which the last is that of the states.
            return jnp.take(bound, 0, axis=-1 - event_dim) if np.ndim(bound) > event_dim else bound

        return constraints.independent(jax.tree.map(of_one_state, self.observation_dist.support), 1)

    @property
    def dtype(self) -> Any:
        return self.observation_dist.dtype

    @property
    def _states(self) -> int:
        return int(np.shape(self.initial_logits)[-1])

    def _log_weights(self, value: Any) -> tuple[Any, Any]:
        """log p(z_0), and log p(y_t | z_t) of shape (…, T, S)."""
        value = jnp.asarray(value)
        cut = value.ndim - len(self.observation_dist.event_shape)
        need_steps("DiscreteHMM", self.duration, value.shape[cut - 1])
        seen = self.observation_dist.log_prob(jnp.expand_dims(value, cut))
        return jax.nn.log_softmax(self.initial_logits, axis=-1), seen

    def _log_total(self, initial: Any, seen: Any) -> Any:
        """log p(z_T, y) in the last axis."""
        steps = jax.nn.log_softmax(self.transition_logits, axis=-1) + seen[..., None, :]
        return _log_sum_exp(initial[..., None] + _log_chain(steps), -2)

    def log_prob(self, value: Any) -> Any:
        return _log_sum_exp(self._log_total(*self._log_weights(value)), -1)

    def filter(self, value: Any) -> Categorical:
        """The law of the last state given the observations."""
        # Impossible states have logits -inf.
        logits = self._log_total(*self._log_weights(value))
        return Categorical(logits=logits, validate_args=False)

    def smooth(self, value: Any) -> Categorical:
        """The law of each state z_1, …, z_T given all observations: batch_shape (…, T)."""
        initial, seen = self._log_weights(value)

        # The derivative of log p(y) in log p(y_t | z_t = s) is P(z_t = s | y).
        def total(seen: Any) -> Any:
            return jnp.sum(_log_sum_exp(self._log_total(initial, seen), -1))

        lead = np.broadcast_shapes(seen.shape[:-2], self.batch_shape)
        probs = jax.grad(total)(jnp.broadcast_to(seen, (*lead, *seen.shape[-2:])))
        return Categorical(probs=probs, validate_args=False)

    def _sample(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        first, rest, seen = jax.random.split(key, 3)
        shape, size = (*sample_shape, *self.batch_shape), self._states
        initial = jax.random.categorical(first, self.initial_logits, shape=shape)
        logits = jnp.moveaxis(jnp.asarray(self.transition_logits), -3, 0)
        logits = jnp.broadcast_to(logits, (self.duration, *logits.shape[1:]))
        noise = jax.random.gumbel(rest, (self.duration, *shape, size), logits.dtype)

        def step(state: Any, inputs: Any) -> tuple[Any, Any]:
            logits, noise = inputs
            rows = jnp.broadcast_to(logits, (*shape, size, size))
            row = jnp.take_along_axis(rows, state[..., None, None], axis=-2)[..., 0, :]
            state = jnp.argmax(row + noise, axis=-1).astype(state.dtype)
            return state, state

        _, states = jax.lax.scan(step, initial, (logits, noise))
        states = jnp.moveaxis(states, 0, -1)
        all_states = expand_any(self.observation_dist, (*self.batch_shape, self.duration, size))
        draws = all_states.sample(seen, sample_shape)
        index = states.reshape((*states.shape, *(1,) * (draws.ndim - states.ndim)))
        draw = jnp.take_along_axis(draws, index, axis=states.ndim)
        return jax.lax.stop_gradient(jnp.squeeze(draw, states.ndim))

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        target = self._expandable(batch_shape)
        own = tuple(self.observation_dist.batch_shape)[-2:]
        return self._replace(
            initial_logits=broadcast(self.initial_logits, (*target, self._states)),
            transition_logits=broadcast(
                self.transition_logits, (*target, *np.shape(self.transition_logits)[-3:])
            ),
            observation_dist=expand_any(self.observation_dist, (*target, *own)),
        )


def _common(owner: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = ", ".join(map(str, shapes))
        raise ShapeError(message(f"{owner}: the batches do not broadcast.", got=listed)) from error


def steps_of(owner: str, duration: Any, *sizes: int) -> int:
    """The number of steps, from ``duration`` and the sizes of time axes, each of which may be 1."""
    given = {size for size in sizes if size != 1}
    if duration is not None:
        given.add(check_steps(owner, "duration", duration))
    if len(given - {1} if duration is None else given) > 1:
        raise ArgumentError(
            message(
                f"{owner}: the numbers of steps differ.", got=f"duration {duration} and time axes {sizes}"
            )
        )
    return next(iter(given), 1)


def need_steps(owner: str, duration: int, steps: int) -> None:
    """Raise where a series has another length than the model; one of a single step has any."""
    if duration not in (1, steps):
        raise ShapeError(
            message(f"{owner}: the observations are of another length.", expected=duration, got=steps)
        )


def _log_sum_exp(x: Any, axis: int) -> Any:
    """log sum exp, with derivative 0 where all terms are exp(-inf)."""
    top = jax.lax.stop_gradient(jnp.max(x, axis=axis, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    total = jnp.sum(jnp.exp(x - top), axis=axis)
    some = total > 0
    log_total = jnp.log(jnp.where(some, total, jnp.ones_like(total))) + jnp.squeeze(top, axis)
    return jnp.where(some, log_total, jnp.full_like(total, -jnp.inf))


@jax.jit
def _log_chain(steps: Any) -> Any:
    """The product over time of log-space matrices (…, T, S, S), in pairs; sums of tiny terms do not underflow."""
    while (size := steps.shape[-3]) > 1:
        even = 2 * (size // 2)
        left, right = steps[..., 0:even:2, :, :], steps[..., 1:even:2, :, :]
        pairs = _log_sum_exp(left[..., :, :, None] + right[..., None, :, :], -2)
        steps = jnp.concatenate([pairs, steps[..., even:, :, :]], axis=-3) if even < size else pairs
    return steps[..., 0, :, :]
