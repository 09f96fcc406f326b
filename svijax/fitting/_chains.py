"""What differs from chain to chain: arguments, starting values, hyperparameters of the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, is_array, message
from svijax.objectives import check_count

from ._hyperparams import check_hyperparam


@dataclass(frozen=True, eq=False)
class Chains:
    """``num`` fits in one program. Chain k is the single run with its data, start and hyperparameters, and the key
    ``jax.random.split(rng_key, num)[k]``.

    :param args: which axis of run's positional arguments holds the chains, as ``in_axes`` of ``jax.vmap``: None, an
        int for all, or one entry an argument: None, an int, or a pytree prefix of the argument.
    :param kwargs: the same by keyword; those that are left out are shared.
    :param init_params: an int, or a dictionary of axes by name: ``init_params`` of run has a chain axis there.
    :param hyperparams: values by name, one a chain, of what ``optax.inject_hyperparams`` holds, at every place in the
        optimiser that has the name. A float as optimiser has ``learning_rate``.
    :raises ArgumentError: not ``num`` values, or one that is not finite, or a learning rate that is not positive.
    """

    num: int
    args: Any = None
    kwargs: Mapping[str, Any] | None = None
    init_params: int | Mapping[str, Any] | None = None
    hyperparams: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_count("num", self.num)
        if self.hyperparams is not None and not isinstance(self.hyperparams, Mapping):
            raise ArgumentError(
                message(
                    "hyperparams of Chains are a dictionary.",
                    got=type(self.hyperparams).__name__,
                    fix='write {"learning_rate": rates}.',
                )
            )
        for name, values in (self.hyperparams or {}).items():
            check_hyperparam(name, values, self.num)

    @property
    def differs_in_data(self) -> bool:
        """Whether the chains have arguments of their own."""
        axes = (self.args, dict(self.kwargs or {}))
        return any(axis is not None for axis in jax.tree.leaves(axes, is_leaf=_is_none))

    def axes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | None, ...] | None:
        """The chain axis of each array that ``split_arguments(args, kwargs)`` finds; None if all are shared.

        :raises ArgumentError: axes that the arguments do not have, or not of ``num`` entries.
        """
        if not self.differs_in_data:
            return None
        found = [
            axis
            for where, prefix, value in self._arguments(args, kwargs)
            for axis, leaf in _leaf_axes(prefix, value, where, self.num)
            if is_array(leaf)
        ]
        return tuple(found)

    def start_axes(self, init_params: Mapping[str, Any] | None) -> dict[str, int | None]:
        """The chain axis of each starting value by name, as ``in_axes`` of ``jax.vmap``.

        :raises ArgumentError: a name without value, or a value without that axis.
        """
        given = dict(init_params or {})
        if self.init_params is None:
            return dict.fromkeys(given)
        if not given:
            raise ArgumentError(
                message(
                    "Chains(init_params=) says where starting values have their chains, and there are none.",
                    fix="pass the values to run: init_params={name: array with a chain axis}.",
                )
            )
        by_name = self.init_params if isinstance(self.init_params, Mapping) else None
        unknown = [] if by_name is None else [name for name in by_name if name not in given]
        if unknown:
            raise ArgumentError(
                message(
                    f"Chains(init_params=) names what run's init_params do not have: {unknown}.",
                    expected=list(given),
                    fix="give them starting values, or leave them out here.",
                )
            )
        out: dict[str, int | None] = {}
        for name, value in given.items():
            where = f"the starting value of {name!r}"
            asked = self.init_params if by_name is None else by_name.get(name)
            axis = _checked_axis(asked, where)
            _leaf_axes(axis, value, where, self.num)
            out[name] = axis
        return out

    def start_of(self, init_params: Mapping[str, Any] | None, index: int) -> dict[str, Any]:
        """The starting values of one chain."""
        axes = self.start_axes(init_params)
        return {name: _take(value, axes[name], index) for name, value in (init_params or {}).items()}

    def call_of(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of one chain."""
        leaves, structure = jax.tree.flatten((args, dict(kwargs)))
        axes = iter(self.axes(args, kwargs) or ())
        if self.differs_in_data:
            leaves = [_take(leaf, next(axes), index) if is_array(leaf) else leaf for leaf in leaves]
        return jax.tree.unflatten(structure, leaves)

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """(its words, its axes, its value) of each argument, in the order of their leaves."""
        prefixes = self._positional(len(args))
        given = dict(self.kwargs or {})
        unknown = [name for name in given if name not in kwargs]
        if unknown:
            raise ArgumentError(
                message(
                    f"Chains(kwargs=) names keywords that run was not given: {unknown}.",
                    expected=list(kwargs),
                    fix="name the keywords of this call; positional arguments belong to args=.",
                )
            )
        positional = [(f"argument {i}", axis, x) for i, (axis, x) in enumerate(zip(prefixes, args))]
        return positional + [(f"keyword {n!r}", given.get(n), kwargs[n]) for n in sorted(kwargs)]

    def _positional(self, count: int) -> tuple[Any, ...]:
        if self.args is None or _is_axis(self.args):
            return (self.args,) * count
        if isinstance(self.args, tuple | list) and len(self.args) == count:
            return tuple(self.args)
        raise ArgumentError(
            message(
                "Chains(args=) has not one entry for each positional argument of run.",
                expected=f"None, an int, or {count} entries",
                got=repr(self.args),
                fix="as in_axes of jax.vmap: an axis for what differs by chain, None for what is shared.",
            )
        )


