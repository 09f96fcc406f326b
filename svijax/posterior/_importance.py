"""Importance weights of a guide's draws."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, as_key, check_names, message
from svijax.density import Program, log_density
from svijax.effects import Deterministic
from svijax.guides import latent_values
from svijax.handlers import Trace
from svijax.objectives import check_count, estimate

from ._call import call
from ._programs import draw_keys, guide_sites, model_sites, over_draws
from ._summed import RunModel, drawn_jointly, leaves_out, log_joint

_MOST_NUMBERS = 2**29


def importance_weights(
    key: jax.Array,
    params: Mapping[str, Any],
    model: Program,
    guide: Program,
    *args: Any,
    num_samples: int,
    batch_size: int | None = None,
    **kwargs: Any,
) -> jax.Array:
    """log w_s = log p(x, z_s) − log q(z_s) with z_s ~ q: (num_samples,).

    Their mean estimates the ELBO, their log-mean-exp the log evidence. Subsampled plates are run whole.

    :param params: constrained, by name. :param batch_size: so many draws at a time; without it all at once.
    """
    check_count("num_samples", num_samples)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    draws = Draws(model, guide, num_samples, batch_size, ("weights",))
    traced = (as_key(key), dict(params))
    return call(("importance", draws), (model, guide), draws, traced, args, kwargs)["weights"]


@dataclass(frozen=True)
class Draws:
    """Draws of a guide, and what the model makes of them.

    ``parts``: which of "latents", "deterministic" (by name) and "weights" (log w) are wanted.
    """

    model: Program = field(compare=False)
    guide: Program = field(compare=False)
    num_samples: int
    batch_size: int | None
    parts: tuple[str, ...]
    sites: tuple[str, ...] | None = None

    def __call__(
        self, key: jax.Array, params: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        def one(draw_key: jax.Array) -> dict[str, Any]:
            sites = guide_sites(self.guide, params, draw_key, args, kwargs)
            return self._parts(sites, lambda model: model_sites(model, params, draw_key, args, kwargs, sites))

        return over_draws(one, draw_keys(key, self.num_samples), self.num_samples, self.batch_size)

    def _parts(self, guide: Trace, run: RunModel) -> dict[str, Any]:
        out: dict[str, Any] = {}
        values: dict[str, Any] = latent_values(guide) if "latents" in self.parts else {}
        if self.parts != ("latents",):
            model = run(self.model)
            summed = leaves_out(guide, model)
            if "weights" in self.parts:
                out["weights"] = (
                    summed_log_weight(self.model, run, guide) if summed else log_weight(model, guide)
                )
            if "deterministic" in self.parts:
                model = run(drawn_jointly(self.model, guide)) if summed else model
                values |= {s.name: s.value for s in model.values() if isinstance(s, Deterministic)}
        if "latents" in self.parts:
            if self.sites is not None:
                check_names(self.sites, values, "sites")
                values = {name: value for name, value in values.items() if name in self.sites}
            self._check_size(values)
            # Plain dictionaries lose their order on the way through JAX.
            out["values"] = OrderedDict(values)
        return out

    def _check_size(self, values: dict[str, Any]) -> None:
        numbers = self.num_samples * sum(jnp.size(x) for x in jax.tree.leaves(values))
        if numbers > _MOST_NUMBERS:
            raise ArgumentError(
                message(
                    "so many posterior draws would not fit into memory.",
                    expected=f"at most {_MOST_NUMBERS:,} numbers",
                    got=f"{self.num_samples:,} draws of {numbers // self.num_samples:,}: {numbers:,}",
                    fix="lower num_samples, or name the sites that you need: sites=[...].",
                )
            )


def log_weight(model: Trace, guide: Trace) -> jax.Array:
    """log p(x, z) − log q(z) of one pair of traces."""
    terms = estimate(model, guide)
    log_p: Any = sum(terms.log_p.values(), jnp.zeros(()))
    return log_p - sum(terms.log_q.values(), jnp.zeros(()))


def summed_log_weight(model: Program, run: RunModel, guide: Trace) -> jax.Array:
    """``log_weight`` with the enumerated sites that the guide lacks summed out of the model."""
    return log_joint(model, run, guide) - sum(log_density(guide).values(), jnp.zeros(()))
