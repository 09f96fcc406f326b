"""What a run gives back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, message
from svijax.posterior import Posterior

from ._state import SVIState

if TYPE_CHECKING:
    from ._explain import Explanation
    from ._svi import SVI


class Status(enum.IntEnum):
    """How a run ended; ``str()`` is a sentence."""

    MAX_STEPS = 0
    NONFINITE = 1
    STOPPED_BY_USER = 2
    BAD_VALUES = 3

    def __str__(self) -> str:
        return {
            Status.MAX_STEPS: "max_steps: all steps were taken",
            Status.NONFINITE: "nonfinite: a loss, gradient or parameter was not finite; "
            "the state is the last finite one",
            Status.STOPPED_BY_USER: "stopped_by_user: interrupted; the state is the last one reached",
            Status.BAD_VALUES: "bad_values: a parameter, an observation or a log density was not legal at the start",
        }[self]


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds: to the first step (tracing, compiling, starting values), and of the steps themselves."""

    compile_seconds: float
    run_seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class Call:
    """The programs and arguments of a run, for what comes after it. No part of the pytree."""

    svi: SVI
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "state", "losses", "status", "skipped"],
    meta_fields=["timings", "call"],
)
@dataclass(frozen=True)
class SVIRunResult:
    """The end of a fit.

    ``params``: constrained, by name. ``state``: continues with ``init_state=``. ``losses``: −ELBO estimates in
    nats, one a step (a NumPy array outside JAX transformations), NaN for steps not taken. ``status``: a ``Status``,
    an integer array inside transformations and for chains. ``skipped``: steps skipped because they were not finite.
    With chains everything has a leading chain axis. ``call`` and ``timings`` are None inside transformations.
    """

    params: dict[str, Any]
    state: SVIState
    losses: Any
    status: Any
    skipped: Any
    timings: Timings | None = None
    call: Call | None = None

    @property
    def num_chains(self) -> int | None:
        shape = jnp.shape(self.state.step)
        return shape[0] if shape else None

    @property
    def posterior(self) -> Posterior:
        """Draws, moments, quantiles, k-hat and summary of the fitted guide."""
        call = self._call("posterior")
        if self.num_chains is not None:
            raise ArgumentError(
                message(
                    "this result holds several chains, each with a posterior of its own.",
                    got=f"{self.num_chains} chains",
                    fix="fit.best().posterior, or fit.chain(k).posterior.",
                )
            )
        svi = call.svi
        return Posterior(
            svi.guide,
            svi.model,
            self.params,
            call.args,
            dict(call.kwargs),
            self.state.key,
            self.state.mutable,
        )

    def chain(self, index: int) -> SVIRunResult:
        """The result of one chain, as if it had run alone."""
        count = self.num_chains
        if count is None:
            raise ArgumentError("this result has no chains: it is one fit already.")
        if not -count <= index < count:
            raise ArgumentError(f"chain {index} of {count}: there is none of that number.")
        params, state, losses, skipped = jax.tree.map(
            lambda x: x[index], (self.params, self.state, self.losses, self.skipped)
        )
        return replace(
            self,
            params=params,
            state=state,
            losses=losses,
            status=Status(int(self.status[index])),
            skipped=int(skipped),
        )

    def final_losses(self, window: int = 100) -> Any:
        """Mean of the last ``window`` losses that were taken, per chain."""
        taken = np.asarray(self.losses)[..., -window:]
        ok = np.isfinite(taken)
        return np.where(ok, taken, 0.0).sum(-1) / np.where(ok.any(-1), ok.sum(-1), np.nan)

    def best(self) -> SVIRunResult:
        """The chain with the lowest loss, averaged over the last tenth of the run; chains that failed come last."""
        window = max(1, np.shape(self.losses)[-1] // 10)
        losses = np.where(np.asarray(self.status) == Status.MAX_STEPS, self.final_losses(window), np.inf)
        if not np.isfinite(losses).any():
            raise ArgumentError(message("no chain ended with a finite loss.", fix="look at fit.explain()."))
        return self.chain(int(np.argmin(losses)))

    def explain(self) -> Explanation:
        """Replay the step that was not finite, outside the compiled loop, and say where it went wrong."""
        from ._explain import explain

        call = self._call("explain()")
        if self.num_chains is not None:
            failed = np.flatnonzero(np.asarray(self.status) == Status.NONFINITE)
            return self.chain(int(failed[0]) if failed.size else 0).explain()
        return explain(call.svi, self.state, call.args, call.kwargs)

    def _call(self, what: str) -> Call:
        if self.call is None:
            raise ArgumentError(
                message(
                    f"{what} needs the programs and data of the run, "
                    "which a result made inside jit or vmap does not carry.",
                    fix="run outside of them (num_chains= for several fits), or use svijax.Predictive and "
                    "guide.sample_posterior with fit.params.",
                )
            )
        return self.call
