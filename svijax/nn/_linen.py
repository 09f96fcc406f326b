"""Modules of flax linen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, message
from svijax.effects import prng_key

from ._network import Network, init_key, state, weights, what
from ._priors import Prior


def flax_module(
    name: str,
    nn_module: Any,
    *args: Any,
    input_shape: tuple[int, ...] | None = None,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
    **kwargs: Any,
) -> Network:
    """A flax linen module whose parameters are one param ``{name}$params``: ``net(x)`` is ``nn_module.apply``.

    :param args, kwargs: arguments of ``nn_module.init``; or ``input_shape``, of an array of ones in their place.
    :param apply_rng: kinds of random streams, ["dropout"]: each call draws their keys with ``svijax.prng_key()``,
        unless it is given ``rngs=``.
    :param mutable: the collections of variables besides the parameters, ["batch_stats"]. They are carried from step
        to step under ``{name}$state``; with several particles the first one's are kept.
    :raises ArgumentError: it is no linen module, or has other collections than ``mutable`` says.
    """
    made = initialiser(nn_module, args, kwargs, input_shape, apply_rng, mutable, what(name))
    return _bound(name, nn_module, made, weights(name, lambda key: made(key)[0]), apply_rng, mutable)


def random_flax_module(
    name: str,
    nn_module: Any,
    prior: Prior,
    *args: Any,
    input_shape: tuple[int, ...] | None = None,
    apply_rng: Sequence[str] | None = None,
    mutable: Sequence[str] | None = None,
    scope_divider: str = "/",
    **kwargs: Any,
) -> Network:
    """``flax_module`` with a prior over parameters: w_path ~ prior, latents named ``{name}/{path}``.

    Paths are dotted, "Dense_0.kernel". ``prior``: as of ``random_functional_module``.
    """
    made = initialiser(nn_module, args, kwargs, input_shape, apply_rng, mutable, what(name))
    params = weights(name, lambda key: made(key)[0], prior, scope_divider)
    return _bound(name, nn_module, made, params, apply_rng, mutable)


def initialiser(
    nn_module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    input_shape: tuple[int, ...] | None,
    apply_rng: Sequence[str] | None,
    mutable: Sequence[str] | None,
    what: str,
) -> Callable[[jax.Array], tuple[Any, dict[str, Any]]]:
    """key ↦ (parameters, other collections).

    :raises ArgumentError: it is no linen module; the collections are not those of ``mutable``.
    """
    from flax import linen

    if not isinstance(nn_module, linen.Module):
        raise ArgumentError(
            message(
                f"{what}: this is no module of flax linen.",
                expected="an instance of flax.linen.Module",
                got=repr(nn_module)
                if isinstance(nn_module, type)
                else f"{type(nn_module).__module__}.{type(nn_module).__name__}",
                fix="make it: Net(...); for flax nnx use nnx_module, for equinox eqx_module.",
            )
        )
    kinds = _names(apply_rng, "apply_rng", what)
    collections = _names(mutable, "mutable", what)

    def init(key: jax.Array) -> tuple[Any, dict[str, Any]]:
        inputs = args if input_shape is None else (jnp.ones(input_shape),)
        keys = jax.random.split(key, 1 + len(kinds)) if kinds else [key]
        streams = dict(zip(("params", *kinds), keys))
        variables = dict(nn_module.init(streams, *inputs, **kwargs))
        params = variables.pop("params", {})
        if set(variables) != set(collections):
            raise ArgumentError(
                message(
                    f"{what}: mutable= does not name the collections that the module has besides its parameters.",
                    expected=sorted(variables),
                    got=sorted(collections),
                    fix=f"pass mutable={sorted(variables)}." if variables else "leave mutable= out.",
                )
            )
        return params, variables

    return init


def _bound(
    name: str,
    nn_module: Any,
    init: Callable[[jax.Array], tuple[Any, dict[str, Any]]],
    params: Any,
    apply_rng: Sequence[str] | None,
    mutable: Sequence[str] | None,
) -> Network:
    def streams(given: Any) -> dict[str, Any]:
        if given is not None:
            return {"rngs": given}
        key = prng_key() if apply_rng else None
        return (
            {}
            if key is None
            else {"rngs": dict(zip(apply_rng or (), jax.random.split(key, len(apply_rng or ()))))}
        )

    def apply(params: Any, *args: Any, rngs: Any = None, **kwargs: Any) -> Any:
        return nn_module.apply({"params": params}, *args, **streams(rngs), **kwargs)

    def apply_with_state(
        params: Any, held: Any, *args: Any, rngs: Any = None, **kwargs: Any
    ) -> tuple[Any, Any]:
        variables = {"params": params, **held}
        output, after = nn_module.apply(variables, *args, mutable=list(held), **streams(rngs), **kwargs)
        return output, {**held, **after}

    if not mutable:
        return Network(params, apply)
    return Network(params, apply_with_state, state(name, lambda: init(init_key(name))[1]))


def _names(given: Sequence[str] | None, option: str, what: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ArgumentError(
            message(
                f"{what}: {option}= is a list of names.", got=repr(given), fix=f"write {option}=[{given!r}]."
            )
        )
    return tuple(given or ())
