"""What is known after a fit: draws, moments, quantiles, log densities, k-hat, a table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import as_key, is_traced, site_key
from svijax.density import Program
from svijax.objectives import check_count

from ._call import call
from ._importance import Draws
from ._log_prob import LogProb
from ._psis import psis_khat
from ._summary import Summary, summarise

NUM_DRAWS = 4_000


@dataclass(frozen=True, eq=False)
class Posterior:
    """A guide at fitted parameters: an approximation q(z) of the posterior p(z | x).

    Everything is an estimate from draws of the guide. Without ``key=`` the draws follow from the fit's key,
    so that the same call gives the same numbers. Subsampled plates are run whole: no row is left out.
    Enumerated sites that the guide lacks are summed out of log densities of the model, and drawn given z for what
    is deterministic.

    :param params: constrained, of guide and model, by name. :param args, kwargs: of the fit: the data.
    :param mutable: the state of ``mutable`` statements, by name.
    """

    guide: Program
    model: Program
    params: Mapping[str, Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    key: Any = None
    mutable: Mapping[str, Any] | None = None

    def sample(
        self,
        num_samples: int,
        key: jax.Array | None = None,
        *,
        sites: Sequence[str] | None = None,
        deterministic: bool = False,
        batch_size: int | None = None,
    ) -> dict[str, Any]:
        """Draws of the latents by name, (num_samples, *site shape).

        :param sites: names to return. :param deterministic: the model's deterministic sites too.
        :param batch_size: so many draws at a time, which bounds memory.
        """
        return dict(self._draws(num_samples, key, _parts(deterministic), sites, batch_size)["values"])

    def mean(self, num_samples: int = NUM_DRAWS, **options: Any) -> dict[str, Any]:
        """E_q[z] by name; ``options`` as of ``sample``."""
        return self._reduced("mean", _mean, num_samples, **options)

    def sd(self, num_samples: int = NUM_DRAWS, **options: Any) -> dict[str, Any]:
        """Standard deviations of each entry by name; ``options`` as of ``sample``."""
        return self._reduced("sd", _sd, num_samples, **options)

    def median(self, num_samples: int = NUM_DRAWS, **options: Any) -> dict[str, Any]:
        """Medians of each entry by name; ``options`` as of ``sample``.

        Entry by entry: those of a simplex need not add up to 1. ``guide.median(params, ...)`` stays in the support.
        """
        return self.quantiles(0.5, num_samples, **options)

    def quantiles(self, q: Any, num_samples: int = NUM_DRAWS, **options: Any) -> dict[str, Any]:
        """Quantiles of each entry by name: (len(q), *site shape), or the site's shape for one number q."""
        probs = tuple(np.ravel(q).tolist()), np.ndim(q) == 0

        def reduce(x: Any) -> Any:
            found = jnp.quantile(x, jnp.asarray(probs[0], x.dtype), axis=0)
            return found[0] if probs[1] else found

        return self._reduced(("quantiles", probs), reduce, num_samples, **options)

    def log_prob(self, draws: Mapping[str, Any]) -> Any:
        """log q(z) of draws of all the latents: one number for each entry of the leading axis.

        :raises UnknownNameError: a name that is no latent. :raises ArgumentError: one is missing, or the
            guide has auxiliary variables of its own, so that it has no density over the latents.
        """
        log_prob = LogProb(self.model, self.guide)
        traced = (self._key(None), self._params, dict(draws))
        return call(
            ("log_prob", log_prob), (self.model, self.guide), log_prob, traced, self.args, self._kwargs
        )

    def log_weights(
        self, num_samples: int = NUM_DRAWS, key: jax.Array | None = None, *, batch_size: int | None = None
    ) -> Any:
        """log p(x, z_s) − log q(z_s) with z_s ~ q: (num_samples,)."""
        return self._draws(num_samples, key, ("weights",), None, batch_size)["weights"]

    def khat(
        self, num_samples: int = NUM_DRAWS, key: jax.Array | None = None, *, batch_size: int | None = None
    ) -> Any:
        """k̂ of Pareto-smoothed importance sampling: below 0.5 good, above 0.7 not to be trusted."""
        k = psis_khat(self.log_weights(num_samples, key, batch_size=batch_size))
        return k if is_traced(k) else float(k)

    def elbo(
        self, num_samples: int = NUM_DRAWS, key: jax.Array | None = None, *, batch_size: int | None = None
    ) -> tuple[Any, Any]:
        """E_q[log p(x, z) − log q(z)]: (mean, standard error)."""
        log_w = self.log_weights(num_samples, key, batch_size=batch_size)
        if is_traced(log_w):
            return jnp.mean(log_w), jnp.std(log_w) / jnp.sqrt(num_samples)
        values = np.asarray(log_w, np.float64)
        return float(values.mean()), float(values.std() / np.sqrt(num_samples))

    def summary(
        self,
        num_samples: int = NUM_DRAWS,
        probs: Sequence[float] = (0.05, 0.95),
        key: jax.Array | None = None,
        *,
        sites: Sequence[str] | None = None,
        deterministic: bool = False,
        batch_size: int | None = None,
    ) -> Summary:
        """A table of mean, sd and quantiles by site, with the ELBO and k̂ in words. Print it."""
        parts = (*_parts(deterministic), "weights")
        out = self._draws(num_samples, key, parts, sites, batch_size)
        return summarise(out["values"], out["weights"], tuple(probs), float(psis_khat(out["weights"])))

    @property
    def _kwargs(self) -> dict[str, Any]:
        return dict(self.kwargs or {})

    @property
    def _params(self) -> dict[str, Any]:
        return {**self.params, **(self.mutable or {})}

    def _key(self, key: jax.Array | None) -> jax.Array:
        if key is not None:
            return as_key(key)
        return site_key(jax.random.key(0) if self.key is None else as_key(self.key), "posterior")

    def _draws(
        self,
        num_samples: int,
        key: jax.Array | None,
        parts: tuple[str, ...],
        sites: Sequence[str] | None,
        batch_size: int | None,
    ) -> dict[str, Any]:
        draws = self._plan(num_samples, parts, sites, batch_size)
        traced = (self._key(key), self._params)
        return call(("draws", draws), (self.model, self.guide), draws, traced, self.args, self._kwargs)

    def _plan(
        self, num_samples: int, parts: tuple[str, ...], sites: Sequence[str] | None, batch_size: int | None
    ) -> Draws:
        check_count("num_samples", num_samples)
        if batch_size is not None:
            check_count("batch_size", batch_size)
        names = None if sites is None else tuple(sites)
        return Draws(self.model, self.guide, num_samples, batch_size, parts, names)

    def _reduced(
        self,
        kind: Any,
        reduce: Callable[[Any], Any],
        num_samples: int,
        key: jax.Array | None = None,
        *,
        sites: Sequence[str] | None = None,
        deterministic: bool = False,
        batch_size: int | None = None,
    ) -> dict[str, Any]:
        """``reduce`` of the draws of each site, inside the compiled function."""
        draws = self._plan(num_samples, _parts(deterministic), sites, batch_size)

        def function(*inputs: Any) -> dict[str, Any]:
            values = draws(*inputs)["values"]
            return OrderedDict((name, reduce(_as_float(x))) for name, x in values.items())

        traced = (self._key(key), self._params)
        programs = (self.model, self.guide)
        return dict(call((kind, draws), programs, function, traced, self.args, self._kwargs))


def _parts(deterministic: bool) -> tuple[str, ...]:
    return ("latents", "deterministic") if deterministic else ("latents",)


def _as_float(x: Any) -> Any:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def _mean(x: Any) -> Any:
    return jnp.mean(x, axis=0)


def _sd(x: Any) -> Any:
    return jnp.std(x, axis=0)
