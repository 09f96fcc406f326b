"""What all autoguides share: pure functions of (model, arguments) that remember nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from svijax.base import as_jax, as_key
from svijax.density import NoiseLayout, Program, abstractly, run_guide
from svijax.effects import KeyRequest, Sample, no_handlers, perform
from svijax.handlers import Trace, compute, supply

from ._initial import as_strategy, init_to_uniform, initial_values
from ._latents import Latent, find_latents


@dataclass(frozen=True)
class AutoGuide(ABC):
    """A guide made from a model. It finds the model's latents each time it is traced, and stores nothing.

    :param model: the model. :param prefix: part of every parameter's name.
    :param init_loc_fn: where latents start: a strategy, or any function of (site, key) giving a constrained value.
    """

    model: Program
    prefix: str = "auto"
    init_loc_fn: Any = init_to_uniform

    # Its parameters are those of distributions: nothing computes with them in fewer bits.
    keeps_dtype: ClassVar[bool] = True

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """State the guide's sites; the values of the latents by name."""
        args, kwargs = as_jax(args, kwargs)
        with compute(dtype=None):
            return self.draw(find_latents(self.model, args, kwargs), args, kwargs)

    @abstractmethod
    def draw(
        self, latents: tuple[Latent, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """State the guide's sites for these latents."""

    def start(
        self, latents: tuple[Latent, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Callable[[], dict[str, Any]]:
        """Unconstrained starting values, computed at most once, and only if a parameter asks for them."""
        return _Start(self, latents, args, kwargs)

    def sample_posterior(
        self,
        rng_key: jax.Array,
        params: Mapping[str, Any],
        *args: Any,
        sample_shape: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Draws of the latents, constrained, each of shape ``sample_shape + site shape``."""

        def one(key: jax.Array) -> dict[str, Any]:
            return latent_values(self._run(params, args, kwargs, key, None))

        count = 1
        for n in sample_shape:
            count *= n
        keys = jax.random.split(as_key(rng_key), count)
        draws = jax.vmap(one)(keys)
        return {n: v.reshape((*sample_shape, *v.shape[1:])) for n, v in draws.items()}

    def median(self, params: Mapping[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Medians of the latents: the unconstrained medians, mapped into the supports."""
        return self._at_quantile(params, 0.5, args, kwargs)

    def quantiles(
        self, params: Mapping[str, Any], quantiles: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Marginal quantiles of the unconstrained latents, mapped into the supports; leading axis as given."""
        qs = jnp.asarray(quantiles, jnp.result_type(float))
        if qs.ndim == 0:
            return self._at_quantile(params, qs, args, kwargs)
        return jax.vmap(lambda q: self._at_quantile(params, q, args, kwargs))(qs)

    def _at_quantile(
        self, params: Mapping[str, Any], q: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        return latent_values(self._run(params, args, kwargs, jax.random.key(0), ndtri(q)))

    def _run(
        self,
        params: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        key: jax.Array,
        normal: Any,
    ) -> Trace:
        """The guide's trace at constrained parameters, every normal of its noise set to ``normal`` if given."""
        guide = supply(self, params)
        noise = None
        if normal is not None:
            layout = abstractly(lambda k: NoiseLayout.of(run_guide(guide, args, kwargs, key=k)))
            noise = {n: jnp.full(s.shape, normal, s.dtype) for n, s in zip(layout.names, layout.specs)}
        with no_handlers():
            return run_guide(guide, args, kwargs, key=key, noise_values=noise)


def latent_values(guide_trace: Trace) -> dict[str, Any]:
    """Values of the guide's latents that the model has too."""
    return {s.name: s.value for s in guide_trace.values() if isinstance(s, Sample) and not s.auxiliary}


@dataclass(frozen=True)
class _Start:
    guide: AutoGuide
    latents: tuple[Latent, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self) -> dict[str, Any]:
        return self._values

    @cached_property
    def _values(self) -> dict[str, Any]:
        key = perform(KeyRequest(name=f"{self.guide.prefix}_init")).value
        strategy = as_strategy(self.guide.init_loc_fn)
        shapes = {latent.name: latent.shape for latent in self.latents}
        return initial_values(self.guide.model, self.args, self.kwargs, strategy, key, shapes)
