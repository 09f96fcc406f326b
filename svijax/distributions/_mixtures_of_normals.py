"""Mixtures of normal vectors with independent entries, under Pyro's names; draws have derivatives in all parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from svijax.base import ShapeError, as_array, message

from ._categorical import Categorical
from ._mixture import MixtureSameFamily
from ._normal import Normal


class _MixtureOfNormals(MixtureSameFamily):
    def _set(self, locs: Any, scales: Any, component_logits: Any, validate_args: bool | None) -> None:
        components = Normal(locs, scales, validate_args=validate_args).to_event(1)
        super().__init__(
            Categorical(logits=component_logits, validate_args=validate_args),
            components,
            validate_args=validate_args,
        )

    def _need(self, **axes: tuple[Any, int]) -> None:
        for name, (value, least) in axes.items():
            if np.ndim(value) < least:
                noun = "axis" if least == 1 else "axes"
                raise ShapeError(
                    message(
                        f"{type(self).__name__}: parameter {name!r} needs at least {least} {noun}.",
                        got=f"shape {np.shape(value)}",
                    )
                )


class MixtureOfDiagNormals(_MixtureOfNormals):
    """p(x) = sum_k w_k prod_d N(x_d; locs_kd, coord_scale_kd), w = softmax(component_logits).

    locs and coord_scale (…, K, D), component_logits (…, K).
    """

    def __init__(
        self, locs: Any, coord_scale: Any, component_logits: Any, *, validate_args: bool | None = None
    ) -> None:
        locs, coord_scale = as_array(locs), as_array(coord_scale)
        self._need(locs=(locs, 2), coord_scale=(coord_scale, 2))
        self._set(locs, coord_scale, component_logits, validate_args)


class MixtureOfDiagNormalsSharedCovariance(_MixtureOfNormals):
    """p(x) = sum_k w_k prod_d N(x_d; locs_kd, coord_scale_d), w = softmax(component_logits).

    locs (…, K, D), coord_scale (…, D), component_logits (…, K).
    """

    def __init__(
        self, locs: Any, coord_scale: Any, component_logits: Any, *, validate_args: bool | None = None
    ) -> None:
        locs, coord_scale = as_array(locs), as_array(coord_scale)
        self._need(locs=(locs, 2), coord_scale=(coord_scale, 1))
        self._set(locs, coord_scale[..., None, :], component_logits, validate_args)


class GaussianScaleMixture(_MixtureOfNormals):
    """p(x) = sum_k w_k prod_d N(x_d; 0, coord_scale_d component_scale_k), w = softmax(component_logits).

    coord_scale (…, D), component_logits and component_scale (…, K).
    """

    def __init__(
        self,
        coord_scale: Any,
        component_logits: Any,
        component_scale: Any,
        *,
        validate_args: bool | None = None,
    ) -> None:
        coord_scale, component_scale = as_array(coord_scale), as_array(component_scale)
        self._need(coord_scale=(coord_scale, 1), component_scale=(component_scale, 1))
        scales = coord_scale[..., None, :] * component_scale[..., :, None]
        self._set(0.0, scales, component_logits, validate_args)
