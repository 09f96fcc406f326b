"""Check a guide against a model, site by site, from their traces."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from svijax.base import ModelError, ShapeError, SupportError, message
from svijax.distributions import Delta
from svijax.effects import Sample, Site
from svijax.handlers import is_enumerated
from svijax.transforms import is_subset


def check_pair(
    model_trace: Mapping[str, Site], guide_trace: Mapping[str, Site], enumerates: bool = False
) -> None:
    """Raise unless the guide draws exactly the model's latents, in their shapes and supports.

    ``enumerates``: latents of the model that are marked to be enumerated need no guide site.

    :raises ModelError: a latent without a guide site, a guide site that the model lacks, an observed guide site,
        plates that differ. :raises ShapeError: event dims that differ. :raises SupportError: a guide site that
        can leave the support of the prior.
    """
    model = {s.name: s for s in model_trace.values() if isinstance(s, Sample)}
    guide = {s.name: s for s in guide_trace.values() if isinstance(s, Sample)}
    for site in model.values():
        if site.latent and site.name not in guide and not (enumerates and is_enumerated(site)):
            raise ModelError(_missing(site, [n for n in guide if n not in model]))
    for site in guide.values():
        if site.observed:
            raise ModelError(
                message(
                    f"guide site {site.name!r} is observed.",
                    plates=site.plates,
                    expected="draws of latents only",
                    got=f"an observation of shape {site.shape}",
                    fix="observe it in the model; a term of log q is stated with svijax.factor.",
                )
            )
        if not site.auxiliary or site.name in model:
            _check_site(site, model.get(site.name), model)


def _check_site(guide: Sample, model: Sample | None, all_model: Mapping[str, Sample]) -> None:
    if model is None or model.observed:
        raise ModelError(_stray(guide, model, [n for n, s in all_model.items() if s.latent]))
    if len(guide.fn.event_shape) != len(model.fn.event_shape):
        dims = len(model.fn.event_shape) - len(guide.fn.event_shape)
        raise ShapeError(
            message(
                f"guide site {guide.name!r}: its event has another number of dims than in the model.",
                plates=model.plates,
                expected=f"event shape {tuple(model.fn.event_shape)}",
                got=f"event shape {tuple(guide.fn.event_shape)}",
                fix=f"add .to_event({dims}) in the guide."
                if dims > 0
                else f"add .to_event({-dims}) in the model, or leave it out in the guide.",
            )
        )
    _check_plates(guide, model)
    if _is_point(guide.fn):
        return
    # As sets the integers lie inside the reals, but a mass is no density.
    same_kind = bool(guide.fn.support.is_discrete) == bool(model.fn.support.is_discrete)
    if not same_kind or is_subset(guide.fn.support, model.fn.support) is False:
        raise SupportError(
            message(
                f"guide site {guide.name!r} can leave the support of its prior.",
                plates=model.plates,
                expected=f"support inside {model.fn.support}",
                got=f"{type(guide.fn).__name__} with support {guide.fn.support}",
                fix=_support_remedy(model),
            )
        )


def _is_point(fn: Any) -> bool:
    """Whether the distribution is a point mass, wrapped or not."""
    while not isinstance(fn, Delta):
        fn = getattr(fn, "base_dist", None)
        if fn is None:
            return False
    return True


def _check_plates(guide: Sample, model: Sample) -> None:
    ours = {f.name: f for f in guide.plates}
    theirs = {f.name: f for f in model.plates}
    for name, frame in {**theirs, **ours}.items():
        both = name in ours and name in theirs
        if frame.subsampled and not both:
            lacking = "guide" if name in theirs else "model"
            raise ModelError(
                message(
                    f"guide site {guide.name!r}: plate {name!r} subsamples, and the {lacking} does not have it here.",
                    plates=model.plates,
                    expected=f"plates [{', '.join(map(str, model.plates))}]",
                    got=f"plates [{', '.join(map(str, guide.plates))}]",
                    fix=f"enter svijax.plate({name!r}, {frame.size}, {frame.subsample_size}) in the {lacking} too.",
                )
            )
        if both and ours[name].dim != theirs[name].dim:
            raise ModelError(
                message(
                    f"guide site {guide.name!r}: plate {name!r} lies at another dim than in the model.",
                    plates=model.plates,
                    expected=f"dim {theirs[name].dim}",
                    got=f"dim {ours[name].dim}",
                    fix=f"give the plate dim={theirs[name].dim} in the guide.",
                )
            )


def _missing(site: Sample, spare: list[str]) -> str:
    if is_enumerated(site):
        return message(
            f"model site {site.name!r} is marked to be enumerated, which this objective does not do, and the guide has "
            "no site of that name.",
            plates=site.plates,
            expected="an objective that sums it out, or a guide site",
            fix=f"use TraceEnum_ELBO(), or add svijax.sample({site.name!r}, ...) to the guide.",
        )
    near = difflib.get_close_matches(site.name, spare, n=1)
    hint = f"; did you mean it by the guide's {near[0]!r}?" if near else ""
    return message(
        f"model site {site.name!r} is latent, and the guide has no site of that name{hint or '.'}",
        plates=site.plates,
        expected=f"a guide site {site.name!r} of shape {site.shape}",
        got=f"guide sites {spare}" if spare else "none",
        fix=f"add svijax.sample({site.name!r}, ...) to the guide, observe it with obs=, or use "
        "svijax.guides.AutoNormal(model).",
    )


def _stray(guide: Sample, model: Sample | None, latents: list[str]) -> str:
    state = "observed in the model" if model is not None else "no site of the model"
    near = difflib.get_close_matches(guide.name, latents, n=1)
    hint = f"; did you mean {near[0]!r}?" if near and near[0] != guide.name else "."
    return message(
        f"guide site {guide.name!r} is {state}{hint}",
        plates=guide.plates,
        expected=f"one of the model's latents {latents}",
        got=repr(guide.name),
        fix="remove it, or mark a variable that only the guide has with infer={'is_auxiliary': True}.",
    )


def _support_remedy(model: Sample) -> str:
    if getattr(model.fn.support, "is_discrete", False):
        return "use a discrete distribution with the same support in the guide."
    return (
        "use a distribution with that support, or "
        "dist.TransformedDistribution(dist.Normal(loc, scale), dist.transforms.biject_to(prior.support))."
    )
