"""Run a guide on given randomness, and a model on the guide's draws."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import constant
from svijax.effects import Handler, Mutable, Param, ParamGroup, Sample, Site, label
from svijax.handlers import Trace, noise, replay, seed, supply, trace

Program = Callable[..., Any]


def has_pathwise_gradient(site: Sample) -> bool:
    """Whether draws of the site carry derivatives in its parameters; where nobody says so, they do not."""
    return bool(getattr(site.fn, "has_rsample", False))


class cut(Handler):
    """Draws without pathwise gradients pass no gradient at all: theirs are score terms.

    :param pathwise: which latents have one. :param given: names whose values come from outside, and stay as they are.
    """

    sees_inside = True

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        pathwise: Callable[[Sample], bool] = has_pathwise_gradient,
        given: Collection[str] = (),
    ) -> None:
        super().__init__(fn)
        self.pathwise = pathwise
        self.given = given

    def post(self, site: Site) -> Site:
        if not isinstance(site, Sample) or site.observed or site.name in self.given or self.pathwise(site):
            return site
        # Where noise made the value its density is one of the noise, which is no function of a value held fixed.
        density = None if has_pathwise_gradient(site) else site.log_prob
        return site.having(value=jax.lax.stop_gradient(site.value), log_prob=density)


class detach_params(Handler):
    """Parameters are read as constants: their first derivatives are 0, and second ones a ``DerivativeError``.

    :param reason: what that error says.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        reason: str = "an estimator that holds parameters fixed in log q (PathDerivative, DReG) has no second "
        "derivative; leave the estimator out for Hessians.",
    ) -> None:
        super().__init__(fn)
        self.reason = reason

    def post(self, site: Site) -> Site:
        if isinstance(site, Param | ParamGroup) and site.value is not None:
            return site.having(value=jax.tree.map(self._detached, site.value))
        return site

    def _detached(self, leaf: Any) -> Any:
        return constant(leaf, self.reason) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) else leaf


def run_guide(
    guide: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    key: jax.Array,
    plate_key: jax.Array | None = None,
    noise_values: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    pathwise: Callable[[Sample], bool] = has_pathwise_gradient,
) -> Trace:
    """Sites of the guide. Latents in ``noise_values`` come from noise, the others from keys.

    :param plate_key: the key of the plates' subsamples; ``key`` if not given. :param state: the mutables.
    :param values: in the place of draws, by name. :param pathwise: which draws pass gradients to the parameters.
    """
    given = values or {}
    with (
        cut(pathwise=pathwise, given=given.keys()),
        trace() as sites,
        supply(data={**(state or {}), **given}),
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
