"""Particles: draws of the guide that an objective averages over, or weighs against each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, as_jax, as_key, check_names, message, site_key
from svijax.density import (
    Draws,
    NoiseLayout,
    NoiseSource,
    PlainNoise,
    Program,
    check_pair,
    detach_params,
    draw,
    has_pathwise_gradient,
    mutable_state,
    noise_layout,
    run_guide,
    run_model,
)
from svijax.effects import Sample, Site
from svijax.handlers import Trace, both, supply

from ._evaluation import Evaluation


@dataclass(frozen=True)
class Run:
    """One particle: bound programs and the randomness that they are run with.

    ``pathwise``: which latents of the guide get pathwise gradients. ``step``: of the optimiser, 0 outside of a fit.
    """

    model: Program
    guide: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    mutable: Mapping[str, Any]
    layout: NoiseLayout
    noise: Mapping[str, Any]
    key: Any
    plate_key: Any
    step: Any = 0
    pathwise: Callable[[Sample], bool] = has_pathwise_gradient

    def having(self, **changes: Any) -> Run:
        return replace(self, **changes)

    def traces(self, values: Mapping[str, Any] | None = None) -> tuple[Trace, Trace]:
        """(model, guide), checked against each other. ``values`` by name take the place of draws.

        Called again it gives the same draws, but for what depends on ``values``.
        """
        guide_trace = self.guide_trace(values)
        model_trace = self.model_trace(guide_trace)
        guide_trace = with_shared_masks(model_trace, guide_trace)
        check_pair(model_trace, guide_trace)
        return model_trace, guide_trace

    def guide_trace(self, values: Mapping[str, Any] | None = None) -> Trace:
        """The guide's sites; draws are cut off from the parameters where they have no pathwise gradient."""
        return run_guide(
            self.guide,
            self.args,
            self.kwargs,
            key=self.key,
            plate_key=self.plate_key,
            noise_values=self.noise,
            state=self.mutable,
            values=values,
            pathwise=self.pathwise,
        )

    def model_trace(self, guide_trace: Mapping[str, Site]) -> Trace:
        """The model's sites on the guide's draws."""
        return run_model(
            self.model,
            self.args,
            self.kwargs,
            guide_trace,
            key=site_key(self.key, "model"),
            plate_key=self.plate_key,
            state={**self.mutable, **mutable_state(guide_trace)},
        )

    def detached(self, guide_trace: Mapping[str, Site]) -> Trace:
        """The guide's sites at the same draws, its parameters as constants: log q as a function of the draws alone."""
        drawn = {name: guide_trace[name].value for name in (*self.layout.names, *self.layout.keyed)}
        fixed = self.having(guide=detach_params(self.guide), pathwise=lambda site: True)
        return fixed.guide_trace(drawn)


_PLAIN = PlainNoise()


