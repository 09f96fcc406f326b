"""Programs run after a fit: whole plates, fitted parameters, given latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, ShapeError, check_names, message, site_key
from svijax.density import Program, mutable_state, run_guide, run_model
from svijax.effects import (
    Deterministic,
    Handler,
    Mutable,
    Param,
    ParamGroup,
    PlateIndices,
    Sample,
    Site,
    no_handlers,
    where,
)
from svijax.handlers import Trace, join, supply


class whole_plates(Handler):
    """Every plate with all its elements: after the fit no minibatch is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.widened: list[str] = []

    def process(self, site: Site) -> Site:
        if isinstance(site, PlateIndices) and site.value is None and site.subsample_size < site.size:
            self.widened.append(site.name)
            return site.having(value=np.arange(site.size))
        return site

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        super().__exit__(kind, error, traceback)
        if isinstance(error, ShapeError) and self.widened:
            error.add_note(
                f"After a fit subsampled plates are run whole, here {sorted(set(self.widened))}: "
                "pass all the rows, or state plates of as many rows as you pass."
            )


class fitted(supply):
    """Fitted parameters and states by name; one that is missing, or has the shape of other data, is an error."""

    kinds = (Param, ParamGroup, Mutable)  # type: ignore[assignment]

    def fresh(self) -> fitted:
        return fitted(self.fn, self.data)

    def process(self, site: Site) -> Site:
        if isinstance(site, Param | ParamGroup) and site.value is not None:
            return site
        if isinstance(site, Mutable) and site.name not in (self.data or {}):
            raise ArgumentError(_no_state(site.name, self.data or {}))
        site = super().process(site)
        if isinstance(site, Param) and site.value is None and site.init is not None:
            raise ArgumentError(_missing(site.name, self.data or {}))
        if isinstance(site, ParamGroup):
            if site.value is None:
                raise ArgumentError(_missing(site.names[0], self.data or {}))
            for name, shape in zip(site.names, site.shapes, strict=True):
                _check_fitted_shape(name, jnp.shape((self.data or {})[name]), shape)
        elif isinstance(site, Param) and site.value is not None and not callable(site.init):
            _check_same_shapes(site)
        return site


def _missing(name: str, params: Mapping[str, Any]) -> str:
    return message(
        f"{where()} param {name!r} has no value in params.",
        expected="every parameter of the programs",
        got=list(params),
        fix="pass fit.params, or svi.get_params(state).",
    )


def _no_state(name: str, params: Mapping[str, Any]) -> str:
    return message(
        f"{where()} mutable {name!r} has no value in params, and its state at the start is not the fitted one.",
        expected="every parameter and mutable of the programs",
        got=list(params),
        fix="pass params={**fit.params, **fit.state.mutable}.",
    )


def _check_same_shapes(site: Param) -> None:
    start, value = jax.tree.leaves(site.init), jax.tree.leaves(site.value)
    if len(start) == len(value):
        for x, y in zip(start, value, strict=True):
            _check_fitted_shape(site.name, jnp.shape(y), jnp.shape(x))


def _check_fitted_shape(name: str, fitted_shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(fitted_shape) != tuple(wanted):
        raise ShapeError(
            message(
                f"{where()} param {name!r} was fitted for data of another shape.",
                expected=f"{tuple(wanted)} for these arguments",
                got=f"{tuple(fitted_shape)} in params",
                fix="parameters that belong to rows serve those rows only: leave their latents out of "
                "posterior_samples, so that they are drawn from the prior, or fit an amortised guide.",
            )
        )


class given(supply):
    """Values by name for latents and parameters; named ``what`` in messages. Unknown names are errors."""

    kinds = (Sample, Param, ParamGroup, Deterministic)  # type: ignore[assignment]

    def __init__(self, values: Mapping[str, Any], what: str, deterministic: bool = False) -> None:
        super().__init__(None, values)
        self.values = values
        self.what = what
        self.deterministic = deterministic

    def process(self, site: Site) -> Site:
        self.meet(site)
        if isinstance(site, ParamGroup):
            value = join(self.values, site)
            return site if value is None else site.having(value=value)
        if site.name not in self.values:
            return site
        value = self.values[site.name]
        if isinstance(site, Sample):
            self._check(site, value)
            return site.having(value=value, log_prob=None)
        if isinstance(site, Param) or (isinstance(site, Deterministic) and self.deterministic):
            return site.having(value=value)
        return site

    def finish(self) -> None:
        met = tuple(self._met)
        self._met.clear()
        check_names(self.values, met, self.what)

    def _check(self, site: Sample, value: Any) -> None:
        got, wanted = tuple(jnp.shape(value)), site.shape
        if got == wanted:
            return
        event_dim = len(site.fn.event_shape)
        other = [
            frame
            for frame in site.plates
            if len(got) == len(wanted) and got[frame.dim - event_dim] != wanted[frame.dim - event_dim]
        ]
        if other:
            names = ", ".join(repr(frame.name) for frame in other)
            raise ShapeError(
                message(
                    f"model site {site.name!r}: its draws in {self.what} have other rows than plate {names}.",
                    plates=site.plates,
                    expected=f"{wanted}, one draw",
                    got=got,
                    fix=f"predict for the rows that were fitted; or leave {site.name!r} out of "
                    "posterior_samples, and it is drawn from the prior given the other latents.",
                )
            )
        raise ShapeError(
            message(
                f"model site {site.name!r}: its draws in {self.what} have another shape than the site.",
                plates=site.plates,
                expected=f"{wanted}, one draw",
                got=got,
                fix="pass draws with one leading axis, the draws: (num_samples, *site shape).",
            )
        )


@contextmanager
def after_fit(params: Mapping[str, Any] | None) -> Iterator[None]:
    """Nobody outside hears, plates are whole, parameters are the fitted ones (None: the programs' own)."""
    with no_handlers(), whole_plates():
        if params is None:
            yield
        else:
            with fitted(data=params):
                yield


def guide_sites(
    guide: Program,
    params: Mapping[str, Any] | None,
    key: jax.Array,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    values: Mapping[str, Any] | None = None,
) -> Trace:
    """One run of the guide, latents in ``values`` set."""
    with after_fit(params):
        if values is None:
            return run_guide(guide, args, kwargs, key=key)
        with given(values, "draws"):
            return run_guide(guide, args, kwargs, key=key)


def model_sites(
    model: Program,
    params: Mapping[str, Any] | None,
    key: jax.Array,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    guide_trace: Mapping[str, Site],
) -> Trace:
    """One run of the model on the draws of the guide."""
    with after_fit(params):
        return run_model(
            model, args, kwargs, guide_trace, key=site_key(key, "model"), state=mutable_state(guide_trace)
        )


def over_draws(one: Callable[..., Any], xs: Any, num_samples: int, batch_size: int | None) -> Any:
    """``one(x)`` for each of the leading axis of ``xs``: at once, or ``batch_size`` at a time."""
    if batch_size is None or batch_size >= num_samples:
        return jax.vmap(one)(xs)
    return jax.lax.map(one, xs, batch_size=batch_size)


def draw_keys(key: jax.Array, num_samples: int) -> jax.Array:
    """A key for each draw; more draws change none of the earlier ones."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_samples))


def chosen(sites: Sequence[str] | None, names: Sequence[str], what: str) -> list[str]:
    """The names asked for, all by default.

    :raises UnknownNameError: one that there is not.
    """
    if sites is None:
        return list(names)
    check_names(sites, names, what)
    return [name for name in names if name in set(sites)]
