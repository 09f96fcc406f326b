"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, join_arguments, message
from svijax.posterior import Posterior

from ._feed import Feed, Whole
from ._state import SVIState
from ._status import Status

if TYPE_CHECKING:
    from ._explain import Explanation
    from ._svi import SVI


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds: to the first step (tracing, compiling, starting values), and of the steps themselves."""

    compile_seconds: float
    run_seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class Origin:
    """The programs and arguments of a run, for what comes after it. No part of the pytree.

    ``feed``: where the last steps had their arguments from.
    """

    svi: SVI
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    feed: Feed

    def of_chain(self, index: int) -> Origin:
        """That of one chain."""
        if not isinstance(self.feed, Whole) or self.feed.axes is None:
            return self
        feed = self.feed.of_chain(index)
        args, kwargs = join_arguments(feed.arrays, feed.static)
        return Origin(self.svi, args, kwargs, feed)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "state", "losses", "status", "skipped", "average"],
    meta_fields=["timings", "call"],
)
@dataclass(frozen=True)
class SVIRunResult:
    """The end of a fit.

    ``params``: constrained, by name. ``state``: continues with ``init_state=``. ``losses``: −ELBO estimates in
    nats, one a step (a NumPy array outside JAX transformations), NaN for steps not taken. ``status``: a ``Status``,
    an integer array inside transformations and for chains. ``skipped``: steps skipped because they were not finite.
    ``average``: of the iterates, unconstrained, if one was asked for; see ``averaged``.
    With chains everything has a leading chain axis. ``call`` and ``timings`` are None inside transformations.
    """

    params: dict[str, Any]
    state: SVIState
    losses: Any
    status: Any
    skipped: Any
    average: Any = None
    timings: Timings | None = None
    call: Origin | None = None

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
        params, state, losses, skipped, average = jax.tree.map(
            lambda x: x[index], (self.params, self.state, self.losses, self.skipped, self.average)
        )
        call = None if self.call is None else self.call.of_chain(index)
        return replace(
            self,
            params=params,
            state=state,
            losses=losses,
            status=Status(int(self.status[index])),
            skipped=int(skipped),
            average=average,
            call=call,
        )

    @property
    def averaged(self) -> SVIRunResult:
        """The result at the average of the iterates, which ``run(average=...)`` keeps, some stop rules too."""
        if self.average is None:
            raise ArgumentError(
                message(
                    "no average of the iterates was kept.",
                    fix="ask for one: svi.run(..., average=Average()).",
                )
            )
        state = self.state.having(free=self.average)
        params = jax.vmap(lambda s: s.params)(state) if self.num_chains is not None else state.params
        return replace(self, params=params, state=state)

    def final_losses(self, window: int = 100) -> Any:
        """Mean of the last ``window`` losses that were taken, per chain."""
        losses = np.asarray(self.losses)
        ok = np.isfinite(losses)
        last = ok & (ok[..., ::-1].cumsum(-1)[..., ::-1] <= window)
        return np.where(last, losses, 0.0).sum(-1) / np.where(last.any(-1), last.sum(-1), np.nan)

    def best(self) -> SVIRunResult:
        """The chain with the lowest loss, averaged over the last tenth of the run; chains that failed come last."""
        window = max(1, np.shape(self.losses)[-1] // 10)
        failed = np.isin(np.asarray(self.status), (Status.NONFINITE, Status.BAD_VALUES))
        losses = np.where(failed, np.inf, self.final_losses(window))
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
        return explain(call.svi, self.state, call.feed)

    def _call(self, what: str) -> Origin:
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