@dataclass(frozen=True)
class ParticleObjective(ABC):
    """An objective of particles: each is ``one`` pair of traces, and ``combine`` makes one loss of them all.

    :param num_particles: draws of the guide per evaluation. All of them share one minibatch.
    :param vectorize_particles: True for ``vmap``, False for one after another (``lax.map``), or a function
        that is used as ``how(f)(particles)``, like ``jax.pmap``.
    :param noise: where the noise comes from: ``PlainNoise()``, ``Antithetic()``, ``Sobol()``.
    :param fixed_draws: M draws that are the same at each step, in place of ``num_particles``: the loss is then a
        deterministic function of the parameters, for L-BFGS and line searches. ``draws_seed`` picks them.
    :param particle_batch: how many particles are in memory at once; all if not given.
    :param remat: compute a particle's forward pass again in the backward pass, in place of keeping it.

    What the programs leave in their mutable state is that of the first particle.
    """

    num_particles: int = 1
    vectorize_particles: bool | Callable[[Callable[..., Any]], Callable[..., Any]] = True
    _: KW_ONLY
    noise: NoiseSource = _PLAIN
    fixed_draws: int | None = None
    draws_seed: int = 0
    particle_batch: int | None = None
    remat: bool = False

    enumerates: ClassVar[bool] = False
    """Whether discrete latents of the model that are marked for it are summed out."""

    needs_likelihood: ClassVar[bool] = True
    """Whether it asks for the log densities of observations."""

    is_bound: ClassVar[bool] = True
    """Whether −loss is a bound of the evidence."""

    def __post_init__(self) -> None:
        check_count("num_particles", self.num_particles)
        for name in ("fixed_draws", "particle_batch"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if not isinstance(self.noise, NoiseSource):
            raise ArgumentError(
                message(
                    f"{type(self).__name__}: noise must be a source of noise.",
                    expected="svijax.density.PlainNoise(), Antithetic() or Sobol()",
                    got=repr(self.noise),
                )
            )
        self.noise.rows(self.count)

    @property
    def count(self) -> int:
        """How many particles there are."""
        return self.num_particles if self.fixed_draws is None else self.fixed_draws

    @property
    def noise_rows(self) -> int:
        """How many rows of noise one evaluation takes from the stream; the source makes the particles' of them."""
        return self.noise.rows(self.count) if self.fixed_draws is None else 0

    @abstractmethod
    def one(self, run: Run) -> Any:
        """What is needed of one particle: a pytree."""

    @abstractmethod
    def combine(self, particles: Any, mutable: Mapping[str, Any]) -> Evaluation:
        """The evaluation, from what ``one`` gave with an axis of particles in front; ``mutable``: the state before."""

    def pathwise(self, site: Sample) -> bool:
        """Whether a latent of the guide gets its gradient through its draw."""
        return has_pathwise_gradient(site)

    def start(self, model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> dict[str, Any]:
        """The mutable state of the objective's own at the start of a fit, by name."""
        return {}

    def loss(
        self,
        key: jax.Array,
        params: Mapping[str, Any],
        model: Program,
        guide: Program,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """The loss at constrained ``params`` by site name; differentiable.

        :raises UnknownNameError: a name that no param of model or guide has.
        """
        return self.evaluate(key, params, model, guide, *args, **kwargs).loss

    def evaluate(
        self,
        key: jax.Array,
        params: Mapping[str, Any],
        model: Program,
        guide: Program,
        *args: Any,
        **kwargs: Any,
    ) -> Evaluation:
        """Loss, and log p and log q by site, at constrained ``params`` by site name.

        :raises UnknownNameError: a name that no param of model or guide has.
        """
        args, kwargs = as_jax(args, kwargs)
        bound_model, bound_guide = supply(model, params), supply(guide, params)
        layout = noise_layout(bound_guide, args, kwargs)
        draws = draw(as_key(key), layout, self.noise_rows)
        result = self.from_draws(draws, bound_model, bound_guide, args, kwargs, {}, layout)
        check_names(params, (*bound_model.met, *bound_guide.met), "params")
        return result

    def from_draws(
        self,
        draws: Draws,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        mutable: Mapping[str, Any],
        layout: NoiseLayout | None = None,
        step: Any = 0,
    ) -> Evaluation:
        """The evaluation of programs that have their parameters, at given randomness.

        :param mutable: the mutable state before. :param layout: that of the guide's noise, if it is known already.
        :param step: of the optimiser, for schedules.
        """
        layout = noise_layout(guide, args, kwargs) if layout is None else layout
        draws = self._all_draws(draws, layout)
        base = Run(model, guide, args, kwargs, mutable, layout, {}, None, draws.key, step, self.pathwise)

        def particle(normal: Any, uniform: Any, key: jax.Array) -> Any:
            return self.one(base.having(noise=layout.split(normal, uniform), key=key))

        keys = jax.vmap(lambda k: jax.random.fold_in(draws.key, k))(jnp.arange(self.count))
        function = jax.checkpoint(particle) if self.remat else particle
        return self.combine(self._each(function, (draws.normal, draws.uniform, keys)), mutable)

    def _all_draws(self, draws: Draws, layout: NoiseLayout) -> Draws:
        """The noise of all particles from that of the stream."""
        if self.fixed_draws is not None:
            _check_fixed(layout)
            draws = draw(jax.random.key(self.draws_seed), layout, self.noise.rows(self.count))
        return self.noise.expand(draws, layout, self.count)

    def _each(self, particle: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        if self.count == 1:
            normal, uniform, keys = inputs
            # The sum of one entry leaves a batch axis of vmap where it is, last; indexing would move it in front.
            found = particle(jnp.sum(normal, axis=0), jnp.sum(uniform, axis=0), keys[0])
            return jax.tree.map(lambda x: jnp.asarray(x)[None], found)
        how = self.vectorize_particles
        if how is not True and how is not False:
            return how(lambda x: particle(*x))(inputs)
        if how is True and self.particle_batch is None:
            return jax.vmap(particle)(*inputs)
        size = self.particle_batch if how is True else None
        return jax.lax.map(lambda x: particle(*x), inputs, batch_size=size)


def mean_over_particles(tree: Any) -> Any:
    """The mean along the particle axis, of every leaf."""
    return jax.tree.map(lambda x: x[0] if x.shape[0] == 1 else jnp.mean(x, axis=0), tree)


def first_particle(tree: Any) -> Any:
    """The first particle's, of every leaf."""
    return jax.tree.map(lambda x: x[0], tree)


def check_count(name: str, number: Any) -> None:
    """Raise unless ``number`` is an int of at least 1."""
    if isinstance(number, jax.core.Tracer):
        raise ArgumentError(
            message(
                f"{name} must be known before the program is compiled.",
                got="a traced value",
                fix=f"pass {name} as a Python int, outside the arguments that jit or vmap trace.",
            )
        )
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ArgumentError(
            message(f"{name} must be an int of at least 1.", got=repr(number), fix=f"pass {name}=1.")
        )


def _check_fixed(layout: NoiseLayout) -> None:
    """Raise where fixed draws would not make the loss a smooth function of the parameters, or of all the data."""
    if layout.keyed:
        raise ArgumentError(
            message(
                f"fixed_draws: guide sites {list(layout.keyed)} are drawn by key, not from noise.",
                expected="draws that are smooth functions of the parameters at fixed noise",
                got="discrete, or drawn by rejection: with a fixed key they jump as the parameters move",
                fix="use num_particles= for this guide.",
            )
        )
    if layout.subsampled:
        raise ArgumentError(
            message(
                f"fixed_draws: plates {list(layout.subsampled)} subsample, and the same rows would be taken each time.",
                fix="leave subsample_size out, or use num_particles=.",
            )
        )


def with_shared_masks(model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site]) -> Trace:
    """The guide's sites, each without the entries that the model says do not exist."""
    out: Trace = Trace()
    for name, site in guide_trace.items():
        twin = model_trace.get(name)
        if isinstance(site, Sample) and isinstance(twin, Sample) and twin.shared_mask:
            site = site.having(mask=both(site.mask, twin.mask))
        out[name] = site
    return out
