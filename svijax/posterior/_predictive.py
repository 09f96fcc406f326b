"""Draws of what a model predicts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, as_key, message, site_key
from svijax.density import Program
from svijax.effects import Deterministic, Param, Sample, Site, label
from svijax.guides import latent_values
from svijax.handlers import Trace, condition, seed, trace, uncondition
from svijax.objectives import check_count

from ._autoguides import for_these_arguments
from ._call import call
from ._programs import after_fit, chosen, draw_keys, given, guide_sites, over_draws


@dataclass(frozen=True, eq=False)
class Predictive:
    """Draws from a model: y ~ p(y | z, x) with z from posterior draws, from a guide, or from the prior.

    ``Predictive(model, guide=guide, params=fit.params, num_samples=1000)(key, x)`` is a dictionary of arrays,
    the draws on the leading axis. Observed sites are drawn anew, whatever data the arguments hold;
    deterministic sites are computed anew; subsampled plates are run whole. Latents that nobody gives come
    from the prior.

    :param posterior_samples: draws of latents by name, all with one leading axis.
    :param guide: where latents are drawn from instead.
    :param params: constrained parameters of guide and model, and what ``mutable`` statements carry, by name:
        ``{**fit.params, **fit.state.mutable}`` where there is any.
    :param num_samples: draws; with posterior samples their number.
    :param return_sites: names to return. Without it: every random and deterministic site of the model that is
        neither given nor conditioned.
    :param condition: values of sites by name that are not to be drawn, the same for all draws.
    :param batch_size: so many draws at a time, which bounds memory; without it all at once.
    :param exclude_deterministic: False takes deterministic sites from ``posterior_samples`` if it has them.
    :raises ArgumentError: guide and posterior samples together, or no or contradictory numbers of draws.
    :raises UnknownNameError: at the call, a name that no site has. :raises ShapeError: at the call, draws or
        parameters for another number of rows.
    """

    model: Program
    posterior_samples: Mapping[str, Any] | None = None
    guide: Program | None = field(default=None, kw_only=True)
    params: Mapping[str, Any] | None = field(default=None, kw_only=True)
    num_samples: int | None = field(default=None, kw_only=True)
    return_sites: Sequence[str] | None = field(default=None, kw_only=True)
    condition: Mapping[str, Any] | None = field(default=None, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)
    exclude_deterministic: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.guide is not None and self.posterior_samples:
            raise ArgumentError(
                message(
                    "Predictive takes latents from a guide or from posterior_samples, not from both.",
                    fix="leave one of them out.",
                )
            )
        if isinstance(self.return_sites, str):
            raise ArgumentError(
                message(
                    "return_sites is a list of names.",
                    got=repr(self.return_sites),
                    fix=f"write [{self.return_sites!r}].",
                )
            )
        for name, number in (("num_samples", self.num_samples), ("batch_size", self.batch_size)):
            if number is not None:
                check_count(name, number)
        _count_draws(self.posterior_samples, self.num_samples, self.guide is not None)

    def __call__(self, key: jax.Array, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Draws by site name, (num_samples, *site shape), at these arguments of the model (and the guide)."""
        count = _count_draws(self.posterior_samples, self.num_samples, self.guide is not None)
        plan = _Plan(
            self.model,
            self.guide,
            count,
            None if self.return_sites is None else tuple(self.return_sites),
            self.batch_size,
            self.exclude_deterministic,
        )
        params = None if self.params is None else dict(self.params)
        traced = (as_key(key), params, dict(self.posterior_samples or {}), dict(self.condition or {}))
        return dict(call(("predictive", plan), (self.model, self.guide), plan, traced, args, kwargs))


@dataclass(frozen=True)
class _Plan:
    """What a ``Predictive`` does, without the arrays that it does it with."""

    model: Program = field(compare=False)
    guide: Program | None = field(compare=False)
    num_samples: int
    return_sites: tuple[str, ...] | None
    batch_size: int | None
    exclude_deterministic: bool

    def __call__(
        self,
        key: jax.Array,
        params: dict[str, Any] | None,
        samples: dict[str, Any],
        fixed: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        guide = None
        if self.guide is not None:
            guide = for_these_arguments(self.guide, self.model, params, args, kwargs)

        def one(x: tuple[jax.Array, dict[str, Any]]) -> dict[str, Any]:
            draw_key, values = x
            what = "posterior_samples"
            if guide is not None:
                what = "the draws of the guide"
                sites = guide_sites(guide, params, site_key(draw_key, "guide"), args, kwargs)
                values = latent_values(sites)
            values = {name: value for name, value in values.items() if name not in fixed}
            with (
                after_fit(params),
                trace() as sites,
                seed(rng_seed=draw_key),
                given(values, what, deterministic=not self.exclude_deterministic),
                condition(data=fixed),
                uncondition(),
                label(role="model"),
            ):
                self.model(*args, **kwargs)
            return self._returned(sites, values, fixed)

        xs = draw_keys(key, self.num_samples), samples
        return over_draws(one, xs, self.num_samples, self.batch_size)

    def _returned(self, sites: Trace, values: dict[str, Any], fixed: dict[str, Any]) -> dict[str, Any]:
        if self.return_sites is not None:
            known = [s.name for s in sites.values() if isinstance(s, Sample | Deterministic | Param)]
            names = chosen(self.return_sites, known, "return_sites")
        else:
            names = [s.name for s in sites.values() if _new(s, values, fixed)]
        # Plain dictionaries lose their order on the way through JAX.
        return OrderedDict((name, sites[name].value) for name in names)


def _new(site: Site, values: Mapping[str, Any], fixed: Mapping[str, Any]) -> bool:
    if isinstance(site, Deterministic):
        return True
    return isinstance(site, Sample) and not (site.auxiliary or site.name in values or site.name in fixed)


def _count_draws(samples: Mapping[str, Any] | None, num_samples: int | None, has_guide: bool) -> int:
    """The number of draws.

    :raises ArgumentError: there is none, or two.
    """
    if not samples:
        if num_samples is None:
            source = "the guide" if has_guide else "the prior"
            raise ArgumentError(
                message(
                    f"Predictive needs num_samples to draw from {source}.",
                    fix="pass num_samples=1000, or posterior_samples=.",
                )
            )
        return num_samples
    counts = {name: jnp.shape(leaf)[:1] for name, x in samples.items() for leaf in jax.tree.leaves(x)}
    first = next(iter(counts))
    for name, lead in counts.items():
        if not lead or lead != counts[first]:
            raise ArgumentError(
                message(
                    "posterior_samples must all have one leading axis, the draws.",
                    expected=f"{counts[first][0] if counts[first] else 'draws'} draws, as {first!r}",
                    got=f"{lead[0]} of {name!r}" if lead else f"{name!r} is one number",
                    fix="stack the draws on axis 0, chains and draws in one axis.",
                )
            )
    count = counts[first][0]
    if num_samples is not None and num_samples != count:
        raise ArgumentError(
            message(
                "num_samples is not the number of posterior samples.",
                expected=count,
                got=num_samples,
                fix="leave num_samples out.",
            )
        )
    return count
