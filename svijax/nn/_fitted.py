"""Modules out of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.fitting import SVIRunResult, SVIState

from . import _equinox, _nnx
from ._kinds import EQUINOX, LINEN, NNX, kind_of
from ._network import params_name, state_name
from ._paths import by_path, filled, nested


def get_module(
    name: str,
    module: Any,
    fit: Any,
    *,
    latents: Mapping[str, Any] | None = None,
    state: Any = None,
    scope_divider: str = "/",
) -> Any:
    """The network ``name`` at the fitted parameters, as an object of its own package.

    An nnx module gives a new nnx module, with its carried state; an equinox module one of its kind, or
    (module, state) if its ``eqx.nn.State`` is given too; a linen module a bound one (``.variables``, ``.unbind()``); a
    pytree of weights another of the same structure.

    :param module: the module that was fitted, at whatever values.
    :param fit: the result of a run, a state, or parameters by site name (then without the carried state).
    :param latents: of weights with a prior: one draw or the mean, by site name: ``fit.posterior.mean()``, say.
    :raises ArgumentError: a weight has no value. :raises ShapeError: one of another shape.
    """
    params, carried = _sources(fit, name)
    values = _weights(name, params, latents or {}, scope_divider)
    held = carried.get(state_name(name))
    kind, title = kind_of(module), f"network {name!r}"
    if kind == NNX:
        parts = _nnx.taken_apart(module, title)
        weights = filled(parts.params, values, title)
        after = parts.state if held is None else filled(parts.state, by_path(held), f"{title}, state")
        return parts.whole(weights, after, None)
    if kind == EQUINOX:
        return _equinox_module(module, values, held, state, title)
    if kind == LINEN:
        tree = nested({tuple(path.split(".")): leaf for path, leaf in values.items()})
        return module.bind({"params": tree, **(held or {})})
    return filled(module, values, title)


def _equinox_module(module: Any, values: dict[str, Any], held: Any, state: Any, title: str) -> Any:
    import equinox as eqx

    _, arrays, rest = _equinox.taken_apart(module, state is not None, title)
    whole = eqx.combine(filled(arrays, values, title), rest)
    if state is None:
        return whole
    return whole, state if held is None else _equinox.unpacked(state, held)


def _sources(fit: Any, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(parameters by name, carried state by name)."""
    state = fit.state if isinstance(fit, SVIRunResult) else fit
    if isinstance(state, SVIState):
        if jnp.ndim(state.step):
            raise ArgumentError(
                message(
                    f"network {name!r}: this is a fit of several chains, each with weights of its own.",
                    got=f"{jnp.shape(state.step)[0]} chains",
                    fix="take one: fit.best(), or fit.chain(k).",
                )
            )
        return state.params, state.mutable
    if isinstance(fit, Mapping):
        return fit, fit
    raise ArgumentError(
        message(
            f"network {name!r}: weights are found in the result of a run, in a state, or in parameters by name.",
            got=type(fit).__name__,
        )
    )


def _weights(
    name: str, params: Mapping[str, Any], latents: Mapping[str, Any], divider: str
) -> dict[str, Any]:
    """The values by dotted path, of parameters and of latents."""
    found = by_path(params.get(params_name(name), {}))
    prefix = f"{name}{divider}"
    found.update({key.removeprefix(prefix): x for key, x in latents.items() if key.startswith(prefix)})
    if not found:
        raise ArgumentError(
            message(
                f"network {name!r}: the fit has no weights of it.",
                expected=f"a param {params_name(name)!r}, or latents {prefix + '...'!r}",
                got=f"params {list(params)}, latents {list(latents)}",
                fix="give the name under which it was stated; weights with a prior come in latents=.",
            )
        )
    return found
