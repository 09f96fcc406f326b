"""Where a guide starts: strategies that give a constrained value for a latent site."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ParameterError, ShapeError, check_names, is_concrete, message, site_key
from svijax.density import Program
from svijax.effects import Handler, Sample, Site, label, no_handlers
from svijax.handlers import seed
from svijax.transforms import biject_to

Strategy = Callable[[Sample, jax.Array], Any]


@dataclass(frozen=True)
class init_to_uniform:
    """Unconstrained values uniform on (−radius, radius)."""

    radius: float = 2.0

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        bijection = biject_to(site.fn.support)
        return bijection(_between(key, bijection.inverse_shape(site.shape), self.radius))


@dataclass(frozen=True)
class init_to_feasible:
    """Unconstrained zero, whatever the prior."""

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        return init_to_uniform(0.0)(site, key)


@dataclass(frozen=True)
class init_to_median:
    """Median of ``num_samples`` unconstrained draws from the prior."""

    num_samples: int = 15

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        bijection = biject_to(site.fn.support)
        draws = bijection.inv(site.fn.sample(key, (self.num_samples,)))
        return bijection(jnp.median(draws, axis=0))


@dataclass(frozen=True)
class init_to_sample:
    """One draw from the prior."""

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        return site.fn.sample(key)


@dataclass(frozen=True)
class init_to_mean:
    """Mean of the prior; without one, or where it is not finite or on the edge of the support, ``init_to_median``."""

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        fallback = init_to_median()(site, key)
        try:
            mean = jnp.broadcast_to(jnp.asarray(site.fn.mean, jnp.result_type(fallback)), site.shape)
        except (ArgumentError, AttributeError, NotImplementedError):  # how families say that they have none
            return fallback
        free = biject_to(site.fn.support).inv(mean)
        return jnp.where(jnp.all(jnp.isfinite(mean)) & jnp.all(jnp.isfinite(free)), mean, fallback)


@dataclass(frozen=True, eq=False)
class init_to_value:
    """Given constrained values by site name; ``fallback`` for the others. A scalar fills its site.

    :raises UnknownNameError: a name that no latent of the model has.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    fallback: Any = init_to_uniform

    def __call__(self, site: Sample, key: jax.Array) -> Any:
        if site.name not in self.values:
            return as_strategy(self.fallback)(site, key)
        value = self.values[site.name]
        # What can be read stays with numpy, so that it is checked against the support while the program is traced.
        return (np if is_concrete(value) else jnp).asarray(value, jnp.result_type(float))


def as_strategy(choice: Any) -> Strategy:
    """A strategy from one, from its class, or from a user's function of (site, key)."""
    strategy = choice() if isinstance(choice, type) else choice
    if not callable(strategy):
        raise ArgumentError(
            message(
                "init_loc_fn is no strategy.",
                expected="init_to_uniform, init_to_median, ..., or a function of (site, key)",
                got=repr(choice),
            )
        )
    return strategy


class _Start(Handler):
    """Gives each continuous latent its starting value, so that later sites see sensible parents."""

    def __init__(self, strategy: Strategy, key: jax.Array) -> None:
        super().__init__()
        self.strategy = strategy
        self.key = key
        self.values: dict[str, Any] = {}

    def process(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.latent and not site.fn.support.is_discrete:
            value = self.strategy(site, site_key(self.key, site.name))
            _check_start(site, value)
            value = jnp.broadcast_to(jnp.asarray(value), site.shape)
            self.values[site.name] = biject_to(site.fn.support).inv(value)
            return site.having(value=value)
        return site


def _check_start(site: Sample, value: Any) -> None:
    """Raise if the value can be read and lies outside the support."""
    if jnp.shape(value) not in ((), site.shape):
        raise ShapeError(
            message(
                f"model site {site.name!r}: its starting value has another shape.",
                plates=site.plates,
                expected=f"{site.shape}, or one number",
                got=jnp.shape(value),
                fix="mend init_loc_fn=.",
            )
        )
    ok = site.fn.support.check(value)
    if is_concrete(ok) and not np.asarray(ok).all():
        raise ParameterError(
            message(
                f"model site {site.name!r}: its starting value is outside the support of its prior.",
                plates=site.plates,
                expected=str(site.fn.support),
                got=value,
                fix="start it inside: init_loc_fn=init_to_value(...), or another strategy.",
            )
        )


def initial_values(
    model: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    strategy: Strategy,
    key: jax.Array,
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Any]:
    """Unconstrained starting values of the latents, by site name. ``shapes``: theirs."""
    if isinstance(strategy, init_to_uniform):
        return _uniform(key, strategy.radius, shapes)
    start = _Start(strategy, site_key(key, "start"))
    with no_handlers(), seed(rng_seed=key), start, label(role="model"):
        model(*args, **kwargs)
    if isinstance(strategy, init_to_value):
        check_names(strategy.values, start.values, "init_to_value")
    return start.values


def _uniform(key: jax.Array, radius: float, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """One draw for all sites: it needs no values of theirs, so the model need not run."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    draw = _between(key, (sum(sizes),), radius)
    ends = itertools.accumulate(sizes)
    return {
        name: draw[end - size : end].reshape(shape)
        for (name, shape), size, end in zip(shapes.items(), sizes, ends, strict=True)
    }


def _between(key: jax.Array, shape: tuple[int, ...], radius: Any) -> Any:
    """Uniform on (−radius, radius); with radius 0 a constant, which anybody can see to depend on no key."""
    dtype = jnp.result_type(float)
    if is_concrete(radius) and radius == 0:
        return jnp.zeros(shape, dtype)
    return jax.random.uniform(key, shape, dtype, -radius, radius)
