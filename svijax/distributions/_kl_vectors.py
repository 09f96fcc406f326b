"""KL divergences of families of vectors and matrices."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from ._beta import Dirichlet
from ._independent import Independent
from ._kl_numerics import excess, exp_excess, log_gamma_rest
from ._kl_registry import register_kl
from ._multivariate_normal import MultivariateNormal
from ._normal import Normal


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Any:
    a, c = p.concentration, q.concentration
    before, after = a.sum(axis=-1), c.sum(axis=-1)
    shares = excess(c, (after / before)[..., None] * a) + log_gamma_rest(c, a)
    return jnp.sum(shares, axis=-1) - log_gamma_rest(after, before)


def _whitened(tril: Any, x: Any) -> Any:
    """tril^-1 x over all batch axes."""
    batch = np.broadcast_shapes(tril.shape[:-2], x.shape[:-2])
    tril = jnp.broadcast_to(tril, (*batch, *tril.shape[-2:]))
    return solve_triangular(tril, jnp.broadcast_to(x, (*batch, *x.shape[-2:])), lower=True)


def _normal_kl(ratio: Any, gap: Any) -> Any:
    """For the lower triangular ``ratio`` L_q^-1 L_p and ``gap`` L_q^-1 (loc_p - loc_q).

    (|ratio|^2 - n - log det ratio^2 + |gap|^2) / 2, with the diagonal taken together with the logarithm.
    """
    diagonal = jnp.diagonal(ratio, axis1=-2, axis2=-1)
    below = jnp.sum(jnp.tril(ratio, -1) ** 2, axis=(-2, -1))
    volumes = jnp.sum(exp_excess(2 * jnp.log(diagonal)), axis=-1)
    return 0.5 * (volumes + below + jnp.sum(gap**2, axis=-1))


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Any:
    gap = _whitened(q.scale_tril, jnp.asarray(p.loc - q.loc)[..., None])[..., 0]
    return _normal_kl(_whitened(q.scale_tril, jnp.asarray(p.scale_tril)), gap)


def _normal_vector(dist: Any) -> bool:
    return type(dist.base_dist) is Normal and dist.reinterpreted_batch_ndims == 1


@register_kl(Independent, MultivariateNormal, when=lambda p, q: _normal_vector(p))
def _independent_multivariate(p: Independent, q: MultivariateNormal) -> Any:
    normal = p.base_dist
    diagonal = normal.scale[..., None] * np.eye(p.event_shape[0], dtype=normal.dtype)
    gap = _whitened(q.scale_tril, jnp.asarray(normal.loc - q.loc)[..., None])[..., 0]
    return _normal_kl(_whitened(q.scale_tril, jnp.asarray(diagonal)), gap)


@register_kl(MultivariateNormal, Independent, when=lambda p, q: _normal_vector(q))
def _multivariate_independent(p: MultivariateNormal, q: Independent) -> Any:
    normal = q.base_dist
    return _normal_kl(p.scale_tril / normal.scale[..., None], (p.loc - normal.loc) / normal.scale)
