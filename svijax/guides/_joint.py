"""Normals over the vector of all latents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from svijax.base import ModelError, message
from svijax.density import run_guide
from svijax.distributions import MultivariateNormal, Normal, TransformedDistribution
from svijax.effects import Sample, no_handlers, param
from svijax.handlers import supply
from svijax.transforms import LowerCholeskyAffine, constraints

from ._auto import AutoGuide, latent_values
from ._latents import Latent, prior_trace, run_model_with
from ._packed import Packed


@dataclass(frozen=True)
class AutoContinuous(AutoGuide):
    """A distribution over one vector of all unconstrained latents, the auxiliary site ``_{prefix}_latent``.

    A latent in a subsampled plate is an error: its table has no place in the vector (use AutoNormal).
    """

    def draw(
        self, latents: tuple[Latent, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        for latent in latents:
            if latent.local:
                raise ModelError(
                    message(
                        f"model site {latent.name!r} lies in a subsampled plate, which {type(self).__name__} "
                        "cannot approximate.",
                        fix="use AutoNormal, whose local latents have tables over the whole plate.",
                    )
                )
        packed = Packed.of(latents)
        start = self.start(latents, args, kwargs)
        present = self._present(latents, packed, args, kwargs)
        parts = packed.draw(f"_{self.prefix}_latent", self.vector_distribution(packed, start, present))

        return run_model_with(self.model, args, kwargs, lambda site: packed.site(site, parts))

    @abstractmethod
    def vector_distribution(self, packed: Packed, start: Callable[[], dict[str, Any]], present: Any) -> Any:
        """The distribution of the vector; ``present`` marks entries that no mask takes out, or is None."""

    def loc(self, packed: Packed, start: Callable[[], dict[str, Any]]) -> Any:
        """The parameter ``{prefix}_loc``."""
        return param(f"{self.prefix}_loc", lambda key: packed.join(start()))

    def _present(
        self, latents: tuple[Latent, ...], packed: Packed, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if not any(latent.masked for latent in latents):
            return None
        with no_handlers():
            sites = prior_trace(self.model, args, kwargs, 0)
        masks = {}
        for latent in latents:
            site = sites[latent.name]
            mask = True if not isinstance(site, Sample) or site.mask is None else site.mask
            batch = latent.shape[: len(latent.shape) - latent.event_dim]
            mask = jnp.broadcast_to(mask, batch).reshape((*batch, *(1,) * latent.event_dim))
            masks[latent.name] = jnp.broadcast_to(mask, latent.shape)
        return packed.join(masks)


@dataclass(frozen=True)
class AutoDiagonalNormal(AutoContinuous):
    """q = N(loc, diag(scale²)) over the vector of all unconstrained latents.

    Parameters ``{prefix}_loc`` and ``{prefix}_scale``, vectors.
    """

    init_scale: Any = 0.1
    scale_constraint: Any = constraints.softplus_positive

    def vector_distribution(self, packed: Packed, start: Callable[[], dict[str, Any]], present: Any) -> Any:
        loc = self.loc(packed, start)
        init = jnp.full(packed.size, self.init_scale, loc.dtype)
        scale = param(f"{self.prefix}_scale", lambda key: init, constraint=self.scale_constraint)
        base = Normal(loc, scale)
        return (base if present is None else base.mask(present)).to_event(1)


@dataclass(frozen=True)
class AutoMultivariateNormal(AutoContinuous):
    """q = N(loc, L Lᵀ) over the vector of all unconstrained latents.

    Parameters ``{prefix}_loc``, a vector, and ``{prefix}_scale_tril`` = L, lower triangular with positive diagonal.
    """

    init_scale: Any = 0.1
    scale_tril_constraint: Any = constraints.scaled_unit_lower_cholesky

    def vector_distribution(self, packed: Packed, start: Callable[[], dict[str, Any]], present: Any) -> Any:
        loc = self.loc(packed, start)
        eye = jnp.eye(packed.size, dtype=loc.dtype)
        name = f"{self.prefix}_scale_tril"
        tril = param(name, lambda key: self.init_scale * eye, constraint=self.scale_tril_constraint)
        if present is None:
            return MultivariateNormal(loc, scale_tril=tril)
        # The marginal of the present entries; the others keep unit noise of their own, which does not count.
        tril = jnp.where(present[:, None] & present[None, :], tril, eye)
        noise = Normal(jnp.zeros_like(loc), 1.0).mask(present).to_event(1)
        return TransformedDistribution(noise, LowerCholeskyAffine(loc, tril))

    def _at_quantile(
        self, params: Mapping[str, Any], q: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        tril = params[f"{self.prefix}_scale_tril"]
        sd = jnp.sqrt(jnp.sum(tril**2, axis=-1))
        vector = params[f"{self.prefix}_loc"] + ndtri(q) * sd
        pinned = supply(self, {f"_{self.prefix}_latent": vector})
        with no_handlers(), supply(data=params):
            return latent_values(run_guide(pinned, args, kwargs, key=jax.random.key(0)))
