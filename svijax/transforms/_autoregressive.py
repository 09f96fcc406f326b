"""Autoregressive flows over a network that is handed in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from svijax.base import ArgumentError, message

from . import constraints
from ._constraint import Constraint
from ._record import as_pytree
from ._transform import Transform


class _OverNetwork(Transform):
    @property
    def domain(self) -> Constraint:
        return constraints.real_vector

    @property
    def codomain(self) -> Constraint:
        return constraints.real_vector

    def __call__(self, x: Any) -> Any:
        return self.call_with_log_det(x)[0]

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.call_with_log_det(x)[1]


class InverseAutoregressiveTransform(_OverNetwork):
    """y = mean(x) + exp(log_scale(x)) x, where (mean, log_scale) = ``autoregressive_nn``(x).

    Entry i of either depends on x_1, …, x_(i-1) only. Log scales are clipped; their derivatives are not. The
    inverse runs the network n times. Kingma et al. (2016), equation 10.
    """

    _fields = ("autoregressive_nn",)
    _static = ("log_scale_min_clip", "log_scale_max_clip")
    autoregressive_nn: Any
    log_scale_min_clip: float
    log_scale_max_clip: float

    def __init__(
        self, autoregressive_nn: Any, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0
    ) -> None:
        self._assign(
            autoregressive_nn=as_pytree(autoregressive_nn),
            log_scale_min_clip=float(log_scale_min_clip),
            log_scale_max_clip=float(log_scale_max_clip),
        )

    def _affine(self, x: Any) -> tuple[Any, Any]:
        mean, log_scale = self.autoregressive_nn(x)
        clipped = jnp.clip(log_scale, self.log_scale_min_clip, self.log_scale_max_clip)
        return mean, log_scale + jax.lax.stop_gradient(clipped - log_scale)

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        mean, log_scale = self._affine(x)
        return mean + jnp.exp(log_scale) * x, jnp.sum(log_scale, axis=-1)

    def _inverse(self, y: Any) -> Any:
        def refine(_: Any, x: Any) -> Any:
            # Each round makes one entry more right: it depends on the entries before it.
            mean, log_scale = self._affine(x)
            return ((y - mean) * jnp.exp(-log_scale)).astype(y.dtype)

        return jax.lax.fori_loop(0, np.shape(y)[-1], refine, jnp.zeros_like(y))


class BlockNeuralAutoregressiveTransform(_OverNetwork):
    """y and the logarithms of its diagonal derivatives, as ``bn_arn``(x) gives them; there is no inverse.

    De Cao, Titov and Aziz (2019).
    """

    _fields = ("bn_arn",)
    bn_arn: Any

    def __init__(self, bn_arn: Any) -> None:
        self._assign(bn_arn=as_pytree(bn_arn))

    def call_with_log_det(self, x: Any) -> tuple[Any, Any]:
        y, log_diagonal = self.bn_arn(x)
        return y, jnp.sum(log_diagonal, axis=-1)

    def _inverse(self, y: Any) -> Any:
        raise ArgumentError(
            message(
                "BlockNeuralAutoregressiveTransform has no inverse that can be computed.",
                fix="ask for the density of its own draws: sample_with_log_prob.",
            )
        )
