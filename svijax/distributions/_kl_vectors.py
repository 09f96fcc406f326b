"""KL divergences of families of vectors and matrices."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from svijax.base import solve_rows

from ._beta import Dirichlet
from ._circulant_normal import CirculantNormal
from ._independent import Independent
from ._kl_numerics import excess, exp_excess, log_gamma_rest
from ._kl_registry import register_kl
from ._low_rank import LowRankMultivariateNormal
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
    gap = solve_rows(q._tril, p.loc - q.loc)
    return _normal_kl(_whitened(q._tril, jnp.asarray(p._tril)), gap)


def _normal_vector(dist: Any) -> bool:
    return type(dist.base_dist) is Normal and dist.reinterpreted_batch_ndims == 1


@register_kl(Independent, MultivariateNormal, when=lambda p, q: _normal_vector(p))
def _independent_multivariate(p: Independent, q: MultivariateNormal) -> Any:
    normal = p.base_dist
    diagonal = normal.scale[..., None] * np.eye(p.event_shape[0], dtype=normal.dtype)
    gap = solve_rows(q._tril, normal.loc - q.loc)
    return _normal_kl(_whitened(q._tril, jnp.asarray(diagonal)), gap)


@register_kl(MultivariateNormal, Independent, when=lambda p, q: _normal_vector(q))
def _multivariate_independent(p: MultivariateNormal, q: Independent) -> Any:
    normal = q.base_dist
    return _normal_kl(p.scale_tril / normal.scale[..., None], (p.loc - normal.loc) / normal.scale)


def _low_rank_parts(d: Any) -> tuple[Any, Any]:
    """The factor W and the diagonal D of the covariance W W^T + D."""
    return jnp.asarray(d.cov_factor), jnp.asarray(d.cov_diag)


def _from_low_rank(columns: Any, log_det_p: Any, gap: Any, q: LowRankMultivariateNormal) -> Any:
    """For the covariance C C^T of p, ``columns`` C, by the matrix inversion lemma for that of q."""
    factor, diagonal = _low_rank_parts(q)
    root = jnp.sqrt(diagonal)[..., None]
    scaled = factor / root
    capacitance = np.eye(factor.shape[-1], dtype=factor.dtype) + jnp.matmul(
        jnp.swapaxes(scaled, -2, -1), scaled
    )
    tril = jnp.linalg.cholesky(capacitance)

    def squares(x: Any) -> Any:
        x = x / root
        inner = _whitened(tril, jnp.matmul(jnp.swapaxes(scaled, -2, -1), x))
        return jnp.sum(x * x, axis=(-2, -1)) - jnp.sum(inner * inner, axis=(-2, -1))

    diagonal_tril = jnp.diagonal(tril, axis1=-2, axis2=-1)
    log_det_q = jnp.sum(jnp.log(diagonal), axis=-1) + 2 * jnp.sum(jnp.log(diagonal_tril), axis=-1)
    total = squares(columns) + squares(gap[..., None]) - columns.shape[-2]
    return 0.5 * (total + log_det_q - log_det_p)


def _log_det(tril: Any) -> Any:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _multivariate_low_rank(p: MultivariateNormal, q: LowRankMultivariateNormal) -> Any:
    tril = jnp.asarray(p.scale_tril)
    return _from_low_rank(tril, _log_det(tril), p.loc - q.loc, q)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> Any:
    columns, log_det = _columns(p)
    return _from_low_rank(columns, log_det, p.loc - q.loc, q)


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_multivariate(p: LowRankMultivariateNormal, q: MultivariateNormal) -> Any:
    columns, log_det = _columns(p)
    white = _whitened(q._tril, columns)
    gap = solve_rows(q._tril, p.loc - q.loc)
    total = jnp.sum(white**2, axis=(-2, -1)) + jnp.sum(gap**2, axis=-1) - p.event_shape[0]
    return 0.5 * (total + _log_det(jnp.asarray(q._tril)) - log_det)


def _columns(p: LowRankMultivariateNormal) -> tuple[Any, Any]:
    """C with covariance C C^T, and the log determinant of that."""
    factor, diagonal = _low_rank_parts(p)
    root = jnp.sqrt(diagonal)[..., None]
    scaled = factor / root
    capacitance = np.eye(factor.shape[-1], dtype=factor.dtype) + jnp.matmul(
        jnp.swapaxes(scaled, -2, -1), scaled
    )
    log_det = jnp.sum(jnp.log(diagonal), axis=-1) + _log_det(jnp.linalg.cholesky(capacitance))
    diagonals = root * np.eye(factor.shape[-2], dtype=factor.dtype)
    return jnp.concatenate(
        [factor, jnp.broadcast_to(diagonals, (*factor.shape[:-1], factor.shape[-2]))], -1
    ), log_det


def _both_halves(q: CirculantNormal, rfft: Any) -> Any:
    """Sum over all Fourier coefficients of a real quantity given for the first half."""
    n = q.event_shape[0]
    weights = np.where((np.arange(rfft.shape[-1]) == 0) | (2 * np.arange(rfft.shape[-1]) == n), 1.0, 2.0)
    return jnp.sum(rfft * np.asarray(weights, rfft.dtype), axis=-1)


def _circulant_gap(gap: Any, q: CirculantNormal) -> Any:
    """gap^T covariance^-1 gap."""
    power = jnp.abs(jnp.fft.rfft(gap, axis=-1)) ** 2
    return _both_halves(q, power / q.covariance_rfft) / q.event_shape[0]


@register_kl(CirculantNormal, CirculantNormal)
def _circulant(p: CirculantNormal, q: CirculantNormal) -> Any:
    volumes = exp_excess(jnp.log(p.covariance_rfft / q.covariance_rfft))
    return 0.5 * (_both_halves(q, volumes) + _circulant_gap(p.loc - q.loc, q))


@register_kl(Independent, CirculantNormal, when=lambda p, q: _normal_vector(p))
def _independent_circulant(p: Independent, q: CirculantNormal) -> Any:
    normal, n = p.base_dist, p.event_shape[0]
    trace = jnp.sum(normal.scale**2, axis=-1) * _both_halves(q, 1 / q.covariance_rfft) / n
    log_dets = _both_halves(q, jnp.log(q.covariance_rfft)) - 2 * jnp.sum(jnp.log(normal.scale), axis=-1)
    return 0.5 * (trace - n + log_dets + _circulant_gap(normal.loc - q.loc, q))
