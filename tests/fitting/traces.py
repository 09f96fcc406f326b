"""Drive a stop rule or an average over given losses or iterates, without any fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.fitting._watch import Seen


def seen(step: Any, loss: Any = 0.0, free: Any = None) -> Seen:
    """A step of which only its number, loss and outcome are known."""
    state: Any = SimpleNamespace(free=free)
    return Seen(step, loss, {}, {}, None, None, state, state, lambda *_: loss)


def run_rule(rule: Any, losses: Any = None, iterates: Any = None, first: int = 0) -> Any:
    """Steps taken before each of many traces stops, (traces,), −1 for never, and the memory then.

    ``losses``: (traces, steps). ``iterates``: a pytree of arrays (traces, steps, ...). ``first``: number of step 0.
    """
    found = _run(rule, None if losses is None else jnp.asarray(losses), iterates, first)
    return np.asarray(found[1]), found[0]


@jax.jit
def _run(rule: Any, losses: Any, iterates: Any, first: Any) -> Any:
    leaf = losses if losses is not None else jax.tree.leaves(iterates)[0]
    traces, steps = leaf.shape[:2]
    losses = jnp.zeros((traces, steps)) if losses is None else losses
    start = jax.tree.map(lambda x: x[:, 0], iterates)

    def one(memory: Any, loss: Any, free: Any, step: Any) -> Any:
        after, done = rule.step(memory, seen(step, loss, free)), rule.done(memory)
        return jax.tree.map(lambda new, old: jnp.where(done, old, new), after, memory)

    def body(carry: Any, i: Any) -> Any:
        memory, stopped = carry
        now = jax.tree.map(lambda x: x[:, i], iterates)
        memory = jax.vmap(one, (0, 0, 0, None))(memory, losses[:, i], now, first + i)
        stopped = jnp.where((stopped < 0) & jax.vmap(rule.done)(memory), i + 1, stopped)
        return (memory, stopped), None

    memory = jax.vmap(lambda free, _: rule.start(SimpleNamespace(free=free)))(start, jnp.arange(traces))
    return jax.lax.scan(body, (memory, jnp.full(traces, -1)), jnp.arange(steps))[0]
