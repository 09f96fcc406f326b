"""Many learning rates in one compiled program, and the one to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from svijax.base import ArgumentError, NonFiniteError, align, as_key, message, number_cells, site_key
from svijax.objectives import check_count
from svijax.optim import as_transformation, is_rate

from ._chains import Chains
from ._hyperparams import check_rates, hyperparam_names, injected, with_values
from ._options import OPTIONS
from ._over_chains import losses_of_chains, other_arguments
from ._result import SVIRunResult
from ._status import Status

if TYPE_CHECKING:
    from ._svi import SVI

_OWN = ("num_chains", "chains", "init_state", "checkpoint")
_RATE = "learning_rate"
_ANY = 1e-3
"""The rate of the optimiser that a sweep is compiled for, whatever rates it then has."""


@dataclass(frozen=True, eq=False)
class SweepResult:
    """Learning rates side by side. ``print`` it: a table.

    ``rates``: ascending. ``elbo``: estimate of −loss at the end by rate, the mean over its chains; NaN where one of
    them became non-finite. ``elbo_error``: its standard error. ``behind``, ``behind_error``: how far it is below the
    highest, and the standard error of that difference: over draws, which all rates share, and over chains where
    there are several. ``index``: of the rate to take, the smallest that is behind by no more than one standard error.
    ``svi``: with that rate. ``fit``: the best chain of it. ``runs``: all of them, rate by rate.
    """

    rates: np.ndarray
    elbo: np.ndarray
    elbo_error: np.ndarray
    behind: np.ndarray
    behind_error: np.ndarray
    index: int
    held_out: bool
    svi: SVI
    fit: SVIRunResult
    runs: SVIRunResult

    @property
    def best(self) -> float:
        """The rate to take."""
        return float(self.rates[self.index])

    @property
    def words(self) -> str:
        """What was taken, and why."""
        where = "on held-out data" if self.held_out else "at the end of the run"
        top = float(self.rates[int(np.nanargmin(self.behind))])
        parts = [f"The rate {self.best:g}: "]
        if top == self.best:
            parts[0] += f"the highest ELBO {where}."
        else:
            parts[0] += (
                f"the smallest within one standard error of the highest ELBO {where}, that of {top:g}."
            )
        finite = np.flatnonzero(np.isfinite(self.elbo))
        if len(self.rates) > 1 and self.index == finite[-1] and finite[-1] == len(self.rates) - 1:
            parts.append("It is the largest that was tried: try larger ones too.")
        elif len(self.rates) > 1 and self.index == 0:
            parts.append("It is the smallest that was tried: try smaller ones too.")
        return " ".join(parts)

    def __str__(self) -> str:
        rows = []
        steps = np.asarray(self.runs.state.step).reshape(len(self.rates), -1)
        for i, rate in enumerate(self.rates):
            if not np.isfinite(self.elbo[i]):
                rows.append([f"{rate:g}", "", "", "", f"not finite at step {int(steps[i].min()):,}"])
                continue
            scale = max(float(self.elbo_error[i]), 1e-3)
            cells = number_cells([float(self.elbo[i]), float(self.elbo_error[i])], scale)
            scale = max(float(self.behind_error[i]), 1e-3)
            gap, error = number_cells([float(self.behind[i]), float(self.behind_error[i])], scale)
            note = "<- taken" if i == self.index else ""
            rows.append([f"{rate:g}", *cells, f"{gap} ± {error}" if self.behind[i] > 0 else "", note])
        table = align(["rate", "ELBO", "error", "behind", ""], rows)
        return f"{table}\n\n{self.words}"

    __repr__ = __str__


def lr_sweep(
    svi: SVI,
    rates: Any,
    rng_key: jax.Array,
    num_steps: int,
    *args: Any,
    num_chains_per_rate: int = 1,
    evaluate_on: Any = None,
    num_particles: int = 1000,
    optim: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> SweepResult:
    """Fit with each of several learning rates, in one compiled program, and take one by the ELBO that it ends with.

    The ELBO at the end of each is estimated with the same draws for all. The rate with the highest is the mark; taken
    is the smallest rate that is behind it by no more than one standard error of their difference. A rate of which a
    chain became non-finite is reported and never taken.

    :param svi: with a float as optimiser (the rate of Adam), or one with ``optax.inject_hyperparams``.
    :param rates: finite and greater than zero, in any order. :param args, kwargs: as of ``svi.run``, with its options.
    :param num_chains_per_rate: fits of each rate; their spread then counts as error too.
    :param evaluate_on: arguments of the model for held-out data: a tuple (or one array) in place of ``args``, a
        dictionary over keywords. Without it, and without a fit to batches, the data of the fit.
    :param optim: rate ↦ optimiser, such as ``optax.adam``; in place of that of ``svi``.
    :raises ArgumentError: a rate of zero, a negative, infinite or NaN one, one that is there twice; an optimiser whose
        rate cannot be set; an option that has no place here. :raises NonFiniteError: no rate ended well.
    """
    values, svi = _checked(svi, rates, optim, kwargs)
    check_count("num_chains_per_rate", num_chains_per_rate)
    check_count("num_particles", num_particles)
    options = {name: value for name, value in kwargs.items() if name in OPTIONS}
    if svi.is_traced(rng_key, args, kwargs):
        raise ArgumentError("lr_sweep compares fits on the host: call it outside of jit and vmap.")
    _check_evaluation(options.get("batches"), evaluate_on)
    lanes = np.repeat(values, num_chains_per_rate)
    runs = svi.run(rng_key, num_steps, *args, chains=Chains(len(lanes), hyperparams={_RATE: lanes}), **kwargs)
    if runs.call is None:
        raise ArgumentError("lr_sweep compares fits on the host: call it outside of jit and vmap.")
    key = site_key(as_key(rng_key), "sweep")
    data = other_arguments(runs.call, evaluate_on)
    losses = losses_of_chains(runs.call.svi, runs.state, *data, num_particles, key)
    failed = np.array([Status(int(s)).failed for s in runs.status]) | ~np.isfinite(losses).all(1)
    return _picked(runs.call.svi, values, runs, losses, failed, evaluate_on is not None)


def _picked(
    svi: SVI, rates: np.ndarray, runs: SVIRunResult, losses: np.ndarray, failed: np.ndarray, held_out: bool
) -> SweepResult:
    """The result, from evaluations of the loss, (chains, particles)."""
    losses = np.where(failed[:, None], np.nan, losses).reshape(len(rates), -1, losses.shape[-1])
    elbo = -losses.mean((1, 2))
    if not np.isfinite(elbo).any():
        raise NonFiniteError(
            message(
                "every rate of the sweep became non-finite.",
                got=", ".join(f"{rate:g}" for rate in rates),
                fix="try smaller rates; error.result.explain() says where it went wrong.",
            ),
            runs,
        )
    top = int(np.nanargmax(elbo))
    behind = elbo[top] - elbo
    error = _standard_error(losses - losses[top])
    index = int(np.flatnonzero(behind <= error)[0])
    one = runs.chain(index * losses.shape[1] + int(np.argmin(losses[index].mean(-1))))
    taken = _at_rate(svi, float(rates[index]))
    return SweepResult(
        rates=rates,
        elbo=elbo,
        elbo_error=_standard_error(losses),
        behind=behind,
        behind_error=error,
        index=index,
        held_out=held_out,
        svi=taken,
        fit=replace(one, call=None if one.call is None else replace(one.call, svi=taken)),
        runs=runs,
    )


def _standard_error(losses: np.ndarray) -> np.ndarray:
    """Of the mean of each (chains, particles): over particles, which the chains share, and over chains."""
    chains, particles = losses.shape[1:]
    total = np.zeros(len(losses))
    if particles > 1:
        total = total + losses.mean(1).var(-1, ddof=1) / particles
    if chains > 1:
        total = total + losses.mean(2).var(-1, ddof=1) / chains
    return np.sqrt(total)


def _checked(svi: SVI, rates: Any, optim: Any, kwargs: dict[str, Any]) -> tuple[np.ndarray, SVI]:
    """(the rates, ascending; the SVI with an optimiser whose rate can be set)."""
    given = [rates] if is_rate(rates) else rates
    if not isinstance(given, Sequence | np.ndarray | jax.Array) or isinstance(given, str):
        given = list(given)
    values = np.asarray(given, np.float64)
    if values.ndim != 1 or not values.size:
        raise ArgumentError(
            message("lr_sweep needs rates.", got=repr(rates), fix="such as [1e-3, 3e-3, 1e-2, 3e-2, 1e-1].")
        )
    check_rates("lr_sweep", values)
    if len(set(values.tolist())) < len(values):
        raise ArgumentError(
            message(
                "lr_sweep: a rate is there twice.",
                got=values.tolist(),
                fix="num_chains_per_rate= makes several fits of each.",
            )
        )
    for name in _OWN:
        if kwargs.get(name) is not None:
            raise ArgumentError(
                message(
                    f"lr_sweep has no place for {name}=: it makes the chains itself.",
                    fix="num_chains_per_rate= makes several fits of each rate."
                    if name in _OWN[:2]
                    else "sweep first, then go on with result.svi.run(...).",
                )
            )
    values = np.sort(values)
    return values, type(svi)(svi.model, svi.guide, _with_rate(svi.optim, optim), svi.objective)


def _with_rate(own: Any, make: Any) -> Any:
    """An optimiser whose rate can be set: of ``make``, if given, else the SVI's own."""
    if make is None and is_rate(own):
        return float(own)
    if make is not None:
        if not callable(make) or hasattr(make, "update"):
            raise ArgumentError(
                message(
                    "lr_sweep: optim is a function from the rate to an optimiser.",
                    got=repr(make),
                    fix="pass optax.adam, or lambda rate: optax.chain(optax.clip(1.0), optax.adam(rate)).",
                )
            )
        as_transformation(make(_ANY))
        return injected(make, _ANY)
    try:
        state = jax.eval_shape(as_transformation(own).init, {"x": jax.ShapeDtypeStruct((), np.float32)})
    except Exception:
        # It wants the true parameters: the run, which has them, says what is wrong.
        return own
    if _RATE not in hyperparam_names(state):
        raise ArgumentError(
            message(
                "lr_sweep cannot set the rate of this optimiser.",
                expected="a float (the rate of Adam), or an optimiser that has learning_rate in its state",
                got=sorted(hyperparam_names(state)) or "none that can be set",
                fix="lr_sweep(..., optim=optax.adam), or optax.inject_hyperparams(optax.adam)(learning_rate=1e-2).",
            )
        )
    return own


def _at_rate(svi: SVI, rate: float) -> SVI:
    """The same with the rate that its states begin with."""
    optim = as_transformation(svi.optim)
    return type(svi)(svi.model, svi.guide, optim._replace(init=_Begin(optim.init, rate)), svi.objective)


@dataclass(frozen=True)
class _Begin:
    """``init`` of an optimiser, at another rate; equal for equal ones."""

    init: Callable[[Any], Any]
    rate: float

    def __call__(self, params: Any) -> Any:
        return with_values(self.init(params), {_RATE: self.rate})


def _check_evaluation(batches: Any, evaluate_on: Any) -> None:
    if evaluate_on is not None or batches is None:
        return
    if not batches.in_memory or batches.transform is not None:
        raise ArgumentError(
            message(
                "lr_sweep cannot compare rates on data that are read or transformed batch by batch.",
                fix="pass evaluate_on=(...): the arguments of the model for data to compare on.",
            )
        )
