"""Several copies of a guide, each with parameters of its own: a mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ModelError, as_jax, as_key, check_names, is_concrete, message
from svijax.density import Program, provenance, run_guide, total
from svijax.distributions import DiscreteUniform
from svijax.effects import (
    Factor,
    Handler,
    KeyRequest,
    Mutable,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    no_handlers,
    outside,
    perform,
)
from svijax.handlers import supply
from svijax.objectives import INDEX, MIXTURE, ParticleParam, check_count

from ._auto import latent_values


@dataclass(frozen=True)
class Particles:
    """q(z) = 1/K Σ_k q_k(z): K copies of a guide, for ``SVGD`` and ``SteinELBO``, or a guide for other objectives.

    A draw is one of a copy taken at random (the auxiliary site ``_particle``), its density that of the mixture (the
    factor ``_mixture``). Points, as those of ``AutoDelta``, have no density; it counts as 1. Parameters keep their
    names and have an axis of particles in front; each particle starts from a key of its own.

    :param guide: the guide: a function, or an autoguide. :param num_particles: K.
    :param shared: names of parameters that all copies share, or a function of the name that says which.
    """

    guide: Program
    num_particles: int = 10
    shared: Iterable[str] | Callable[[str], bool] = ()

    def __post_init__(self) -> None:
        check_count("num_particles", self.num_particles)
        if not callable(self.guide) or isinstance(self.guide, type):
            raise ArgumentError(message("Particles takes a guide, a function.", got=repr(self.guide)))
        if not callable(self.shared):
            names = (self.shared,) if isinstance(self.shared, str) else tuple(self.shared)
            object.__setattr__(self, "shared", names)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """State the sites of one particle; what the guide returns for it."""
        args, kwargs = as_jax(args, kwargs)
        which = DiscreteUniform(0, self.num_particles - 1)
        index = perform(Sample(name=INDEX, fn=which, infer={"is_auxiliary": True})).value
        particle = _Particle(self, index, _Starts(self, args, kwargs))
        with particle:
            result = self.guide(*args, **kwargs)
        particle.check()
        perform(Factor(name=MIXTURE, value=self._excess(particle, index, args, kwargs)))
        return result

    def named_particles(
        self, params: Mapping[str, Any], *args: Any, key: jax.Array | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The latents of every particle by name, (K, *site shape), at constrained parameters.

        Where the guide draws, it is one draw of each, with ``key``.
        """
        start = jax.random.key(0) if key is None else as_key(key)

        def one(index: Any) -> dict[str, Any]:
            with no_handlers(), supply(data=params):
                own = jax.random.fold_in(start, index)
                return latent_values(run_guide(self, args, kwargs, key=own, values={INDEX: index}))

        return jax.vmap(one)(jnp.arange(self.num_particles))

    def is_shared(self, name: str) -> bool:
        """Whether all particles have one value of this parameter."""
        return self.shared(name) if callable(self.shared) else name in tuple(self.shared)

    def _excess(
        self, particle: _Particle, index: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """log Σ_j q_j(z) − log q_k(z) for draws z of particle k: with log 1/K of its choice the mixture's density."""
        if self.num_particles == 1 or not particle.drawn:
            return jnp.log(jnp.asarray(self.num_particles, jnp.result_type(float)))
        key = perform(KeyRequest(name=MIXTURE)).value
        key = jax.random.key(0) if key is None else key

        def density(own: Mapping[str, Any]) -> Any:
            values = {**particle.common, **own}
            with no_handlers():
                sites = run_guide(
                    self.guide, args, kwargs, key=key, values=values, pathwise=lambda site: True
                )
            found = jnp.zeros(())
            for name in particle.drawn:
                site = sites[name]
                if isinstance(site, Sample):
                    _check_scale(site)
                    found = found + total(site)
            return found

        each = jax.vmap(density)(particle.stacked)
        return jax.nn.logsumexp(each) - each[index]


class _Particle(Handler):
    """Gives the copy of the guide that runs its own values of parameters, and notes what it draws."""

    def __init__(self, owner: Particles, index: Any, starts: _Starts) -> None:
        super().__init__()
        self.owner = owner
        self.index = index
        self.starts = starts
        self.stacked: dict[str, Any] = {}
        self.common: dict[str, Any] = {}
        self.drawn: dict[str, None] = {}
        self.names: dict[str, None] = {}

    def process(self, site: Site) -> Site:
        if isinstance(site, ParamGroup) and site.value is None:
            values = [
                self._own(Param(name=n, init=site.init, constraint=site.constraint)) for n in site.names
            ]
            return site.having(value=jnp.concatenate([jnp.ravel(v) for v in values]), stop=True)
        if isinstance(site, Param) and site.value is None:
            self.names[site.name] = None
            if not self.owner.is_shared(site.name):
                return site.having(value=self._own(site), stop=True)
        if isinstance(site, Sample) and site.latent and site.value is None and not _is_fixed(site):
            self.drawn[site.name] = None
        return site

    def post(self, site: Site) -> Site:
        if isinstance(site, PlateIndices) or (isinstance(site, Sample) and site.name in self.drawn):
            self.common[site.name] = site.value
        elif isinstance(site, Mutable):
            self.common[site.name] = site.start
        elif isinstance(site, Param) and site.name not in self.stacked:
            self.common[site.name] = site.value
        return site

    def check(self) -> None:
        """Raise where a name to be shared is none, or where all particles start in one place."""
        if not callable(self.owner.shared):
            check_names(self.owner.shared, self.names, "shared")
        self.starts.check(self.stacked)

    def _own(self, site: Param) -> Any:
        """The value for this particle of a parameter that is stated outside for all of them."""
        name = site.name
        self.names[name] = None
        starts = self.starts
        init = None if site.init is None else lambda key: starts.of(name)
        with outside(self):
            if self.owner.is_shared(name):
                first = None if init is None else lambda key: _first(starts.of(name))
                value = perform(Param(name=name, init=first, constraint=site.constraint)).value
                self.common[name] = value
                return value
            stacked = perform(ParticleParam(name=name, init=init, constraint=site.constraint)).value
        self._check_count(name, stacked)
        self.stacked[name] = stacked
        return jax.tree.map(lambda x: jnp.asarray(x)[self.index], stacked)

    def _check_count(self, name: str, stacked: Any) -> None:
        for leaf in jax.tree.leaves(stacked):
            shape, count = jnp.shape(leaf), self.owner.num_particles
            if shape[:1] != (count,):
                raise ModelError(
                    message(
                        f"guide param {name!r} needs one value for each of {count} particles.",
                        expected=f"a shape that begins with {count}",
                        got=shape,
                        fix=f"stack the values along a first axis, or share it: Particles(..., shared=[{name!r}]).",
                    )
                )


class _Starts:
    """Starting values of all particles: the guide's own, once for each of as many keys."""

    def __init__(self, owner: Particles, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.owner = owner
        self.args = args
        self.kwargs = kwargs

    def of(self, name: str) -> Any:
        """The values of one parameter, along a first axis."""
        return self._values[name]

    def check(self, names: Iterable[str]) -> None:
        """Raise if particles start here and none of these parameters depends on the key: equal ones never part."""
        if self.owner.num_particles == 1 or "_values" not in self.__dict__:
            return
        key = jax.eval_shape(lambda: jax.random.key(0))
        reads = provenance(lambda k: [self._one(k)[n] for n in names], ("key",), key)
        if not any(jax.tree.leaves(reads, is_leaf=lambda x: isinstance(x, frozenset))):
            raise ArgumentError(
                message(
                    "all particles start in one place, and would stay together for ever.",
                    expected="a parameter that starts from a function of a random key",
                    got=f"the same values of {list(names)} for every key",
                    fix="write param(name, lambda key: ...), or use init_loc_fn=init_to_uniform() or init_to_sample().",
                )
            )

    @cached_property
    def _values(self) -> dict[str, Any]:
        key = perform(KeyRequest(name="_particles_init")).value
        return jax.vmap(self._one)(jax.random.split(key, self.owner.num_particles))

    def _one(self, key: jax.Array) -> dict[str, Any]:
        with no_handlers():
            sites = run_guide(self.owner.guide, self.args, self.kwargs, key=key)
        return {site.name: site.value for site in sites.values() if isinstance(site, Param)}


def _is_fixed(site: Sample) -> bool:
    """Whether the site is a point, which takes no noise."""
    spec = getattr(site.fn, "noise_spec", None)
    return spec is not None and not spec.size


def _first(stacked: Any) -> Any:
    return jax.tree.map(lambda x: x[0], stacked)


def _check_scale(site: Sample) -> None:
    if site.scale is None or (is_concrete(site.scale) and bool(np.all(np.asarray(site.scale) == 1))):
        return
    raise ModelError(
        message(
            f"guide site {site.name!r} is scaled, and the density of a mixture cannot be told from scaled parts of it.",
            plates=site.plates,
            fix="leave subsample_size out, put svijax.handlers.scale around Particles(...), or use points: "
            "Particles(AutoDelta(model), ...).",
        )
    )
