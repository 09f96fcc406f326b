"""Run a guide on given randomness, and a model on the guide's draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from svijax.effects import Handler, Mutable, Sample, Site, label
from svijax.handlers import Trace, noise, replay, seed, supply, trace

Program = Callable[..., Any]


class cut(Handler):
    """Draws without pathwise gradients pass no gradient at all: theirs are score terms."""

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample) and site.latent and not has_pathwise_gradient(site):
            return site.having(value=jax.lax.stop_gradient(site.value))
        return site


def has_pathwise_gradient(site: Sample) -> bool:
    """Whether draws of the site carry derivatives in its parameters; where nobody says so, they do not."""
    return bool(getattr(site.fn, "has_rsample", False))


def run_guide(
    guide: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    key: jax.Array,
    plate_key: jax.Array | None = None,
    noise_values: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Trace:
    """Sites of the guide. Latents in ``noise_values`` come from noise, the others from keys.

    :param plate_key: the key of the plates' subsamples; ``key`` if not given. :param state: the mutables.
    """
    with (
        cut(),
        trace() as sites,
        supply(data=state or {}),
        seed(rng_seed=key, plate_key=plate_key),
        noise(data=noise_values),
        label(role="guide"),
    ):
        guide(*args, **kwargs)
    return sites


def run_model(
    model: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    guide_trace: Mapping[str, Site],
    *,
    key: jax.Array,
    plate_key: jax.Array | None = None,
    state: Mapping[str, Any] | None = None,
) -> Trace:
    """Sites of the model, its latents and subsamples taken from the guide's; parameters as in ``run_guide``."""
    with (
        trace() as sites,
        supply(data=state or {}),
        seed(rng_seed=key, plate_key=plate_key),
        replay(trace=guide_trace),
        label(role="model"),
    ):
        model(*args, **kwargs)
    return sites


def mutable_state(*traces: Mapping[str, Site]) -> dict[str, Any]:
    """Last content of the mutables; later traces win."""
    return {s.name: s.value for sites in traces for s in sites.values() if isinstance(s, Mutable)}
