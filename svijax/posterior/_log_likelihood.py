"""log p of each observation, at draws of the latents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, DataError, is_concrete, message
from svijax.density import Program, log_prob
from svijax.effects import Sample, label
from svijax.handlers import Trace, seed, trace

from ._call import call
from ._programs import after_fit, given, over_draws


def log_likelihood(
    model: Program,
    posterior_samples: Mapping[str, Any],
    *args: Any,
    params: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """log p(y_i | z_s) by observed site: (draws, *batch shape), NaN where a ``mask`` statement takes an entry out.

    Not scaled: subsampled plates are run whole, and ``scale`` does not count.

    :param posterior_samples: draws of all latents, by name. :param params: constrained, of the model, by name.
    :param batch_size: so many draws at a time; without it all at once.
    :raises ArgumentError: a latent without draws, or no draws at all.
    """
    counts = {jnp.shape(x)[:1] for x in jax.tree.leaves(dict(posterior_samples))}
    if len(counts) != 1 or () in counts:
        raise ArgumentError(
            message(
                "posterior_samples must all have one leading axis, the draws.",
                got={name: jnp.shape(x) for name, x in posterior_samples.items()},
                fix="pass fit.posterior.sample(1000).",
            )
        )
    ((count,),) = counts
    plan = LogLikelihood(model, count, batch_size)
    traced = (dict(posterior_samples), None if params is None else dict(params))
    return dict(call(("log likelihood", plan), (model,), plan, traced, args, kwargs))


@dataclass(frozen=True)
class LogLikelihood:
    """``log_likelihood`` without the arrays. ``plate``: if given, the sum over all that belongs to an element of it."""

    model: Program = field(compare=False)
    num_samples: int
    batch_size: int | None = None
    plate: str | None = None

    def __call__(
        self,
        draws: dict[str, Any],
        params: dict[str, Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        def one(values: dict[str, Any]) -> dict[str, Any]:
            with (
                after_fit(params),
                trace() as sites,
                # Nothing is drawn: a latent without a value is an error below.
                seed(rng_seed=jax.random.key(0)),
                given(values, "the draws of the latents"),
                label(role="model"),
            ):
                self.model(*args, **kwargs)
            self._check(sites, values)
            return self._by_point(sites)

        return over_draws(one, draws, self.num_samples, self.batch_size)

    def _check(self, sites: Trace, values: Mapping[str, Any]) -> None:
        missing = [
            s.name for s in sites.values() if isinstance(s, Sample) and s.latent and s.name not in values
        ]
        if missing:
            raise ArgumentError(
                message(
                    f"model latents without draws: {missing}.",
                    expected="draws of all latents that the likelihood depends on",
                    got=list(values),
                    fix="draw them too; sum a discrete one out of the likelihood with MixtureSameFamily.",
                )
            )

    def _by_point(self, sites: Trace) -> dict[str, Any]:
        observed = [s for s in sites.values() if isinstance(s, Sample) and s.observed]
        if not observed:
            raise DataError(
                message(
                    "the model observes nothing at these arguments, so there is no likelihood.",
                    fix="pass the data that it observes (obs=).",
                )
            )
        if self.plate is None:
            return OrderedDict((s.name, _of_site(s)) for s in observed)
        return {self.plate: self._summed(observed)}

    def _summed(self, observed: list[Sample]) -> Any:
        """Σ over the sites in the plate, and over all their dims but its own."""
        total: Any = 0.0
        for site in observed:
            dims = {frame.name: frame.dim for frame in site.plates}
            if self.plate not in dims:
                raise ArgumentError(
                    message(
                        f"model site {site.name!r} is observed outside of plate {self.plate!r}.",
                        plates=site.plates,
                        fix="name a plate that all observations are in, or leave plate out: each entry is a point.",
                    )
                )
            values = _of_site(site, masked=0.0)
            axis = values.ndim + dims[self.plate]
            total = total + jnp.sum(values, axis=tuple(i for i in range(values.ndim) if i != axis))
        return total


def _of_site(site: Sample, masked: float = jnp.nan) -> Any:
    values = log_prob(site)
    shape = (*site.sample_shape, *site.fn.batch_shape)
    values = jnp.broadcast_to(values, shape)
    if site.mask is None or (is_concrete(site.mask) and np.all(np.asarray(site.mask))):
        return values
    return jnp.where(site.mask, values, masked)
