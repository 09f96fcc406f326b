"""How good the gradient estimators are at a state of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import jax
import numpy as np

from svijax.base import ArgumentError, as_key, message, name_hash
from svijax.fitting import SVI, SVIState
from svijax.objectives import Estimator, check_count

from ._attribution import parameters_of_sites
from ._gradient_moments import LOSS, Moments, gradient_moments
from ._gradient_record import EstimatorGradients, Gradient, GradientReport

_SAME_LOSS = 5.0
"""Standard errors by which the losses of two estimators of one objective may differ."""


def gradient_report(
    svi: SVI,
    state: SVIState,
    *args: Any,
    num_samples: int = 1000,
    estimators: Any = None,
    key: jax.Array | None = None,
    reference: Any = None,
    batch_size: int = 50,
    **kwargs: Any,
) -> GradientReport:
    """Mean, variance, signal to noise and bias of the gradient at a state: of the objective of ``svi``, and of others.

    Randomness is that of a step: draws of the guide and of minibatches. Each estimator is one compiled program and gets
    its own draws; baselines that remember run for 100 evaluations at the state first.

    :param estimators: a list of estimators (each put into the objective of ``svi``), of dictionaries of them by site
        name, and of whole objectives; or a dictionary of those by label.
    :param key: by default one that follows from the state.
    :param reference: an estimator or objective whose mean is right, ``TraceEnum_ELBO()`` say, for the bias of all the
        others. By default each is compared with that of the others with the same loss which has the least variance:
        where a report has three or more, the one that all others differ from is the wrong one.
    :param batch_size: gradients that are in memory at once.
    :raises ArgumentError: something that is no estimator; an objective that takes none; inside ``jit`` or ``vmap``.
    :raises ModelError: an estimator that cannot be used at a site that it is named for.
    """
    _check(svi)
    check_count("num_samples", num_samples)
    check_count("batch_size", batch_size)
    if num_samples < 2:
        raise ArgumentError(message("one gradient has no variance.", got="num_samples=1", fix="take 1000."))
    if svi.is_traced(key, state, args, kwargs):
        raise ArgumentError(
            message(
                "gradient_report measures on the host, and inside jit or vmap there is none.",
                fix="call it outside of them, with a state that is not traced.",
            )
        )
    chosen = _by_label(svi, estimators)
    trusted = None if reference is None else _objective(svi, reference, "reference")
    svi.check_state(state, args, kwargs)
    key = jax.random.fold_in(state.key, 2**31 - 2) if key is None else as_key(key)

    def moments(objective: Any, label: str) -> Moments:
        one = SVI(svi.model, svi.guide, svi.optim, objective)
        size = min(batch_size, num_samples)
        return gradient_moments(one, state, args, kwargs, key, name_hash(label), num_samples, size)

    found = {label: moments(objective, label) for label, objective in chosen.items()}
    standard = None if trusted is None else moments(trusted, "the reference")
    sites = parameters_of_sites(svi, state, args, kwargs)
    report = {}
    for label, own in found.items():
        if standard is None:
            name, other = _best_of_others(found, label)
        else:
            name, other = describe(reference), standard
        report[label] = _record(label, chosen[label], own, sites, name, other, standard is not None)
    return GradientReport(report, num_samples, int(state.step))


def describe(thing: Any) -> str:
    """The expression that makes an objective or estimator, without the arguments that are defaults."""
    if isinstance(thing, tuple) and thing and all(isinstance(x, tuple) and len(x) == 2 for x in thing):
        return describe(dict(thing))
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in thing.items()) + "}"
    if not is_dataclass(thing) or isinstance(thing, type):
        name = getattr(thing, "__name__", None)
        if isinstance(name, str):
            return name
        return "..." if isinstance(thing, jax.Array | np.ndarray) and thing.ndim else repr(thing)
    said = []
    for i, field in enumerate(fields(thing)):
        value = getattr(thing, field.name)
        if not _is_default(value, field.default):
            word = "" if i == 0 and is_dataclass(value) else f"{field.name}="
            said.append(f"{word}{describe(value)}")
    return f"{type(thing).__name__}({', '.join(said)})"


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and np.ndim(value) == 0 and bool(value == default)


def _check(svi: Any) -> None:
    if not isinstance(svi, SVI):
        raise ArgumentError(
            message("gradient_report: the first argument must be an SVI.", got=type(svi).__name__)
        )


def _by_label(svi: SVI, estimators: Any) -> dict[str, Any]:
    """Objectives by label, that of ``svi`` first."""
    if isinstance(estimators, Mapping):
        asked = {str(label): _objective(svi, x, f"estimators[{label!r}]") for label, x in estimators.items()}
    elif isinstance(estimators, Sequence) and not isinstance(estimators, str):
        asked = {}
        for i, x in enumerate(estimators):
            label, count = describe(x), 2
            while label in asked:
                label, count = f"{describe(x)} ({count})", count + 1
            asked[label] = _objective(svi, x, f"estimators[{i}]")
    elif estimators is None:
        asked = {}
    else:
        raise ArgumentError(
            message(
                "gradient_report: estimators must be a list, or a dictionary by label.",
                got=type(estimators).__name__,
                fix=f"write estimators=[{describe(estimators)}].",
            )
        )
    if any(objective == svi.objective for objective in asked.values()):
        return asked
    own = describe(svi.objective)
    return {own if own not in asked else f"{own} of the fit": svi.objective, **asked}


def _objective(svi: SVI, thing: Any, what: str) -> Any:
    """The objective that an estimator, a dictionary of them, or an objective stands for."""
    if isinstance(thing, Estimator | Mapping):
        names = [f.name for f in fields(svi.objective)] if is_dataclass(svi.objective) else []
        if "estimator" not in names:
            raise ArgumentError(
                message(
                    f"gradient_report: {what} is an estimator, and the objective of this SVI takes none.",
                    got=f"{describe(thing)} for {describe(svi.objective)}",
                    fix="list whole objectives, Trace_ELBO(estimator=...).",
                )
            )
        return replace(svi.objective, estimator=thing)
    if isinstance(thing, type) or not (callable(thing) or hasattr(thing, "loss")):
        raise ArgumentError(
            message(
                f"gradient_report: {what} is neither an estimator nor an objective.",
                got=repr(thing),
                fix=f"write {thing.__name__}()." if isinstance(thing, type) else None,
            )
        )
    return thing


def _best_of_others(found: Mapping[str, Moments], label: str) -> tuple[str | None, Moments | None]:
    """The estimator with the least variance among the others that have the same loss."""
    own = found[label].by_name[LOSS]
    others = {
        name: m
        for name, m in found.items()
        if name != label and abs(own.against(m.by_name[LOSS])) <= _SAME_LOSS
    }
    if not others:
        return None, None
    best = min(others, key=lambda name: sum(g.total_variance for g in _gradients(others[name]).values()))
    return best, others[best]


def _gradients(moments: Moments) -> dict[str, Gradient]:
    return {name: g for name, g in moments.by_name.items() if name != LOSS}


def _record(
    label: str,
    objective: Any,
    own: Moments,
    sites: Mapping[str, tuple[str, ...]],
    reference: str | None,
    other: Moments | None,
    given: bool,
) -> EstimatorGradients:
    params, loss = _gradients(own), own.by_name[LOSS]
    if other is not None:
        params = {name: replace(g, z=g.against(other.by_name[name])) for name, g in params.items()}
    record = EstimatorGradients(
        label=label,
        objective=objective,
        params=params,
        sites=sites,
        loss=float(loss.mean),
        loss_error=float(loss.error),
        seconds=own.seconds,
        num_samples=loss.count,
        num_nonfinite=own.bad,
        reference=reference,
        given_reference=given,
    )
    return record if other is None else replace(record, resolution=_resolution(own, other, record.limit))


def _resolution(own: Moments, other: Moments, limit: float) -> float:
    """The smallest b such that a gradient of 1 + b times the reference's would be seen at some element."""
    clearest = 0.0
    for name, g in _gradients(other).items():
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.abs(g.mean) / own.by_name[name].gap_error(g)
        clearest = max(clearest, float(np.max(np.nan_to_num(share, nan=0.0), initial=0.0)))
    return limit / clearest if clearest else np.inf
