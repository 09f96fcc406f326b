"""``SVI``: a frozen record of a model, a guide, an optimiser and an objective, and what they do together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from svijax.base import (
    ArgumentError,
    StateError,
    as_jax,
    as_key,
    captured,
    compiled,
    is_array,
    is_traced,
    join_arguments,
    message,
    reads_tracer,
    signature,
    split_arguments,
)
from svijax.density import Program, bind, draw, noise_layout
from svijax.objectives import Objective, Trace_ELBO, check_count
from svijax.optim import as_transformation, check_injected

from ._feed import Feed, Whole, call_at
from ._init import explain_checks, make_state
from ._loop import ROLLED_BACK, next_draws, select
from ._options import Options
from ._result import SVIRunResult
from ._run import run
from ._state import SVIState, check_same, optim_view
from ._step import Problem, all_finite
from ._substeps import as_free

if TYPE_CHECKING:
    from ._batches import Batches
    from ._chains import Chains
    from ._checkpoint import Checkpoint
    from ._metrics import Metrics
    from ._report import Callback
    from ._watch import HostRule, StopRule, Watcher

INIT_TRIES = 20
"""How often ``init`` starts anew, with other keys, when a log density is not finite at the start."""


@dataclass(frozen=True, init=False)
class SVI:
    """Stochastic variational inference: min over the parameters of ``objective`` = −ELBO(model, guide).

    :param model: a function with ``sample``, ``param`` and ``plate`` statements.
    :param guide: another, or an autoguide.
    :param optim: any optax transformation, or a float for Adam at that rate.
    :param objective: ``Trace_ELBO()`` by default; ``loss`` is NumPyro's word for it. Any callable
        ``(key, params, model, guide, *args) -> loss`` will do.

    Methods take the arguments of the model. Among them str, bool, None and Python int are static by themselves, floats
    and arrays are traced. In your own ``jax.jit(svi.update)`` bind static ones with ``functools.partial``. Equal
    records share compiled functions, keyed also by the identity of the arrays that model and guide read from closures
    and globals: a rebound array is seen, one changed in place is not.
    """

    model: Program
    guide: Program
    optim: Any
    objective: Any

    def __init__(
        self, model: Program, guide: Program, optim: Any, objective: Any = None, *, loss: Any = None
    ):
        if objective is not None and loss is not None:
            raise ArgumentError("SVI takes objective= or loss=, which are two words for one thing.")
        chosen = objective if objective is not None else loss
        chosen = Trace_ELBO() if chosen is None else chosen
        for name, program in (("model", model), ("guide", guide)):
            if not callable(program) or isinstance(program, type):
                raise ArgumentError(message(f"the {name} must be a function.", got=repr(program)))
        if isinstance(chosen, type) or not (callable(chosen) or hasattr(chosen, "loss")):
            raise ArgumentError(
                message(
                    "the objective must be an object with a method loss, or a function.",
                    got=repr(chosen),
                    fix=f"write {chosen.__name__}()."
                    if isinstance(chosen, type)
                    else "use svijax.Trace_ELBO().",
                )
            )
        as_transformation(optim)
        if is_array(optim) and not isinstance(optim, jax.core.Tracer):
            optim = float(optim)
        for name, value in (("model", model), ("guide", guide), ("optim", optim), ("objective", chosen)):
            object.__setattr__(self, name, value)

    def problem(self) -> Problem:
        """What a step needs of this record."""
        return Problem(self.objective, *self._programs())

    def init(
        self, key: jax.Array, *args: Any, init_params: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> SVIState:
        """The first state. ``init_params``: constrained starting values by name, over those of the programs.

        :raises ModelError: model and guide do not fit each other. :raises DataError: an observation is NaN or outside
            the support. :raises ParameterError: a parameter starts outside its constraint. Inside ``jit`` and ``vmap``
            the structure is checked and the values are not.
        """
        start = dict(init_params or {})
        if self.is_traced(key, start, args, kwargs):
            return make_state(*self._programs(), self.objective, as_key(key), start, args, kwargs)[0]
        return self.first_state(as_key(key), start, Whole(*split_arguments(args, kwargs)))

    def update(self, state: SVIState, *args: Any, **kwargs: Any) -> tuple[SVIState, Any]:
        """One step, compiled: (next state, loss). Nothing is donated."""
        return self._step("update", state, args, kwargs)

    def stable_update(self, state: SVIState, *args: Any, **kwargs: Any) -> tuple[SVIState, Any]:
        """``update``, except that a step with a non-finite loss, gradient or parameter is not taken.

        Parameters, optimiser state and mutable state then stay as they were; the step is counted, the loss returned.
        """
        return self._step("stable_update", state, args, kwargs)

    def evaluate(self, state: SVIState, *args: Any, **kwargs: Any) -> Any:
        """The loss at the state, with the draws that the next ``update`` would use."""
        return self._step("evaluate", state, args, kwargs)

    def estimate(
        self,
        state: SVIState,
        *args: Any,
        num_particles: int = 1000,
        key: jax.Array | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> tuple[float, float]:
        """(mean, standard error) of ``num_particles`` independent evaluations of the loss at the state.

        ``batch_size`` of them are in memory at once.
        """
        check_count("num_particles", num_particles)
        check_count("batch_size", batch_size)
        if not self.is_traced(key, state, args, kwargs):
            self.check_state(state, args, kwargs)
        key = jax.random.fold_in(state.key, 2**31 - 1) if key is None else as_key(key)
        build = lambda static: _estimate_function(self, static, num_particles, batch_size)  # noqa: E731
        if self.is_traced(key, state, args, kwargs):
            arrays, static = split_arguments(args, kwargs)
            return build(static)(key, state, arrays)
        function, arrays = self.table_entry(
            ("estimate", num_particles, batch_size), args, kwargs, build, state
        )
        mean, error = function(key, state, arrays)
        return float(mean), float(error)

    def loss(self, free: Mapping[str, Any], key: jax.Array, *args: Any, **kwargs: Any) -> Any:
        """The loss at unconstrained parameters by name (``state.free``, or a dictionary), a plain function of them.

        It may be given to ``jax.grad``, ``jax.vmap`` and ``jax.hessian``.
        """
        params = as_free(free)
        if not isinstance(self.objective, Objective):
            raise ArgumentError(
                "svi.loss takes one of the library's objectives; call your own loss directly."
            )
        programs = bind(self.model, params), bind(self.guide, params)
        args, kwargs = as_jax(args, kwargs)
        layout = noise_layout(programs[1], args, kwargs)
        draws = draw(as_key(key), layout, self.objective.noise_rows)
        return self.objective.from_draws(draws, *programs, args, kwargs, {}, layout).loss

    def get_params(self, state: SVIState) -> dict[str, Any]:
        """Constrained parameters by site name."""
        return state.params

    def run(
        self,
        rng_key: jax.Array,
        num_steps: int,
        *args: Any,
        progress_bar: bool | None = None,
        init_params: Mapping[str, Any] | None = None,
        init_state: SVIState | None = None,
        num_chains: int | None = None,
        chains: Chains | None = None,
        on_nonfinite: str = "stop",
        stable_update: bool = False,
        callback: Callback | Sequence[Callback] | None = None,
        batches: Batches | None = None,
        stop: StopRule | HostRule | Sequence[StopRule | HostRule] | None = None,
        average: Watcher | None = None,
        metrics: Metrics | None = None,
        checkpoint: Checkpoint | None = None,
        mesh: Mesh | None = None,
        data_axis: str | None = None,
        chain_axis: str | None = None,
        particle_axis: str | None = None,
        donate: bool = False,
        **kwargs: Any,
    ) -> SVIRunResult:
        """Fit: at most ``num_steps`` steps in one compiled loop, whose length is an argument of the program.

        :param progress_bar: shown by default; inside ``jit`` or ``vmap`` there is none.
        :param init_state: continue from a state; ``rng_key`` is then not used.
        :param num_chains: K fits in one program, chain k that of ``jax.random.split(rng_key, K)[k]`` alone (for
            threefry keys; others draw other numbers together than alone).
        :param chains: ``Chains(K, ...)``, the same with data, starting values or hyperparameters that differ.
        :param on_nonfinite: "stop" keeps the last finite state and says so in ``status``; "skip" does not take such
            steps (as does ``stable_update=True``) and counts them; "raise" raises ``NonFiniteError``.
        :param callback: called with a ``Report`` between compiled chunks; several in a sequence. True ends the run.
        :param batches: minibatches; their arrays stand before ``args``, or among ``kwargs``.
        :param stop: when to stop before ``num_steps``: a rule, or several of which the first decides.
        :param average: of the iterates, ``Average()``: ``fit.averaged`` is the result at it.
        :param metrics: ``Metrics()``, what the reports of callbacks tell of the steps.
        :param checkpoint: ``Checkpoint(folder)``: saved as it goes, and continued from there when run again.
        :param mesh: several devices. ``data_axis``, ``chain_axis``, ``particle_axis``: the axis of the mesh along which
            rows of the data, chains, or particles of the objective are shared out. Parameters are whole on each
            device, unless ``init_params`` or ``init_state`` hold large ones that you have sharded on the mesh.
        :param donate: the loop may overwrite the state's memory, also that of a state which a callback kept.
        :raises ArgumentError: an option that cannot be used, or one that the model has as a keyword too.
        """
        options = Options(
            progress_bar=progress_bar,
            init_params=init_params,
            init_state=init_state,
            num_chains=num_chains,
            chains=chains,
            on_nonfinite="skip" if stable_update else on_nonfinite,
            callback=callback,
            batches=batches,
            stop=stop,
            average=average,
            metrics=metrics,
            checkpoint=checkpoint,
            mesh=mesh,
            data_axis=data_axis,
            chain_axis=chain_axis,
            particle_axis=particle_axis,
            donate=donate,
        )
        return run(self, rng_key, num_steps, args, kwargs, options)

    def first_state(self, key: jax.Array, start: Mapping[str, Any], feed: Feed) -> SVIState:
        """The first state of one fit, its values checked. Other keys are tried where the start is not finite."""
        function = self.init_function(key, start, feed)
        attempt = key
        for i in range(INIT_TRIES):
            state, legal, finite = function(attempt, start, feed)
            if not bool(legal) or bool(finite):
                break
            attempt = jax.random.fold_in(key, i)
        if not (bool(legal) and bool(finite)):
            call = call_at(feed, attempt, np.int32(0))
            programs = call.bind(self.model), call.bind(self.guide)
            explain_checks(*programs, self.objective, attempt, start, call.args, call.kwargs)
        check_injected(state.optim_state)
        return state

    def init_function(
        self,
        key: jax.Array,
        start: Mapping[str, Any],
        feed: Feed,
        start_axes: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compiled (key, start, feed) ↦ (state, whether values are legal, densities finite); over keys if several."""

        def build(static: Any) -> Callable[..., Any]:
            def one(key: jax.Array, start: Mapping[str, Any], feed: Feed) -> Any:
                call = call_at(feed, key, np.int32(0))
                programs = call.bind(self.model), call.bind(self.guide), as_transformation(self.optim)
                return make_state(*programs, self.objective, key, start, call.args, call.kwargs)

            return jax.jit(jax.vmap(one, (0, start_axes, feed.chain_axes)) if key.ndim else one)

        kind = ("init", key.shape, repr(start_axes))
        return self.table_entry(kind, (), {}, build, (start, feed), feed.programs)[0]

    def _programs(self) -> tuple[Program, Program, Any]:
        return self.model, self.guide, as_transformation(self.optim)

    def _step(self, kind: str, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if self.is_traced(state, args, kwargs):
            arrays, static = split_arguments(args, kwargs)
            return _step_function(self, kind, static)(state, arrays)

        def build(static: Any) -> Callable[..., Any]:
            # A state of this structure passes as often as it comes: the structure is part of the table's key.
            self.check_state(state, args, kwargs)
            return _step_function(self, kind, static)

        function, arrays = self.table_entry(kind, args, kwargs, build, state)
        return function(state, arrays)

    def check_state(self, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise ``StateError`` unless ``init`` of this record makes states like this one."""
        self.check_feed(state, Whole(*split_arguments(args, kwargs)))

    def check_feed(self, state: SVIState, feed: Feed) -> None:
        """The same, for arguments that come from a feed."""
        if not isinstance(state, SVIState):
            raise StateError(
                message("a state made by SVI.init or SVI.run is needed.", got=type(state).__name__)
            )
        if jnp.ndim(state.step):
            raise StateError(
                message(
                    "the state holds several chains, and one step of one fit was asked for.",
                    got=f"{jnp.shape(state.step)[0]} chains",
                    fix="take one, fit.chain(k).state, or step them all with jax.vmap(svi.update, (0, None)).",
                )
            )

        def build(static: Any) -> Callable[..., Any]:
            function = self.init_function(_abstract_key(state), {}, feed)
            one = jax.eval_shape(function, _abstract_key(state), {}, feed)[0]
            return lambda: one

        function, _ = self.table_entry(("abstract", state.key_impl), (), {}, build, feed, feed.programs)
        check_same(state, function())

    def is_traced(self, *trees: Any) -> bool:
        """Whether a call is part of a traced program: by its arguments, its place, or what this record closes over."""
        return is_traced(*trees) or reads_tracer(self.model, self.guide, self.objective, self.optim)

    def table_entry(
        self,
        kind: Hashable,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        build: Callable[[Any], Callable[..., Any]],
        extra: Any,
        programs: tuple[Any, ...] = (),
    ) -> tuple[Any, tuple[Any, ...]]:
        """The compiled function of a kind for these arguments, and the arrays among them.

        ``programs``: further functions that it calls, whose closures and globals count as those of model and guide do.
        """
        arrays, static = split_arguments(args, kwargs)
        names, keep = captured(self.model, self.guide, self.objective, *programs)
        key = (kind, self, static, signature((arrays, extra)), names, str(jnp.result_type(float)))
        return compiled(key, lambda: build(static), keep), arrays


def _abstract_key(state: SVIState) -> Any:
    return jax.eval_shape(lambda: jax.random.key(0, impl=state.key_impl))


def _step_function(svi: SVI, kind: str, static: Any) -> Callable[..., Any]:
    def step(state: SVIState, arrays: tuple[Any, ...]) -> Any:
        problem = svi.problem().on(state, *join_arguments(arrays, static))
        draws = next_draws(problem, state)
        if kind == "evaluate":
            return problem.evaluate(state, optim_view(state.free), draws).loss
        result, gradient = problem.differentiate(state, draws)
        after, _ = problem.apply(state, result, gradient, draws)
        if kind == "stable_update":
            finite = jnp.isfinite(result.loss) & all_finite((gradient, after.free.arrays))
            kept = {n: select(finite, getattr(after, n), getattr(state, n)) for n in ROLLED_BACK}
            after = after.having(**kept)
        return after, result.loss

    return jax.jit(step)


def _estimate_function(svi: SVI, static: Any, num_particles: int, batch_size: int) -> Callable[..., Any]:
    def estimate(key: jax.Array, state: SVIState, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
        problem = svi.problem().on(state, *join_arguments(arrays, static))
        losses = problem.evaluations(state, key, num_particles, batch_size)
        spread = jnp.std(losses, ddof=1) if num_particles > 1 else jnp.nan
        return jnp.mean(losses), spread / num_particles**0.5

    return jax.jit(estimate)
