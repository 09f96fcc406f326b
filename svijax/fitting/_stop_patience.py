"""Stop where the loss on held-out data no longer falls."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, join_arguments, message, split_arguments

from ._state import SVIState
from ._stop_options import check_least, check_number
from ._watch import Seen

_EVALUATION = 2**31 - 3
"""Folded into the key of a run it gives the key of the evaluations: no step has this number."""


class Best(NamedTuple):
    """``losses``: those of the best evaluation, one for each of its draws; infinite before there is one.

    ``waited``: evaluations since then. ``free``: the parameters at it, if they are kept.
    """

    losses: Any
    waited: Any
    free: Any


@jax.tree_util.register_pytree_node_class
class Patience:
    """Stop after ``patience`` evaluations running that were not better than the best by more than min_delta + z s.

    Every ``every`` steps the loss on held-out data is the mean of ``num_particles`` evaluations. Their draws are the
    same each time, so that most of their noise is in both sides of a comparison: s, the standard error of the mean
    difference, is taken draw by draw. What is better by less than that may still add up: the best stays the one to beat.

    ``Patience(X_held_out, y_held_out, every=100)``: positional and keyword arguments are those of the model, for the
    held-out data; they are arguments of the compiled program, never its constants. A latent that the training rows
    alone have says nothing of others: the rule is for models whose latents are global, or amortised.

    :param every: steps from one evaluation to the next. :param patience: evaluations to wait.
    :param num_particles: evaluations of the loss to average; they run one after another.
    :param min_delta: nats by which the loss must fall at the least. :param z: standard errors that count as noise.
    :param keep_best: keep the parameters of the best evaluation: ``fit.averaged`` is then the result at them.
    :raises ArgumentError: no data, or an option out of its range.
    """

    def __init__(
        self,
        *args: Any,
        every: int = 100,
        patience: int = 5,
        num_particles: int = 10,
        min_delta: float = 0.0,
        z: float = 1.0,
        keep_best: bool = False,
        **kwargs: Any,
    ) -> None:
        if not args and not kwargs:
            raise ArgumentError(
                message(
                    "Patience has no held-out data.",
                    expected="the model's arguments, for data that the fit does not see",
                    fix="Patience(X_held_out, y_held_out, every=100).",
                )
            )
        for name, count in (("every", every), ("patience", patience), ("num_particles", num_particles)):
            check_least("Patience", name, count, 1)
        check_number("Patience", "min_delta", min_delta)
        check_number("Patience", "z", z)
        arrays, static = split_arguments(args, kwargs)
        options = (static, every, patience, num_particles, min_delta, z, keep_best)
        self._set(tuple(jax.device_put(x) for x in arrays), options)

    def start(self, state: SVIState) -> Best:
        """No evaluation yet."""
        losses = jnp.full(self.num_particles, jnp.inf, jnp.result_type(float))
        return Best(losses, jnp.zeros((), jnp.int32), state.free if self.keep_best else ())

    def step(self, memory: Best, seen: Seen) -> Best:
        """With an evaluation, if one is due."""
        due = (seen.step + 1) % self.every == 0
        return jax.lax.cond(due, lambda m: self._evaluated(m, seen), lambda m: m, memory)

    def done(self, memory: Best) -> Any:
        """Whether it has waited long enough."""
        return memory.waited >= self.patience

    def average(self, memory: Best, state: SVIState) -> Any:
        """The best parameters, unconstrained; the state's own before the first evaluation. None if not kept."""
        if not self.keep_best:
            return None
        found = jnp.isfinite(memory.losses[0])
        return jax.tree.map(lambda best, x: jnp.where(found, best, x), memory.free, state.free)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """(arrays of the held-out data, options)."""
        return (self._arrays,), self._options

    @classmethod
    def tree_unflatten(cls, options: tuple[Any, ...], children: tuple[Any, ...]) -> Patience:
        """The rule with these arrays."""
        rule = object.__new__(cls)
        rule._set(children[0], options)
        return rule
