"""Normal distributions of observations some of which are missing: NaN in a value is not known."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from svijax.base import diagonal_of, solve_tril, transposed, widened

from ._multivariate_normal import MultivariateNormal
from ._normal import Normal

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class NanMaskedNormal(Normal):
    """N(x; loc, scale) where x is a number; log density 0, with derivative 0, where x is NaN."""

    _kl_as = Normal

    def log_prob(self, value: Any) -> Any:
        value = jnp.asarray(value)
        seen = ~jnp.isnan(value)
        log_prob = super().log_prob(jnp.where(seen, value, 0.0))
        return jnp.where(seen, log_prob, jnp.zeros((), log_prob.dtype))


class NanMaskedMultivariateNormal(MultivariateNormal):
    """The marginal of N(x; loc, covariance) in the entries of x that are not NaN; 0 where all are.

    Parameters as of ``MultivariateNormal``. Every value has a pattern of its own, whose covariance is factored:
    O(n^3) for each value.
    """

    _kl_as = MultivariateNormal

    def log_prob(self, value: Any) -> Any:
        gap = jnp.asarray(value - self.loc)
        seen = ~jnp.isnan(gap)
        z, tril = self._whiten(jnp.where(seen, gap, 0.0), seen)
        log_dets = jnp.log(jnp.abs(diagonal_of(tril)))
        terms = jnp.where(seen, -0.5 * z * z - log_dets - _HALF_LOG_2PI, 0.0)
        return jnp.sum(terms, axis=-1).astype(gap.dtype)

    def _whiten(self, gap: Any, seen: Any) -> tuple[Any, Any]:
        """F^-1 gap and F, of which F F^T is the covariance with rows and columns of the unit matrix for those not seen.

        F is from an orthogonal factorisation of the rows of scale_tril that are seen, without their products.
        """
        tril = jnp.asarray(widened(self.scale_tril))
        shown = seen[..., None]
        rows = jnp.where(shown, tril, 0.0)
        unit = jnp.where(shown, 0.0, np.eye(self.event_shape[0], dtype=tril.dtype))
        upper = jnp.linalg.qr(transposed(jnp.concatenate([rows, unit], axis=-1)), mode="r")
        factor = transposed(upper)
        return solve_tril(factor, widened(gap)[..., None])[..., 0], factor
