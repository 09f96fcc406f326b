"""Compute in fewer bits than parameters and log densities have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from svijax.base import ArgumentError, ModelError, cast, message
from svijax.effects import Factor, Handler, Param, Sample, Site, is_innermost, where


class compute(Handler):
    """The program computes in ``dtype``; parameters, draws and log densities stay in single precision.

    Inside it ``param`` and ``sample`` return values in ``dtype``, and floating arguments arrive in it, so that the
    layers of a network multiply in it. The parameters of every distribution are brought back to the default float
    dtype: draws are made, recorded and scored there, and sums of log densities and factors too. The derivative of a
    cast is a cast, so gradients arrive in the dtype of the parameters.

    Use it around the model, the guide, or both: ``SVI(compute(model), compute(guide), optim)``. The innermost of
    several holds; ``with compute(dtype=None):`` leaves what is stated inside as it is, for parameters that go straight
    into a distribution. Autoguides do so by themselves: their locations and scales are never rounded. Mutable state
    keeps its dtype. An observation that is an argument itself is scored as it came. In ``jax.lax`` loops that the
    program writes, carries must keep their dtype as always.

    :param dtype: bfloat16, float16, float32, or None. float16 needs a loss scale (``optax``) for small gradients.
    :param keep: arguments that are not cast, by name or position: data of which some function is observed.
    :raises ArgumentError: a dtype that is none of floats, or an argument in ``keep`` that ``fn`` has not.
    :raises ModelError: an observation that was computed in fewer bits, or a distribution with such parameters inside
        ``scan`` or ``cond``, where the handler must stand in the body.
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        dtype: Any = jnp.bfloat16,
        keep: Collection[str | int] = (),
    ) -> None:
        super().__init__(fn)
        self.dtype: Any = None if dtype is None else _float_dtype(dtype)
        self.keep = tuple(keep) if not isinstance(keep, str | int) else (keep,)
        self._given: dict[int, tuple[Any, Any]] = {}

    def fresh(self) -> compute:
        return compute(self.fn, self.dtype, self.keep)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fn is None or self.dtype is None or getattr(self.fn, "keeps_dtype", False):
            return super().__call__(*args, **kwargs)
        call = self.fresh()
        with call:
            return self.fn(*call._cast_arguments(args), **call._cast_keywords(kwargs))

    def process(self, site: Site) -> Site:
        if self.dtype is None or not is_innermost(self):
            return site
        if isinstance(site, Factor):
            return site.having(value=_widened(site.value))
        return self._scored(site) if isinstance(site, Sample) else site

    def post(self, site: Site) -> Site:
        if isinstance(site, Sample | Param) and self.dtype is not None and is_innermost(self):
            return site.having(value=jax.tree.map(self._narrowed, site.value))
        return site

    def _scored(self, site: Sample) -> Sample:
        """The site with its distribution in the default dtype, and an observation as it was before its cast."""
        fn = jax.tree.map(_widened, site.fn)
        if (site.ahead or site.steps) and _narrow_leaves(site.fn):
            raise ModelError(
                message(
                    f"{where()} site {site.name!r}: compute cannot reach the distributions inside scan and cond.",
                    expected="parameters in the default float dtype",
                    got=_narrow_leaves(site.fn)[0],
                    fix="write `with svijax.handlers.compute(dtype=...):` in the body too, around its statements.",
                )
            )
        expanded = None if site.expanded is None else (fn, jax.tree.map(_widened, site.stated))
        value = self._original(site.name, site.value) if site.observed else site.value
        return site.having(fn=fn, expanded=expanded, value=value)

    def _original(self, name: str, value: Any) -> Any:
        """The observation as it was before its cast."""
        if id(value) in self._given:
            return self._given[id(value)][1]
        if _is_narrow(value) and value.dtype == self.dtype:
            raise ModelError(
                message(
                    f"{where()} site {name!r}: its observation was computed in {self.dtype.name} and lost digits.",
                    expected="an argument of the program as it is, or one that was not cast",
                    got=f"{value.dtype} {value.shape}",
                    fix='name the argument that it comes from: compute(fn, keep=("y",)).',
                )
            )
        return value

    def _narrowed(self, leaf: Any) -> Any:
        """The leaf in the handler's dtype if it is a wider float."""
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize <= self.dtype.itemsize:
            return leaf
        # A JAX array: numpy multiplies bfloat16 in single precision.
        return cast(jnp.asarray(leaf), self.dtype)

    def _remembered(self, leaf: Any) -> Any:
        narrow = self._narrowed(leaf)
        # Both are held, so that no other object gets this id.
        self._given[id(narrow)] = (narrow, leaf)
        return narrow

    def _cast_arguments(self, args: tuple[Any, ...]) -> list[Any]:
        kept = self._kept()
        return [x if i in kept else jax.tree.map(self._remembered, x) for i, x in enumerate(args)]

    def _cast_keywords(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: x if name in self.keep else jax.tree.map(self._remembered, x) for name, x in kwargs.items()
        }

    def _kept(self) -> set[int]:
        """Positions of the arguments that are not cast."""
        if not self.keep or self.fn is None:
            return set()
        parameters = inspect.signature(self.fn).parameters
        names, kinds = list(parameters), {p.kind for p in parameters.values()}
        for k in self.keep:
            is_open = (
                inspect.Parameter.VAR_KEYWORD if isinstance(k, str) else inspect.Parameter.VAR_POSITIONAL
            )
            if is_open not in kinds and k not in names and k not in range(len(names)):
                raise ArgumentError(
                    message(
                        f"compute: keep names {k!r}, which is no argument of the program.",
                        expected=f"some of {names}, or positions",
                    )
                )
        return {
            names.index(k) if isinstance(k, str) else k for k in self.keep if k in names or isinstance(k, int)
        }


def _float_dtype(dtype: Any) -> Any:
    found = jnp.dtype(dtype)
    if not jnp.issubdtype(found, jnp.floating):
        raise ArgumentError(
            message("compute: dtype must be one of floats.", expected="jnp.bfloat16, or None", got=found)
        )
    return found


def _is_narrow(leaf: Any) -> bool:
    """Whether the leaf is a float of fewer bits than the default."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return False
    return bool(dtype.itemsize < jnp.result_type(float).itemsize)


def _widened(leaf: Any) -> Any:
    return cast(leaf, jnp.result_type(float)) if _is_narrow(leaf) else leaf


def _narrow_leaves(fn: Any) -> list[Any]:
    return [leaf.dtype for leaf in jax.tree.leaves(fn) if _is_narrow(leaf)]
