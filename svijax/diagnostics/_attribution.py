"""Which parameters belong to which latent of a guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import FreeParams, join_arguments
from svijax.density import bind, draw, run_guide
from svijax.effects import Sample
from svijax.fitting import SVI, SVIState

from ._gradient_moments import by_leaf


def parameters_of_sites(
    svi: SVI, state: SVIState, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """By latent of the guide, the parameters that its distribution reads and no other latent's.

    Its distribution given the draws before it; of a slice of a shared vector, its law. Read off ∂ log q / ∂ parameter
    at one draw: 0 where it is not read.
    """
    function, arrays = svi.table_entry(
        "attribution", args, kwargs, lambda static: _reader(svi, static), state
    )
    touched = {
        site: {name for name, hit in hits.items() if bool(hit)}
        for site, hits in function(state, arrays).items()
    }
    out = {}
    for site, names in touched.items():
        others = set().union(*(found for other, found in touched.items() if other != site))
        own = tuple(name for name in by_leaf(state.free) if name in names - others)
        if own:
            out[site] = own
    return out


def _reader(svi: SVI, static: Any) -> Callable[..., Any]:
    def touched(state: SVIState, arrays: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
        problem = svi.problem().on(state, *join_arguments(arrays, static))
        layout = problem.noise
        draws = draw(state.key, layout, 1)
        noise = layout.split(draws.normal[0], draws.uniform[0])

        def guide(free: FreeParams, values: Mapping[str, Any] | None = None) -> Any:
            bound = bind(svi.guide, free)
            return run_guide(
                bound,
                problem.args,
                problem.kwargs,
                key=state.key,
                noise_values=noise,
                state=state.mutable,
                values=values,
            )

        trace = guide(state.free)
        values = {s.name: s.value for s in trace.values() if isinstance(s, Sample) and not s.observed}
        drawn = {name: values[name] for name in (*layout.names, *layout.keyed)}

        def densities(free: FreeParams) -> dict[str, Any]:
            again = guide(free, drawn)
            return {
                s.name: jnp.sum(_distribution(s).log_prob(jax.lax.stop_gradient(values[s.name])))
                for s in again.values()
                if isinstance(s, Sample) and s.latent and not s.infer.get("is_auxiliary")
            }

        gradients = jax.jacrev(densities)(state.free)
        return {
            site: {name: jnp.any(leaf != 0) for name, leaf in by_leaf(gradient).items()}
            for site, gradient in gradients.items()
        }

    return jax.jit(touched)


def _distribution(site: Sample) -> Any:
    return site.fn if site.law is None else site.law.distribution()