def as_chains(num_chains: int | None, chains: Chains | None) -> Chains | None:
    """The chains asked for by either option of run; None for one fit.

    :raises ArgumentError: no ``Chains``, or both options and they differ.
    """
    if chains is None:
        if num_chains is None:
            return None
        check_count("num_chains", num_chains)
        return Chains(num_chains)
    if not isinstance(chains, Chains):
        raise ArgumentError(
            message(
                "chains= takes svijax.fitting.Chains.",
                got=repr(chains),
                fix=f"write num_chains={chains!r}." if isinstance(chains, int) else "write Chains(num, ...).",
            )
        )
    if num_chains is not None and num_chains != chains.num:
        raise ArgumentError(
            message(
                "num_chains and chains differ.",
                got=f"num_chains={num_chains}, Chains({chains.num})",
                fix="leave num_chains out.",
            )
        )
    return chains


def _leaf_axes(prefix: Any, value: Any, where: str, num: int) -> list[tuple[int | None, Any]]:
    """(chain axis, leaf) for each leaf of an argument."""
    leaves = jax.tree.leaves(value, is_leaf=_is_none)
    try:
        axes = jax.tree.leaves(jax.tree.broadcast(prefix, value, is_leaf=_is_none), is_leaf=_is_none)
    except ValueError as error:
        raise ArgumentError(
            message(
                f"Chains: the axes of {where} are no prefix of it.",
                expected=str(jax.tree.structure(value)),
                got=repr(prefix),
                fix="an int or None for the whole argument, or a tree of these of its structure.",
            )
        ) from error
    return [
        (_chain_axis(_checked_axis(axis, where), leaf, where, num), leaf)
        for axis, leaf in zip(axes, leaves, strict=True)
        if leaf is not None
    ]


def _chain_axis(axis: int | None, leaf: Any, where: str, num: int) -> int | None:
    """The axis, counted from the front, if the leaf has it and as many entries there as there are chains."""
    if axis is None:
        return None
    shape = np.shape(leaf) if is_array(leaf) else None
    if shape is None or not -len(shape) <= axis < len(shape):
        raise ArgumentError(
            message(
                f"Chains: {where} has no axis {axis} to hold the chains.",
                expected=f"an array with {num} entries along axis {axis}",
                got=f"{type(leaf).__name__} {leaf!r}" if shape is None else f"shape {shape}",
                fix="None for what all chains share; stack what differs by chain into one array.",
            )
        )
    if shape[axis] != num:
        raise ArgumentError(
            message(
                f"Chains: {where} has not as many entries along axis {axis} as there are chains.",
                expected=f"{num} chains",
                got=f"shape {shape}",
                fix=f"Chains({shape[axis]}, ...), another axis, or None if all chains share it.",
            )
        )
    return axis % len(shape)


def _checked_axis(axis: Any, where: str) -> int | None:
    if axis is None or _is_axis(axis):
        return axis
    raise ArgumentError(message(f"Chains: the axis of {where} is an int or None.", got=repr(axis)))


def _take(tree: Any, axis: int | None, index: int) -> Any:
    if axis is None:
        return tree
    return jax.tree.map(lambda x: jax.lax.index_in_dim(jnp.asarray(x), index, axis, keepdims=False), tree)


def _is_axis(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _is_none(x: Any) -> bool:
    return x is None
