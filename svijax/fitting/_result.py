"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from ._agreement import Agreement
    from ._explain import Explanation
    from ._stacking import Stacking
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

    def agreement(
        self,
        num_particles: int = 1000,
        num_samples: int = 1000,
        num_iterates: int = 200,
        sites: Sequence[str] | None = None,
        threshold: float = 1.1,
    ) -> Agreement:
        """Whether the chains ended in one place: ELBO, R̂, KL between guides, and words. Print it.

        Chains agree where R̂ of any two, by posterior draws, is below ``threshold`` for all latents: about two thirds
        of a posterior standard deviation apart at 1.1. R̂ of the parameters is over as many steps more from where the
        chains ended, which leave the fit as it is.

        :param num_particles: evaluations of the ELBO. :param num_samples: draws of each chain's posterior.
        :param num_iterates: 0 for none. :param sites: names of the latents to compare; all by default.
        :raises ArgumentError: fewer than two chains that did not fail, or chains with data of their own.
        """
        from ._agreement import agreement

        return agreement(self, num_particles, num_samples, num_iterates, sites, threshold)

    def stacking_weights(
        self,
        held_out: Any = None,
        *,
        num_samples: int = 1000,
        plate: str | None = None,
        key: jax.Array | None = None,
    ) -> Stacking:
        """w = argmax Σ_i log Σ_k w_k p_k(y_i) over the simplex, p_k(y_i) the predictive density of chain k.

        Yao et al. 2018 and 2022, with each chain's guide for its posterior. Points are the entries of all observed
        sites. Without held-out data each is left out in turn by Pareto-smoothed weights, for which latents that belong
        to a single point are bad: then k̂ is high, and says so.

        :param held_out: arguments of the model for data that were not fitted: a tuple (or one array) in place of
            run's positional arguments, a dictionary over its keywords. :param num_samples: draws of each chain.
        :param plate: a point is an element of this plate, with all that is observed in it.
        :raises ArgumentError: fewer than two chains that did not fail, or chains with data of their own.
        """
        from ._stacking import stacking_weights

        return stacking_weights(self, held_out, num_samples=num_samples, plate=plate, key=key)

    def stacked_sample(
        self, key: jax.Array, num_samples: int, weights: Any = None, sites: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Draws of the latents by name from Σ_k w_k q_k, (num_samples, *site shape).

        :param weights: what ``stacking_weights`` gave, which is made anew without it, or one number a chain.
        """
        from ._stacking import stacked_sample

        return stacked_sample(self, key, num_samples, weights, sites)

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
