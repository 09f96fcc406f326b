"""Metrics of the steps of a chunk, gathered on the device and read between chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, captured, compiled, message, signature

from ._rates import injected_rates, schedule_count
from ._state import SVIState, from_view
from ._watch import Seen

RESERVED = ("step", "loss", "seconds", "steps_per_second")
"""Names that a report has already."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["count", "first", "sums", "last"],
    meta_fields=["names", "last_names"],
)
@dataclass(frozen=True)
class Memory:
    """x̄ = first + sums / count of the metrics called ``names``, and the last values of those of ``last_names``.

    Sums of what a metric moved since the chunk's first step keep the digits that a sum of the values would lose.
    """

    count: Any
    first: Any
    sums: Any
    last: Any
    names: tuple[str, ...]
    last_names: tuple[str, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[],
    meta_fields=["terms", "gradient_norm", "update_norm", "learning_rate", "custom", "sites"],
)
@dataclass(frozen=True)
class Metrics:
    """What ``run(metrics=)`` gathers: means over the steps of a chunk, by name; with chains, per chain.

    :param terms: log p and log q by site, in nats ("log_p/y", "log_q/w").
    :param gradient_norm: √Σ g² over all unconstrained parameters; "each" adds one by parameter ("gradient_norm/w").
    :param update_norm: the same of what the optimiser adds to them.
    :param learning_rate: that of the chunk's last step. True finds it in the state of ``optax.inject_hyperparams``
        ("learning_rate"; by path where there are several) and leaves it out where the state holds none, as that of
        ``optax.adam(schedule)`` does: then pass the schedule, a function of the step number.
    :param custom: a function of the ``SVIState`` at the end of the chunk (of one chain, where there are several) that
        returns numbers by name. It is compiled.
    :param sites: names of the sites of log p and of log q; ``run`` fills it in.
    :raises ArgumentError: an option of another kind; when the run starts, numbers of ``custom`` that are none.
    """

    terms: bool = True
    gradient_norm: bool | str = True
    update_norm: bool | str = True
    learning_rate: bool | Callable[[Any], Any] = True
    custom: Callable[[SVIState], Mapping[str, Any]] | None = None
    sites: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def __post_init__(self) -> None:
        for name in ("gradient_norm", "update_norm"):
            if getattr(self, name) not in (True, False, "each"):
                raise ArgumentError(
                    message(
                        f"Metrics: {name} is a switch.",
                        expected='True, False, or "each" for one by parameter',
                        got=repr(getattr(self, name)),
                    )
                )
        if not (isinstance(self.learning_rate, bool) or callable(self.learning_rate)):
            raise ArgumentError(
                message(
                    "Metrics: learning_rate is a switch, or the schedule that the optimiser has.",
                    got=repr(self.learning_rate),
                    fix="pass the schedule, learning_rate=optax.cosine_decay_schedule(...), or True.",
                )
            )
        if self.custom is not None and not callable(self.custom):
            raise ArgumentError(message("Metrics: custom is a function of the state.", got=repr(self.custom)))

    def on(self, log_p: Iterable[str], log_q: Iterable[str]) -> Metrics:
        """The metrics of a fit whose objective reports these sites."""
        return replace(self, sites=(tuple(log_p), tuple(log_q)))

    @property
    def programs(self) -> tuple[Any, ...]:
        """The functions of the user that are called."""
        return tuple(f for f in (self.custom, self.learning_rate) if callable(f))

    def start(self, state: SVIState) -> Memory:
        """Nothing gathered yet."""
        self._check_custom(state)
        names, rates = tuple(self._names(state)), tuple(self._rates(state, state))
        zeros = jnp.zeros(len(names), jnp.result_type(float))
        return Memory(jnp.zeros((), jnp.int32), zeros, zeros, jnp.full(len(rates), jnp.nan), names, rates)

    def step(self, memory: Memory, seen: Seen) -> Memory:
        """With one more step."""
        found, rates = self._values(seen), self._rates(seen.before, seen.state)
        values = _vector([found[name] for name in memory.names])
        first = jnp.where(memory.count == 0, values, memory.first)
        return replace(
            memory,
            count=memory.count + 1,
            first=first,
            sums=memory.sums + (values - first),
            last=_vector([rates[name] for name in memory.last_names]),
        )

    def read(self, memory: Memory, state: SVIState) -> dict[str, Any]:
        """Metrics by name, on the host; NaN where no step was taken. ``state``: what ``custom`` is given."""
        parts = jax.device_get((memory.count[..., None], memory.first, memory.sums, memory.last))
        # In double precision, which here costs nothing.
        count, first, sums, last = (np.asarray(part, float) for part in parts)
        means = np.where(count > 0, first + sums / np.maximum(count, 1), np.nan)
        found = {name: means[..., i] for i, name in enumerate(memory.names)}
        found |= {name: last[..., i] for i, name in enumerate(memory.last_names)}
        if self.custom is not None:
            found |= _custom_values(self.custom, state)
        return {name: float(x) if np.ndim(x) == 0 else np.asarray(x) for name, x in found.items()}

    def _names(self, state: SVIState) -> list[str]:
        log_p, log_q = self.sites if self.terms else ((), ())
        names = [*(f"log_p/{site}" for site in log_p), *(f"log_q/{site}" for site in log_q)]
        for name in ("gradient_norm", "update_norm"):
            names += [name] if getattr(self, name) else []
            names += [f"{name}/{param}" for param in state.free] if getattr(self, name) == "each" else []
        return names

    def _values(self, seen: Seen) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, terms in (("log_p", seen.log_p), ("log_q", seen.log_q)):
            found |= {f"{kind}/{site}": value for site, value in terms.items()} if self.terms else {}
        for name, view in (("gradient_norm", seen.gradient), ("update_norm", seen.updates)):
            if getattr(self, name):
                found[name] = _norm(view)
            if getattr(self, name) == "each":
                by_name = from_view(view, seen.state.free)
                found |= {f"{name}/{param}": _norm(by_name[param]) for param in by_name}
        return found

    def _rates(self, before: SVIState, after: SVIState) -> dict[str, Any]:
        """Learning rates by name: of the step from one state to the other."""
        if self.learning_rate is False:
            return {}
        if self.learning_rate is True:
            return injected_rates(after.optim_state)
        return {"learning_rate": self.learning_rate(schedule_count(before))}

    def _check_custom(self, state: SVIState) -> None:
        if self.custom is None:
            return
        got = jax.eval_shape(self.custom, state)
        if not isinstance(got, Mapping) or any(getattr(x, "shape", None) != () for x in got.values()):
            raise ArgumentError(
                message(
                    "Metrics: custom must return numbers by name.",
                    expected="a dictionary of arrays of shape ()",
                    got=_shapes(got),
                    fix='for example lambda state: {"scale": jnp.max(state.params["scale"])}.',
                )
            )
        ours = {*self._names(state), *self._rates(state, state), *RESERVED}
        if taken := sorted(ours & set(got)):
            raise ArgumentError(
                message(f"Metrics: custom uses names that are taken: {taken}.", fix="rename them.")
            )


def _custom_values(custom: Callable[[SVIState], Mapping[str, Any]], state: SVIState) -> dict[str, Any]:
    chains = jnp.ndim(state.step) == 1
    names, keep = captured(custom)
    key = ("metrics", custom, signature(state), names)

    def fresh(state: SVIState) -> Any:
        return custom(state)

    function = compiled(key, lambda: jax.jit(jax.vmap(fresh) if chains else fresh), (custom, *keep))
    return {name: np.asarray(x) for name, x in jax.device_get(dict(function(state))).items()}


def _norm(tree: Any) -> Any:
    """√Σ x² over all entries of all leaves."""
    leaves = [jnp.sum(jnp.square(jnp.abs(x))) for x in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(leaves, jnp.zeros((), jnp.result_type(float))))


def _vector(values: list[Any]) -> Any:
    dtype = jnp.result_type(float)
    return jnp.stack([jnp.asarray(x, dtype) for x in values]) if values else jnp.zeros(0, dtype)


def _shapes(got: Any) -> str:
    if not isinstance(got, Mapping):
        return f"a {type(got).__name__}"
    return ", ".join(f"{name}: {getattr(x, 'shape', type(x).__name__)}" for name, x in got.items())
