"""Stop where the loss on held-out data no longer falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, StaticArguments, join_arguments, message, split_arguments

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
@dataclass(frozen=True, init=False)
class Patience:
    """Stop after ``patience`` evaluations running that were not better than the best by more than min_delta + z s.

    Every ``every`` steps the loss on held-out data is the mean of ``num_particles`` evaluations. Their draws are the
    same each time, so that most of their noise is in both sides of a comparison: s, the standard error of the mean
    difference, is taken draw by draw. Smaller gains still add up, as the best stays the one to beat; but those that
    ``patience`` evaluations together do not lift above the noise are lost: then take more draws, or wait longer.

    ``Patience(X_held_out, y_held_out, every=100)``: positional and keyword arguments are those of the model, for the
    held-out data; they are arguments of the compiled program, never its constants. A latent that the training rows
    alone have says nothing of others: the rule is for models whose latents are global, or amortised.

    :param every: steps from one evaluation to the next. :param patience: evaluations to wait.
    :param num_particles: evaluations of the loss to average; they run one after another.
    :param min_delta: nats by which the loss must fall at the least. :param z: standard errors that count as noise.
    :param keep_best: keep the parameters of the best evaluation: ``fit.averaged`` is then the result at them.
    :raises ArgumentError: no data, or an option out of its range.
    """

    arrays: tuple[Any, ...]
    static: StaticArguments
    every: int
    patience: int
    num_particles: int
    min_delta: float
    z: float
    keep_best: bool

    def __init__(
        self,
        *args: Any,
        every: int = 100,
        patience: int = 5,
        num_particles: int = 32,
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
        # On the device once, not at every chunk.
        held = tuple(jax.device_put(x) for x in arrays)
        self._set((held, static, every, patience, num_particles, min_delta, z, keep_best))

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
        """(arrays of the held-out data, everything else)."""
        return self.arrays, tuple(getattr(self, name) for name in _NAMES[1:])

    @classmethod
    def tree_unflatten(cls, options: tuple[Any, ...], arrays: tuple[Any, ...]) -> Patience:
        """The rule with these arrays."""
        rule: Patience = object.__new__(cls)
        rule._set((tuple(arrays), *options))
        return rule

    def _set(self, values: tuple[Any, ...]) -> None:
        for name, value in zip(_NAMES, values, strict=True):
            object.__setattr__(self, name, value)

    def _evaluated(self, memory: Best, seen: Seen) -> Best:
        key = jax.random.fold_in(seen.state.key, _EVALUATION)
        args, kwargs = join_arguments(self.arrays, self.static)

        def one(i: Any) -> Any:
            return seen.loss_on(args, kwargs, jax.random.fold_in(key, i)).astype(memory.losses.dtype)

        losses = jax.lax.map(one, jnp.arange(self.num_particles))
        gain = memory.losses - losses
        noise = jnp.std(gain, ddof=1) / self.num_particles**0.5 if self.num_particles > 1 else 0.0
        first = jnp.isinf(memory.losses[0])
        better = jnp.isfinite(losses).all() & (first | (jnp.mean(gain) > self.min_delta + self.z * noise))
        free = memory.free
        if self.keep_best:
            free = jax.tree.map(lambda x, y: jnp.where(better, x, y), seen.state.free, memory.free)
        return Best(jnp.where(better, losses, memory.losses), jnp.where(better, 0, memory.waited + 1), free)


_NAMES = tuple(Patience.__dataclass_fields__)
