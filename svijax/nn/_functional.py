"""A network from its two functions: what makes the weights, and what applies them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ._network import Network, state, weights
from ._priors import Prior


def functional_module(
    name: str, init: Any, apply: Callable[..., Any], *, state: Mapping[str, Any] | None = None
) -> Network:
    """A network of any kind: y = apply(params, x), with all the weights in one param ``{name}$params``.

    :param init: the weights at the start, any pytree; or a function of a key that makes them.
    :param apply: (params, *args, **kwargs) ↦ output; with a state (params, state, *args, **kwargs) ↦ (output, new
        state). Pure.
    :param state: a dictionary of arrays that is carried from step to step under ``{name}$state`` without being
        optimised: running statistics, say. With several particles the first one's is kept.
    :raises ModelError: at a call, if the state changes its entries or shapes.
    """
    return _bound(name, weights(name, init), apply, state)


def random_functional_module(
    name: str,
    init: Any,
    apply: Callable[..., Any],
    prior: Prior,
    *,
    state: Mapping[str, Any] | None = None,
    scope_divider: str = "/",
) -> Network:
    """``functional_module`` with a prior over weights: w_path ~ prior, latents named ``{name}/{path}``.

    :param prior: a distribution for every weight; a dictionary by dotted path ("layers.0.kernel") or pattern
        ("*.kernel"; the first that matches wins; None leaves the weight a parameter); or a function of (path, shape)
        that returns a distribution or None. One for a single number is expanded to the weight's shape. Weights
        without a prior stay in the param ``{name}$params``.
    :raises UnknownNameError: a pattern that matches no weight. :raises ShapeError: a prior that does not fit.
    :raises ModelError: stated inside a plate.
    """
    return _bound(name, weights(name, init, prior, scope_divider), apply, state)


def _bound(name: str, params: Any, apply: Callable[..., Any], start: Mapping[str, Any] | None) -> Network:
    if start is None:
        return Network(params, apply)
    return Network(params, apply, state(name, lambda: jax.tree.map(jnp.asarray, dict(start))))
